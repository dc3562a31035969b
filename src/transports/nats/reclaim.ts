import type { ConsumerInfo } from './jetstream-types.ts'
import type { Session } from './session.ts'

const NAK: Uint8Array = Buffer.from('-NAK')
/** More is not worth it: their ack wait expires soon enough. */
const MAX_RANGE = 50_000
/** A live server answers a nak at once. */
const ANSWER_TIMEOUT_MS = 5_000

/**
 * Asks the server to redeliver at once everything that it has delivered and that is unsettled, except what `keep`
 * reports as held: messages that went to an owner that died, or into a lost connection. We don't know which those are;
 * but a nak names a message by its sequence, and does nothing for a message that is not pending. Without this a
 * partition would have to stand still until the ack wait of those messages is over, or newer messages would overtake
 * them.
 *
 * Resolves when the server has processed all of it, so that the next request gets these messages before any new one.
 * False when there are too many to try.
 */
export async function reclaim(
  session: Session,
  info: ConsumerInfo,
  replyPrefix: string,
  keep: ReadonlySet<number>,
): Promise<boolean> {
  const first = info.ack_floor.stream_seq + 1
  const last = info.delivered.stream_seq
  if (last - first >= MAX_RANGE) return false
  const consumerSeq = info.delivered.consumer_seq
  const replyTo = (seq: number): string => `${replyPrefix}1.${seq}.${consumerSeq}.0.0`
  let previous: number | undefined
  for (let seq = first; seq <= last; seq++) {
    if (keep.has(seq)) continue
    if (previous !== undefined) session.outbox.publish(replyTo(previous), '', NAK)
    previous = seq
  }
  if (previous === undefined) return true
  session.outbox.flush()
  // A consumer processes acks in order: the answer to the last one stands for all.
  await session.request(replyTo(previous), NAK, { timeout: ANSWER_TIMEOUT_MS })
  return true
}

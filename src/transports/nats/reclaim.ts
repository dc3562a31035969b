import type { ConsumerInfo } from './jetstream-types.ts'
import type { Session } from './session.ts'

const NAK: Uint8Array = Buffer.from('-NAK')
/** More is not worth it: their ack wait runs out soon enough. */
const MAX_RANGE = 50_000

/**
 * Asks the server to deliver again, now, whatever it has delivered and nobody has settled, but for what `keep` says is in
 * good hands: messages that went to an owner that died, or into a connection that was cut. We don't know which those are;
 * but a nak names a message by its sequence, and one for a message that is not pending does nothing. Without this a
 * partition would have to stand still until the ack wait of those messages is over, or newer messages would overtake them.
 *
 * Resolves with false when there are too many to try.
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
  for (let seq = first; seq <= last; seq++)
    if (!keep.has(seq)) session.outbox.publish(`${replyPrefix}1.${seq}.${consumerSeq}.0.0`, '', NAK)
  await session.flush()
  return true
}

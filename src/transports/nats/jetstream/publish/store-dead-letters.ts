import { SettlementError } from '../../../../core/errors.ts'
import type { OutgoingMessage } from '../../../../core/message.ts'
import type { SettlementFailure } from '../../../../core/transport.ts'
import type { JetStreamPublisher } from './publisher.ts'

/** A delivery whose outcome is a dead letter. */
export interface Reject<Rejected> {
  /** Its place in the batch. */
  readonly index: number
  readonly delivery: Rejected
  readonly deadLetter: OutgoingMessage
}

/**
 * A dead letter is confirmed before its source is settled; until then the source stays ours. Resolves with those that are
 * stored; the others are not settled, and are added to `failures`. `idOf`: by which the server recognizes one that it has.
 */
export async function storeDeadLetters<Rejected extends { readonly lost: boolean; settled: boolean }>(
  publisher: JetStreamPublisher,
  rejects: readonly Reject<Rejected>[],
  idOf: (reject: Reject<Rejected>) => string,
  failures: SettlementFailure[],
): Promise<Reject<Rejected>[]> {
  if (rejects.length === 0) return []
  for (const { delivery } of rejects) delivery.settled = true
  const letters = rejects.map(({ deadLetter }) => deadLetter)
  const outcomes = await publisher.publish(letters, undefined, rejects.map(idOf))
  return rejects.filter(({ index, delivery }, at) => {
    const error =
      outcomes[at]?.error ??
      (delivery.lost
        ? new SettlementError('The delivery was taken back while its dead letter was stored; both are there now')
        : undefined)
    if (error === undefined) return true
    delivery.settled = false
    failures.push({ index, error })
    return false
  })
}

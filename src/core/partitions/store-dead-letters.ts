import { SettlementError } from '../errors.ts'
import type { OutgoingMessage } from '../message.ts'
import type { PublishOutcome, SettlementFailure } from '../transport.ts'

/** A delivery whose outcome is a dead letter. */
export interface Reject<Rejected> {
  /** Its place in the batch. */
  readonly index: number
  readonly delivery: Rejected
  readonly deadLetter: OutgoingMessage
}

/**
 * A dead letter is confirmed before its source is settled; until then the source stays ours. Resolves with those that are
 * stored; the others are not settled, and are added to `failures`.
 */
export async function storeDeadLetters<Rejected extends { readonly lost: boolean; settled: boolean }>(
  publish: (rejects: readonly Reject<Rejected>[]) => Promise<readonly PublishOutcome[]>,
  rejects: readonly Reject<Rejected>[],
  failures: SettlementFailure[],
): Promise<Reject<Rejected>[]> {
  if (rejects.length === 0) return []
  for (const { delivery } of rejects) delivery.settled = true
  const outcomes = await publish(rejects)
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

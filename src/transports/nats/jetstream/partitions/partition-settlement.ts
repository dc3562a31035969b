import { ConnectionError, SettlementError } from '../../../../core/errors.ts'
import type { AttemptNote, Settlement, SettlementFailure } from '../../../../core/transport.ts'
import { deadLetterId } from '../server/identity.ts'
import type { Partition } from './partition.ts'
import type { PartitionDelivery } from './partition-delivery.ts'
import type { PartitionSet } from './partition-set.ts'
import type { JetStreamPublisher } from '../publish/publisher.ts'
import { storeDeadLetters } from '../publish/store-dead-letters.ts'
import type { Reject } from '../publish/store-dead-letters.ts'
import type { Session } from '../../connection/session.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])

export interface PartitionSettlementParts {
  readonly session: Session
  readonly publisher: JetStreamPublisher
  readonly set: PartitionSet
  /** Whether a settlement waits for the record that contains it. */
  readonly isConfirmed: boolean
}

/** Applies the runtime's outcomes to the deliveries of partitions; the records of the partitions make them last. */
export class PartitionSettlement {
  readonly #parts: PartitionSettlementParts

  constructor(parts: PartitionSettlementParts) {
    this.#parts = parts
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const failures: SettlementFailure[] = []
    const touched: Partition[] = []
    const rejects: Reject<PartitionDelivery<Partition>>[] = []
    // The clock is read once: nothing happens in between.
    const { isHeld } = this.#parts.set
    for (let index = 0; index < batch.length; index++) {
      const { delivery: given, outcome } = batch[index] as Settlement
      const delivery = given as PartitionDelivery<Partition>
      const error = refusal(delivery, isHeld)
      if (error !== undefined) {
        failures.push({ index, error })
        continue
      }
      if (outcome.type === 'reject' && outcome.deadLetter !== undefined) {
        rejects.push({ index, delivery, deadLetter: outcome.deadLetter })
        continue
      }
      delivery.owner.finish(delivery)
      if (outcome.type === 'nack') this.#return(delivery, delivery.attempt, outcome.delayMs, outcome.inOrder === true)
      else if (outcome.type === 'release')
        this.#return(delivery, delivery.attempt - 1, outcome.delayMs, outcome.inOrder === true)
      if (touched.at(-1) !== delivery.owner && !touched.includes(delivery.owner)) touched.push(delivery.owner)
    }
    this.#parts.set.settled()
    if (rejects.length > 0) await this.#reject(rejects, touched, failures)
    const lost = await this.#stored(touched)
    if (lost.length > 0) addLost(batch, lost, failures)
    return failures.length === 0 ? NO_FAILURES : failures
  }

  /** Puts it back into its place here, at once: nothing of its key may be handed out before. Or lets it wait. */
  #return(delivery: PartitionDelivery<Partition>, used: number, delayMs: number, inOrder: boolean): void {
    const { set, session } = this.#parts
    const { owner } = delivery
    const notBefore = delayMs > 0 ? session.host.clock.now() + delayMs : undefined
    const again = delivery.again(used, notBefore, inOrder)
    if (notBefore === undefined || inOrder) owner.push(again)
    else set.delays.add(owner, owner.putAside(again, notBefore))
    set.wake()
  }

  async #reject(
    rejects: readonly Reject<PartitionDelivery<Partition>>[],
    touched: Partition[],
    failures: SettlementFailure[],
  ): Promise<void> {
    const idOf = ({ delivery: { seq, owner }, deadLetter }: Reject<PartitionDelivery<Partition>>): string =>
      deadLetterId(deadLetter, seq, owner.life)
    for (const { delivery } of await storeDeadLetters(this.#parts.publisher, rejects, idOf, failures)) {
      const { owner } = delivery
      owner.finish(delivery)
      // Its key waits for that.
      this.#parts.set.commitNow(owner)
      if (!touched.includes(owner)) touched.push(owner)
    }
    this.#parts.set.settled()
  }

  /** Resolves with those that were lost before the changes were stored. */
  async #stored(touched: readonly Partition[]): Promise<Partition[]> {
    for (const partition of touched) this.#parts.set.changedIn(partition)
    if (!this.#parts.isConfirmed) return []
    const stored = await Promise.all(touched.map((partition) => partition.whenStored()))
    return touched.filter((_, at) => stored[at] === false)
  }

  /** Rejects when they can't be stored. */
  async note(notes: readonly AttemptNote[]): Promise<void> {
    const { set, session } = this.#parts
    if (!session.ready) throw new ConnectionError('The attempts could not be noted: the server is out of reach')
    const touched = new Set<Partition>()
    for (const { delivery: given, used, running, notBefore } of notes) {
      const delivery = given as PartitionDelivery<Partition>
      // What was lost is in the hands of its next owner, or comes back here with all attempts that did not count.
      if (delivery.settled || delivery.lost) continue
      delivery.used = used
      delivery.running = running
      delivery.notedBefore = notBefore
      delivery.owner.changes++
      touched.add(delivery.owner)
    }
    if (!this.#parts.isConfirmed && touched.size > 0 && set.isAlone) return
    const partitions = [...touched]
    for (const partition of partitions) set.commits.now(partition)
    const stored = await Promise.all(partitions.map((partition) => partition.whenStored()))
    if (stored.includes(false)) throw new ConnectionError('The attempts could not be noted: the partition was lost')
  }
}

/** `isHeld`: the partitions that are ours are certainly so. */
function refusal(delivery: PartitionDelivery<Partition>, isHeld: boolean): SettlementError | undefined {
  if (delivery.lost) return new SettlementError('The delivery was taken back; the message is delivered again')
  if (delivery.settled) return new SettlementError('The delivery has been settled before')
  if (!isHeld || !delivery.owner.mine)
    return new SettlementError('The partition belongs to another member by now; the message is delivered again')
  return undefined
}

/** Messages of a partition that was lost come again: those that go back anyway need no error. */
function addLost(batch: readonly Settlement[], lost: readonly Partition[], failures: SettlementFailure[]): void {
  const failed = new Set(failures.map(({ index }) => index))
  for (const [index, { delivery, outcome }] of batch.entries()) {
    if (failed.has(index) || outcome.type === 'nack' || outcome.type === 'release') continue
    if (!lost.includes((delivery as PartitionDelivery<Partition>).owner)) continue
    failures.push({
      index,
      error: new SettlementError(
        'The partition was lost before the settlement was stored; the message is delivered again',
      ),
    })
  }
}

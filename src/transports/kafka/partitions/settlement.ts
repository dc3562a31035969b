import { ConnectionError, SettlementError } from '../../../core/errors.ts'
import type { PublishError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type { AttemptNote, PublishOutcome, Settlement, SettlementFailure } from '../../../core/transport.ts'
import type { Partition, PartitionDelivery } from './partition.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])

/** A delivery whose dead letter is to be stored first. */
interface Reject {
  readonly index: number
  readonly delivery: PartitionDelivery
  readonly deadLetter: OutgoingMessage
}

/** An ack that carries messages. */
export interface AckWithMessages {
  readonly delivery: PartitionDelivery
  readonly publish: readonly OutgoingMessage[]
}

export interface SettlementHost {
  now(): number
  publish(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]>
  /** Stores messages and the ack of a delivery in one step. By index: undefined for what is stored. */
  ack(acks: readonly AckWithMessages[]): Promise<readonly (PublishError | SettlementError | undefined)[]>
  /** It waits for its time. */
  putAside(delivery: PartitionDelivery, dueAt: number): void
  /** Something of these must be stored. `now`: it must not wait. */
  changed(partition: Partition, now: boolean): void
  /** Some deliveries were settled: others may be handed out. */
  settled(): void
}

/** Applies the runtime's outcomes to deliveries; commits make them last. */
export class PartitionSettlement {
  readonly #host: SettlementHost

  constructor(host: SettlementHost) {
    this.#host = host
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const failures: SettlementFailure[] = []
    const touched: Partition[] = []
    const rejects: Reject[] = []
    const acks: (AckWithMessages & { readonly index: number })[] = []
    for (let index = 0; index < batch.length; index++) {
      const { delivery: given, outcome } = batch[index] as Settlement
      const delivery = given as PartitionDelivery
      const error = refusal(delivery)
      if (error !== undefined) {
        failures.push({ index, error })
        continue
      }
      if (outcome.type === 'reject' && outcome.deadLetter !== undefined) {
        rejects.push({ index, delivery, deadLetter: outcome.deadLetter })
        continue
      }
      if (outcome.type === 'ack' && outcome.publish !== undefined && outcome.publish.length > 0) {
        acks.push({ index, delivery, publish: outcome.publish })
        continue
      }
      delivery.owner.finish(delivery)
      if (outcome.type === 'nack') this.#return(delivery, delivery.attempt, outcome.delayMs, outcome.inOrder === true)
      else if (outcome.type === 'release')
        this.#return(delivery, delivery.attempt - 1, outcome.delayMs, outcome.inOrder === true)
      if (touched.at(-1) !== delivery.owner && !touched.includes(delivery.owner)) touched.push(delivery.owner)
    }
    for (const partition of touched) this.#host.changed(partition, false)
    this.#host.settled()
    const acked = acks.length === 0 ? [] : this.#host.ack(acks)
    if (rejects.length > 0) await this.#reject(rejects, touched, failures)
    for (const [at, error] of (await acked).entries()) {
      if (error !== undefined) failures.push({ index: acks[at]?.index ?? -1, error })
    }
    if (acks.length > 0) this.#host.settled()
    const stored = await Promise.all(touched.map((partition) => partition.whenStored()))
    const lost = touched.filter((_, at) => stored[at] === false)
    if (lost.length > 0) addLost(batch, lost, failures)
    return failures.length === 0 ? NO_FAILURES : failures
  }

  /** Puts it back into its place here, at once: nothing of its key may be handed out before. Or lets it wait. */
  #return(delivery: PartitionDelivery, used: number, delayMs: number, inOrder: boolean): void {
    const notBefore = delayMs > 0 ? this.#host.now() + delayMs : undefined
    const again = delivery.again(used, notBefore, inOrder)
    if (notBefore === undefined || inOrder) delivery.owner.giveBackOne(again)
    else this.#host.putAside(again, notBefore)
  }

  /** The letters first: what of them is not confirmed leaves its source as it is. */
  async #reject(rejects: readonly Reject[], touched: Partition[], failures: SettlementFailure[]): Promise<void> {
    const outcomes = await this.#host.publish(rejects.map(({ deadLetter }) => deadLetter))
    for (const [at, { index, delivery }] of rejects.entries()) {
      const error: PublishError | SettlementError | undefined = outcomes[at]?.error ?? refusal(delivery)
      if (error !== undefined) {
        failures.push({ index, error })
        continue
      }
      const { owner } = delivery
      owner.finish(delivery)
      // Its key waits for that.
      this.#host.changed(owner, true)
      if (!touched.includes(owner)) touched.push(owner)
    }
    this.#host.settled()
  }

  /** Rejects when they can't be stored. */
  async note(notes: readonly AttemptNote[]): Promise<void> {
    const touched = new Set<Partition>()
    for (const { delivery: given, used, running, notBefore } of notes) {
      const delivery = given as PartitionDelivery
      // What was lost is in the hands of its next owner, or comes back here with all attempts that did not count.
      if (delivery.settled || delivery.lost) continue
      delivery.used = used
      delivery.running = running
      delivery.notedBefore = notBefore
      delivery.owner.changes++
      touched.add(delivery.owner)
    }
    for (const partition of touched) this.#host.changed(partition, true)
    const stored = await Promise.all([...touched].map((partition) => partition.whenStored()))
    if (stored.includes(false)) throw new ConnectionError('The attempts could not be noted: the partition was lost')
  }
}

function refusal(delivery: PartitionDelivery): SettlementError | undefined {
  if (delivery.lost) return new SettlementError('The delivery was taken back; the message is delivered again')
  if (delivery.settled) return new SettlementError('The delivery has been settled before')
  if (!delivery.owner.mine)
    return new SettlementError('The partition belongs to another member by now; the message is delivered again')
  return undefined
}

/** Messages of a partition that was lost come again: those that go back anyway need no error. */
function addLost(batch: readonly Settlement[], lost: readonly Partition[], failures: SettlementFailure[]): void {
  const failed = new Set(failures.map(({ index }) => index))
  for (const [index, { delivery, outcome }] of batch.entries()) {
    if (failed.has(index) || outcome.type === 'nack' || outcome.type === 'release') continue
    if (!lost.includes((delivery as PartitionDelivery).owner)) continue
    failures.push({
      index,
      error: new SettlementError(
        'The partition was lost before the settlement was committed; the message is delivered again',
      ),
    })
  }
}

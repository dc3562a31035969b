import { ConnectionError, SettlementError } from '../errors.ts'
import type { PublishError } from '../errors.ts'
import type { OutgoingMessage } from '../message.ts'
import type { AttemptNote, PublishOutcome, Settlement, SettlementFailure } from '../transport.ts'
import type { HeldPartition } from './held-partition.ts'
import type { PartitionDelivery } from './partition-delivery.ts'
import { storeDeadLetters } from './store-dead-letters.ts'
import type { Reject } from './store-dead-letters.ts'

const NO_FAILURES: readonly SettlementFailure[] = Object.freeze([])

/** An ack that carries messages. */
export interface AckWithMessages<Owner extends HeldPartition<Owner>> {
  readonly delivery: PartitionDelivery<Owner>
  readonly publish: readonly OutgoingMessage[]
}

/** Undefined: stored. A `PublishError`: nothing of it is stored, and it may be settled again. */
export type AckResult = PublishError | SettlementError | undefined

export interface SettlementHost<Owner extends HeldPartition<Owner>> {
  /** This member is certain that what it owns is still its own. */
  isHeld(): boolean
  now(): number
  /** It is handed out again: at `dueAt`, or at once, in its place; then nothing of its key may be handed out before it. */
  comesAgain(delivery: PartitionDelivery<Owner>, dueAt: number | undefined): void
  publishLetters(rejects: readonly Reject<PartitionDelivery<Owner>>[]): Promise<readonly PublishOutcome[]>
  /** A dead letter is stored by `ack`, in one step with the settlement of its source. Default false. */
  readonly hasAtomicLetters?: boolean | undefined
  /** Stores messages and the ack of a delivery in one step; by index. Only for transports with transactions. */
  ack?(acks: readonly AckWithMessages<Owner>[]): Promise<readonly AckResult[]>
  /** Something of it must be stored. `now`: it must not wait. */
  changed(partition: Owner, now: boolean): void
  /** Attempts were noted. `isAwaited`: a handler waits until that is stored. */
  noted(partition: Owner, isAwaited: boolean): void
  /** Some deliveries were settled: others may be handed out. */
  settled(): void
  /** Resolves when that is as safe as it has to be: with false when the partition was lost before. */
  whenStored(partition: Owner, what: 'settlements' | 'notes'): Promise<boolean>
}

/** Applies the runtime's outcomes to the deliveries of partitions; what the transport stores of the partitions makes them last. */
export class PartitionSettlement<Owner extends HeldPartition<Owner>> {
  readonly #host: SettlementHost<Owner>

  constructor(host: SettlementHost<Owner>) {
    this.#host = host
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const failures: SettlementFailure[] = []
    const touched: Owner[] = []
    const rejects: Reject<PartitionDelivery<Owner>>[] = []
    const acks: (AckWithMessages<Owner> & { readonly index: number })[] = []
    // Asked once: nothing happens in between.
    const isHeld = this.#host.isHeld()
    for (let index = 0; index < batch.length; index++) {
      const { delivery: given, outcome } = batch[index] as Settlement
      const delivery = given as PartitionDelivery<Owner>
      const error = refusal(delivery, isHeld)
      if (error !== undefined) {
        failures.push({ index, error })
        continue
      }
      if (outcome.type === 'reject' && outcome.deadLetter !== undefined) {
        if (this.#host.hasAtomicLetters === true) acks.push({ index, delivery, publish: [outcome.deadLetter] })
        else rejects.push({ index, delivery, deadLetter: outcome.deadLetter })
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
    const acked = acks.length === 0 ? undefined : this.#host.ack?.(acks)
    if (rejects.length > 0) await this.#reject(rejects, touched, failures)
    if (acked !== undefined) {
      for (const [at, error] of (await acked).entries())
        if (error !== undefined) failures.push({ index: acks[at]?.index ?? -1, error })
      this.#host.settled()
    }
    const lost = await this.#lost(touched, 'settlements')
    if (lost.length > 0) addLost(batch, lost, failures)
    return failures.length === 0 ? NO_FAILURES : failures
  }

  #return(delivery: PartitionDelivery<Owner>, used: number, delayMs: number, inOrder: boolean): void {
    const notBefore = delayMs > 0 ? this.#host.now() + delayMs : undefined
    this.#host.comesAgain(delivery.again(used, notBefore, inOrder), inOrder ? undefined : notBefore)
  }

  /** The letters first: what of them is not confirmed leaves its source as it is. */
  async #reject(
    rejects: readonly Reject<PartitionDelivery<Owner>>[],
    touched: Owner[],
    failures: SettlementFailure[],
  ): Promise<void> {
    const stored = await storeDeadLetters((some) => this.#host.publishLetters(some), rejects, failures)
    for (const { delivery } of stored) {
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
    const touched = new Map<Owner, boolean>()
    for (const { delivery: given, used, running, notBefore } of notes) {
      const delivery = given as PartitionDelivery<Owner>
      // What was lost is in the hands of its next owner, or comes back here with all attempts that did not count.
      if (delivery.settled || delivery.lost) continue
      delivery.used = used
      delivery.running = running
      delivery.notedBefore = notBefore
      delivery.owner.changes++
      // One that runs already is noted in case it kills this process; one that may have killed another is noted before.
      const isAwaited = !running || delivery.history === 'unknown' || delivery.history === 'died'
      touched.set(delivery.owner, isAwaited || touched.get(delivery.owner) === true)
    }
    for (const [partition, isAwaited] of touched) this.#host.noted(partition, isAwaited)
    const lost = await this.#lost([...touched.keys()], 'notes')
    if (lost.length > 0) throw new ConnectionError('The attempts could not be noted: the partition was lost')
  }

  /** Resolves with those that were lost before their changes were stored. */
  async #lost(partitions: readonly Owner[], what: 'settlements' | 'notes'): Promise<Owner[]> {
    const stored = await Promise.all(partitions.map((partition) => this.#host.whenStored(partition, what)))
    return partitions.filter((_, at) => stored[at] === false)
  }
}

/** `isHeld`: the partitions that are ours are certainly so. */
function refusal<Owner extends HeldPartition<Owner>>(
  delivery: PartitionDelivery<Owner>,
  isHeld: boolean,
): SettlementError | undefined {
  if (delivery.lost) return new SettlementError('The delivery was taken back; the message is delivered again')
  if (delivery.settled) return new SettlementError('The delivery has been settled before')
  if (!isHeld || !delivery.owner.mine)
    return new SettlementError('The partition belongs to another member by now; the message is delivered again')
  return undefined
}

/** Messages of a partition that was lost come again: those that go back anyway need no error. */
function addLost<Owner extends HeldPartition<Owner>>(
  batch: readonly Settlement[],
  lost: readonly Owner[],
  failures: SettlementFailure[],
): void {
  const failed = new Set(failures.map(({ index }) => index))
  for (const [index, { delivery, outcome }] of batch.entries()) {
    if (failed.has(index) || outcome.type === 'nack' || outcome.type === 'release') continue
    if (!lost.includes((delivery as PartitionDelivery<Owner>).owner)) continue
    failures.push({
      index,
      error: new SettlementError(
        'The partition was lost before the settlement was stored; the message is delivered again',
      ),
    })
  }
}

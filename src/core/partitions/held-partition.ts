import type { Position } from '../message.ts'
import { LinkedList } from '../util/linked-list.ts'
import type { Acquired, AttemptState } from './attempt-state.ts'
import type { DeliveryOwner, PartitionDelivery } from './partition-delivery.ts'

/** A message that waits for its time. */
export interface DelayedMessage<Owner extends DeliveryOwner> extends AttemptState {
  readonly place: number
  readonly ordinal: number
  /** In ms since 1970. */
  readonly dueAt: number
  /** As it was read; undefined when it has to be read again, because its body was not kept. */
  readonly delivery: PartitionDelivery<Owner> | undefined
}

/** Settlements that are not stored, of several partitions. */
export interface UnstoredCount {
  count: number
}

/** Resolves with false when the partition was lost before what was to be written was stored. */
interface Waiter {
  readonly change: number
  readonly done: (isStored: boolean) => void
}

/**
 * What this member has of a partition while it owns it: messages to be handed out, handed out, and delayed, and which of their
 * changes are stored. All messages of a partition are looked at in order, so "up to `to`, all but these" says everything; how
 * that is written is up to the transport.
 */
export abstract class HeldPartition<Owner extends DeliveryOwner> implements DeliveryOwner {
  abstract readonly name: string
  mine = false
  /** Being handed over: nothing more of it is handed out. */
  leaving = false
  /** What was handed out has been given back; what a transaction finishes follows when that has ended. */
  hasGivenBack = false
  /** How far it was looked at: what is settled, handed out, or waits is up to here. */
  to = 0
  /** Nothing from here on may be handed out: what is stored says so. */
  reserved = 0
  /** To be handed out, in the order of their places, as soon as that is asked for. */
  buffer: PartitionDelivery<Owner>[] = []
  bufferBytes = 0
  protected isUnsorted = false
  readonly outstanding: LinkedList<PartitionDelivery<Owner>> = new LinkedList()
  readonly delayed: Map<number, DelayedMessage<Owner>> = new Map()
  /** Of what is kept in `delayed`. */
  delayedBytes = 0
  /** Increases with every change that has to be stored. */
  changes = 0
  /** The value of `changes` in what is being written, and in what was stored last. */
  #writing = 0
  stored = 0
  /** Number of deliveries that were settled; and of those whose settlement is being written, or stored. */
  #finished = 0
  #writingFinished = 0
  #storedFinished = 0
  #unstoredOfAll: UnstoredCount = { count: 0 }
  #waiters: Waiter[] = []
  /** Since another member had it: how far it was handed out here. */
  protected handedOutTo = 0
  /** When it was lost: number of attempts that had ended here, by place. */
  protected used: Map<number, number> = new Map()

  abstract positionAt(place: number): Position

  /** The first place that was not read yet. */
  protected abstract get unreadFrom(): number

  /** It is ours: `how` decides what is still true of what is known here. */
  protected acquired(how: Acquired): void {
    this.mine = true
    this.leaving = false
    this.hasGivenBack = false
    // It may come back, and be lost again, before it has been read.
    this.handedOutTo = how === 'ours' ? Math.max(this.handedOutTo, this.to) : 0
    // Another owner has counted on.
    if (how !== 'ours') this.used = new Map()
    this.dropBuffer()
    this.#dropDelayed()
  }

  /** Everything that is here was lost; returns what was handed out. */
  lose(): PartitionDelivery<Owner>[] {
    this.mine = false
    this.leaving = false
    this.hasGivenBack = false
    const lost = this.outstanding.toArray()
    this.#keepUsed(lost)
    for (const delivery of lost) {
      delivery.lost = true
      this.outstanding.remove(delivery)
    }
    this.dropBuffer()
    this.#dropDelayed()
    this.#settlementsStored(this.#finished)
    for (const { done } of this.#waiters.splice(0)) done(false)
    return lost
  }

  /** A partition may be lost because nothing could be stored: then only we know of these attempts, should it come back. */
  #keepUsed(outstanding: readonly PartitionDelivery<Owner>[]): void {
    const kept = new Map<number, number>()
    for (const [place, used] of this.used) if (place >= this.unreadFrom) kept.set(place, used)
    for (const { place, used, running } of [...outstanding, ...this.buffer, ...this.delayed.values()]) {
      // Lost while its handler is running: that attempt does not count.
      const ended = running ? used - 1 : used
      if (ended > 0) kept.set(place, ended)
    }
    this.used = kept
  }

  dropBuffer(): void {
    this.buffer = []
    this.bufferBytes = 0
    this.isUnsorted = false
  }

  #dropDelayed(): void {
    this.delayed.clear()
    this.delayedBytes = 0
  }

  // --- handing out -------------------------------------------------------------------------------------------------

  /** In its place among what is to be handed out. */
  push(delivery: PartitionDelivery<Owner>): void {
    if (delivery.place < (this.buffer.at(-1)?.place ?? 0)) this.isUnsorted = true
    this.buffer.push(delivery)
    this.bufferBytes += delivery.bytes
  }

  protected sort(): void {
    if (!this.isUnsorted) return
    this.buffer.sort((a, b) => a.place - b.place)
    this.isUnsorted = false
  }

  /** They were taken, and their bytes with them. */
  protected removeFirst(count: number): void {
    if (count === 0) return
    if (count === this.buffer.length) this.buffer = []
    else this.buffer.splice(0, count)
  }

  /** `keep`: its body stays in memory. */
  putAside(delivery: PartitionDelivery<Owner>, dueAt: number, keep: boolean): DelayedMessage<Owner> {
    const { place, ordinal, history, used, running } = delivery
    const kept = keep ? delivery : undefined
    const delayed = { place, ordinal, dueAt, history, used, running, notBefore: dueAt, inOrder: false, delivery: kept }
    this.delayed.set(place, delayed)
    if (keep) this.delayedBytes += delivery.bytes
    return delayed
  }

  /** The time of a delayed message has come. `read`: it, as it was read again; one that was not kept and is not given is finished. */
  due(delayed: DelayedMessage<Owner>, read?: PartitionDelivery<Owner>): void {
    this.delayed.delete(delayed.place)
    const { delivery: kept, history, used, running } = delayed
    if (kept !== undefined) this.delayedBytes -= kept.bytes
    const delivery = read ?? kept?.with({ history, used, running, notBefore: undefined, inOrder: false })
    if (delivery !== undefined) this.push(delivery)
  }

  /** What was handed out and is not settled goes back, for the next owner; it has used no attempt. */
  giveBack(now: number): PartitionDelivery<Owner>[] {
    this.hasGivenBack = true
    const begun = this.outstanding.toArray().filter(({ isEnding }) => !isEnding)
    for (const delivery of begun) {
      delivery.lost = true
      this.outstanding.remove(delivery)
      const notBefore = delivery.notedBefore ?? delivery.notBefore
      const waits = notBefore !== undefined && notBefore > now
      this.push(delivery.again(delivery.attempt - 1, waits ? notBefore : undefined, waits))
    }
    if (begun.length > 0) this.changes++
    return begun
  }

  // --- settling ----------------------------------------------------------------------------------------------------

  /** It is done, or is put back by the caller. */
  finish(delivery: PartitionDelivery<Owner>): void {
    delivery.settled = true
    this.#finished++
    this.#unstoredOfAll.count++
    this.outstanding.remove(delivery)
    this.changes++
  }

  /** Number of settlements that are not stored. */
  get unstored(): number {
    return this.#finished - this.#storedFinished
  }

  /** Unstored settlements of this one and of those that are counted with it. */
  get unstoredOfAll(): UnstoredCount {
    return this.#unstoredOfAll
  }

  /** Its unstored settlements count there from now on. */
  countInto(all: UnstoredCount): void {
    this.#unstoredOfAll.count -= this.unstored
    this.#unstoredOfAll = all
    all.count += this.unstored
  }

  /** Resolves when everything up to now is stored: with false when the partition was lost before. */
  whenStored(): Promise<boolean> {
    if (!this.mine) return Promise.resolve(false)
    if (this.stored >= this.changes) return Promise.resolve(true)
    return new Promise((done) => this.#waiters.push({ change: this.changes, done }))
  }

  /** What is written from now on says everything up to now. */
  protected writing(): void {
    this.#writing = this.changes
    this.#writingFinished = this.#finished
  }

  /** What was written last is stored. */
  protected written(): void {
    this.stored = this.#writing
    this.#settlementsStored(this.#writingFinished)
    let count = 0
    for (; count < this.#waiters.length; count++) {
      const waiter = this.#waiters[count] as Waiter
      if (waiter.change > this.stored) break
      waiter.done(true)
    }
    this.#waiters.splice(0, count)
  }

  /**
   * These are finished, and what was written last has them as finished: with nothing else since, there is nothing more to
   * store.
   */
  protected finishWritten(ended: readonly PartitionDelivery<Owner>[]): void {
    const isCurrent = this.changes === this.#writing
    for (const delivery of ended) this.finish(delivery)
    if (isCurrent) this.#writing = this.changes
    this.#writingFinished += ended.length
  }

  /** Settlements up to this one are stored, or void. */
  #settlementsStored(finished: number): void {
    this.#unstoredOfAll.count -= finished - this.#storedFinished
    this.#storedFinished = finished
  }
}

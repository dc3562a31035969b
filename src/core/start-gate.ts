import type { ParkedKeys } from './parked-keys.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import type { RunningNotes } from './running-notes.ts'

export interface StartGateHost {
  /** Everything is known and stored: it may be taken again. */
  prepared(pending: PendingDelivery): void
  /** It must not be handled: an earlier message of its key is in the dead letters. */
  parked(pending: PendingDelivery, blocker: string): void
  /** Something that had to be known could not be found out; it is asked again with the next attempt to start. */
  prepareFailed(pending: PendingDelivery, error: unknown): void
}

/**
 * What has to happen before the handler of a message may start, for those few messages that need it: one that was with a
 * dead process is noted at the broker first, one that may have ended its process runs alone, and a key that has dead
 * letters may be parked.
 */
export class StartGate {
  readonly #host: StartGateHost
  readonly #notes: RunningNotes
  readonly #parkedKeys: ParkedKeys | undefined
  /** The one that runs alone among its kind, and those that wait for its end. */
  #alone: PendingDelivery | undefined
  #waiting: PendingDelivery[] = []
  /**
   * Those that are to be noted: each has a place among the running handlers, for it starts as soon as it is noted. It has it
   * from the beginning: one look at the dead letters may let any number of them through at once.
   */
  readonly #noting = new Set<PendingDelivery>()

  constructor(host: StartGateHost, notes: RunningNotes, parkedKeys: ParkedKeys | undefined) {
    this.#host = host
    this.#notes = notes
    this.#parkedKeys = parkedKeys
  }

  get noting(): number {
    return this.#noting.size
  }

  /** True when its handler can't start at once. */
  needsPreparing(pending: PendingDelivery): boolean {
    if (pending.isPrepared) return false
    return isSuspect(pending) || this.#mayBeParked(pending)
  }

  /** True when the handler may start now. Otherwise the gate has the delivery, and reports to its host what becomes of it. */
  pass(pending: PendingDelivery): boolean {
    if (!this.needsPreparing(pending)) {
      pending.isPrepared = false
      return true
    }
    pending.state = 'preparing'
    if (pending.mustRunAlone && this.#alone !== undefined) this.#waiting.push(pending)
    else this.#begin(pending)
    return false
  }

  /** It is in the dead letters now, or may be. */
  deadLettered({ delivery }: PendingDelivery): void {
    this.#parkedKeys?.add(delivery.message)
  }

  /** Its handler has ended, or it has left: another one may run alone. */
  ended(pending: PendingDelivery): void {
    this.#noting.delete(pending)
    if (pending !== this.#alone) return
    this.#alone = undefined
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      if (next.state !== 'preparing') continue
      this.#begin(next)
      return
    }
  }

  #mayBeParked({ queue, delivery, receivedAt }: PendingDelivery): boolean {
    if (this.#parkedKeys === undefined || queue === undefined) return false
    return !this.#parkedKeys.isFree(delivery.message, receivedAt)
  }

  #begin(pending: PendingDelivery): void {
    if (pending.mustRunAlone) this.#alone = pending
    if (isSuspect(pending)) this.#noting.add(pending)
    this.#prepare(pending).catch((error: unknown) => {
      this.ended(pending)
      this.#host.prepareFailed(pending, error)
    })
  }

  async #prepare(pending: PendingDelivery): Promise<void> {
    if (this.#parkedKeys !== undefined && this.#mayBeParked(pending)) {
      pending.isAsking = true
      const blocker = await this.#parkedKeys.blocker(pending.delivery.message)
      pending.isAsking = false
      if (pending.state !== 'preparing') return
      if (blocker !== undefined) {
        this.ended(pending)
        this.#host.parked(pending, blocker)
        return
      }
    }
    if (isSuspect(pending)) await this.#notes.before(pending)
    this.#noting.delete(pending)
    if (pending.state === 'preparing') this.#host.prepared(pending)
  }
}

/** It was with a process that has died. One that has had its handler here since is known not to end the process. */
function isSuspect({ delivery, wasHandled }: PendingDelivery): boolean {
  return !wasHandled && (delivery.history === 'unknown' || delivery.history === 'died')
}

import type { ParkedKeys } from '../dead-letters/parked-keys.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import type { RunningNotes } from './running-notes.ts'

export interface StartGateHost {
  /** Everything is prepared: the delivery may run. */
  prepared(pending: PendingDelivery): void
  /** It must not be handled: an earlier message of its key is dead-lettered. */
  parked(pending: PendingDelivery, blocker: string): void
  /** The broker could not be asked; it is asked again at the next attempt to start. */
  prepareFailed(pending: PendingDelivery, error: unknown): void
}

/**
 * Prepares the few messages whose handler can't start at once: a message that was with a dead process is first noted at the
 * broker, one that may have killed its process runs alone, and one whose key has dead letters may be parked.
 */
export class StartGate {
  readonly #host: StartGateHost
  readonly #notes: RunningNotes
  readonly #parkedKeys: ParkedKeys | undefined
  /** The message that runs alone among its kind, and those that wait for it to end. */
  #alone: PendingDelivery | undefined
  #waiting: PendingDelivery[] = []
  /**
   * Messages to be noted. Each takes a handler's slot, because it starts as soon as it is noted. It takes the slot from the
   * beginning, because one read of the dead letters may let any number of them through at once.
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

  /** True when the handler may start now. Otherwise the gate keeps the delivery, and reports the result to its host. */
  pass(pending: PendingDelivery): boolean {
    // Set by an earlier look at the dead letters that failed.
    pending.isAsking = false
    if (!this.needsPreparing(pending)) {
      pending.isPrepared = false
      return true
    }
    pending.state = 'preparing'
    if (pending.mustRunAlone && this.#alone !== undefined) this.#waiting.push(pending)
    else this.#begin(pending)
    return false
  }

  /** It has been dead-lettered, or may have been. */
  deadLettered({ delivery }: PendingDelivery): void {
    this.#parkedKeys?.add(delivery.message)
  }

  /** Its handler has ended, or it was dropped: another message may run alone. */
  ended(pending: PendingDelivery): void {
    if (this.#noting.size > 0) this.#noting.delete(pending)
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

/** True for a message that was with a process that died, until its handler has run here without killing the process. */
function isSuspect({ delivery, wasHandled }: PendingDelivery): boolean {
  return !wasHandled && (delivery.history === 'unknown' || delivery.history === 'died')
}

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

  constructor(host: StartGateHost, notes: RunningNotes, parkedKeys: ParkedKeys | undefined) {
    this.#host = host
    this.#notes = notes
    this.#parkedKeys = parkedKeys
  }

  /** True when the handler may start now. Otherwise the gate has the delivery, and tells its host what becomes of it. */
  pass(pending: PendingDelivery): boolean {
    if (pending.isPrepared) {
      pending.isPrepared = false
      return true
    }
    const isSuspect =
      !pending.wasHandled && (pending.delivery.history === 'unknown' || pending.delivery.history === 'died')
    const mayBeParked = this.#parkedKeys !== undefined && pending.queue !== undefined
    if (!isSuspect && !mayBeParked) return true
    pending.state = 'preparing'
    this.#prepare(pending, isSuspect).catch((error: unknown) => this.#host.prepareFailed(pending, error))
    return false
  }

  /** Its handler has ended, or it is gone: another one may run alone. */
  ended(pending: PendingDelivery): void {
    if (pending !== this.#alone) return
    this.#alone = undefined
    for (let next = this.#waiting.shift(); next !== undefined; next = this.#waiting.shift()) {
      if (next.state !== 'preparing') continue
      this.#alone = next
      this.#note(next).catch((error: unknown) => this.#host.prepareFailed(next, error))
      return
    }
  }

  async #prepare(pending: PendingDelivery, isSuspect: boolean): Promise<void> {
    if (this.#parkedKeys !== undefined && pending.queue !== undefined) {
      const blocker = await this.#parkedKeys.blocker(pending.delivery.message)
      if (pending.state !== 'preparing') return
      if (blocker !== undefined) {
        this.#host.parked(pending, blocker)
        return
      }
    }
    if (pending.mustRunAlone) {
      if (this.#alone !== undefined) {
        this.#waiting.push(pending)
        return
      }
      this.#alone = pending
    }
    if (isSuspect) await this.#note(pending)
    else this.#host.prepared(pending)
  }

  async #note(pending: PendingDelivery): Promise<void> {
    await this.#notes.before(pending)
    if (pending.state === 'preparing') this.#host.prepared(pending)
  }
}

/**
 * How many messages a member of a share group may have acquired and not settled. The broker counts each acquisition as a delivery, whether a
 * handler starts or not, and drops a message in silence after the last one. A message that was acquired before may have killed the process
 * that had it: while it is handled, no other is acquired, so that it takes no others with it. A new member begins with one, because
 * it may be the next process to be killed. Pure.
 */
export class AcquisitionWindow {
  readonly #most: number
  #size = 1
  /** Messages here that were with another process before. */
  #suspects = 0

  constructor(most: number) {
    this.#most = most
  }

  get size(): number {
    return this.#size
  }

  /** One is about to be handled. */
  began(isSuspect: boolean): void {
    if (!isSuspect) return
    this.#suspects++
    this.#size = 1
  }

  /** Its handler has ended, or does not start: this process lives. */
  ended(isSuspect: boolean): void {
    if (isSuspect) this.#suspects--
    // Doubles with each round of messages.
    if (this.#suspects === 0) this.#size = Math.min(this.#most, this.#size + 1)
  }
}

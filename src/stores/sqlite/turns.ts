interface Waiting {
  readonly start: () => void
}

/** A lock for one at a time, first come, first served. */
export class Turns {
  #taken = false
  readonly #waiting = new Set<Waiting>()

  get areFree(): boolean {
    return !this.#taken
  }

  /** Resolves when it is the caller's turn. Rejects with the signal's reason, and then it is not. */
  take(signal?: AbortSignal): Promise<void> {
    if (signal?.aborted === true) return Promise.reject(signal.reason as Error)
    if (!this.#taken) {
      this.#taken = true
      return Promise.resolve()
    }
    return new Promise((resolve, reject) => {
      const giveUp = (): void => {
        this.#waiting.delete(waiting)
        reject(signal?.reason as Error)
      }
      const waiting: Waiting = {
        start: () => {
          signal?.removeEventListener('abort', giveUp)
          resolve()
        },
      }
      this.#waiting.add(waiting)
      signal?.addEventListener('abort', giveUp, { once: true })
    })
  }

  /** Ends the turn; the next one begins at once. */
  giveBack(): void {
    const [next] = this.#waiting
    if (next === undefined) {
      this.#taken = false
      return
    }
    this.#waiting.delete(next)
    next.start()
  }
}

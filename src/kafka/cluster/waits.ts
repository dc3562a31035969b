import type { Clock } from '../network/clock.ts'
import { closedError, clusterError } from './cluster-errors.ts'

export interface WaitOptions {
  /** Rejects with `WAIT_TIMEOUT` after this time. In milliseconds. @default no limit */
  readonly timeoutMs?: number
  /** Rejects with `ABORTED` when it is aborted. */
  readonly signal?: AbortSignal | undefined
}

/** Waits that end with a time, a signal, or all together when their owner closes. They leave no timer and no listener. */
export class Waits {
  readonly #clock: Clock
  readonly #running = new Set<(error: Error) => void>()
  #isClosed = false

  constructor(clock: Clock) {
    this.#clock = clock
  }

  /** Resolves after `ms`. */
  pause(ms: number, signal?: AbortSignal): Promise<void> {
    return this.#run<void>(signal, (resolve) => this.#clock.setTimer(resolve, ms))
  }

  /** What `promise` becomes, unless the time or the signal ends first; `promise` itself continues. `what` is for the message. */
  within<T>(promise: Promise<T>, what: string, { timeoutMs = Infinity, signal }: WaitOptions = {}): Promise<T> {
    return this.#run<T>(signal, (resolve, reject) => {
      promise.then(resolve, reject)
      if (timeoutMs === Infinity) return () => {}
      const late = clusterError('WAIT_TIMEOUT', `${what} took longer than ${Math.round(timeoutMs)} ms`)
      return this.#clock.setTimer(() => reject(late), timeoutMs)
    })
  }

  /** Ends all waits with `CLOSED`, and those that follow at once. */
  close(): void {
    this.#isClosed = true
    for (const end of this.#running) end(closedError())
  }

  #run<T>(
    signal: AbortSignal | undefined,
    start: (resolve: (value: T) => void, reject: (error: unknown) => void) => () => void,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      let cancel: (() => void) | undefined
      const settle = (run: () => void): void => {
        cancel?.()
        signal?.removeEventListener('abort', aborted)
        this.#running.delete(end)
        run()
      }
      const end = (error: unknown): void => settle(() => reject(error))
      const aborted = (): void => end(clusterError('ABORTED', 'the caller aborted the signal', signal?.reason))
      if (this.#isClosed) return end(closedError())
      if (signal?.aborted === true) return aborted()
      this.#running.add(end)
      signal?.addEventListener('abort', aborted, { once: true })
      cancel = start((value) => settle(() => resolve(value)), end)
    })
  }
}

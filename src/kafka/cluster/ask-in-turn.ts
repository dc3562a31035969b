import type { Clock } from '../network/clock.ts'

export interface AskInTurnOptions {
  readonly clock: Clock
  /** The next one is asked too when none has answered for so long. */
  readonly nextAfterMs: number
}

/**
 * Asks one after the other until one answers: the next when one has failed, or is slow. Rejects with the error of each when all have
 * failed. So one that is frozen costs a moment, not a timeout.
 */
export function askInTurn<T>(ask: readonly (() => Promise<T>)[], { clock, nextAfterMs }: AskInTurnOptions): Promise<T> {
  return new Promise((resolve, reject) => {
    const errors: unknown[] = []
    let asked = 0
    let isDone = false
    let cancel: (() => void) | undefined
    const next = (): void => {
      cancel?.()
      const run = ask[asked]
      if (run === undefined) return
      asked++
      cancel = clock.setTimer(next, nextAfterMs)
      run().then(succeeded, failed)
    }
    const succeeded = (value: T): void => {
      isDone = true
      cancel?.()
      resolve(value)
    }
    const failed = (error: unknown): void => {
      if (isDone) return
      errors.push(error)
      if (errors.length < ask.length) return next()
      cancel?.()
      reject(new AggregateError(errors))
    }
    next()
    if (ask.length === 0) reject(new AggregateError(errors))
  })
}

import type { Clock } from './network/clock.ts'
import { OptionsReader, shown } from './options-reader.ts'

/** What `close` takes. */
export interface CloseOptions {
  /** Time limit for closing. In milliseconds; `Infinity` for no limit. */
  readonly deadlineMs?: number | undefined
}

/** When something that is being closed must have ended. Set again, it can only become sooner. */
export class CloseDeadline {
  readonly #clock: Clock
  readonly #subject: string
  readonly #byDefaultMs: number
  readonly #late = Promise.withResolvers<void>()
  #endsAt = Infinity
  #hasPassed = false
  #cancel: (() => void) | undefined

  /** `subject`: what is closed, `consumer.close` for example. */
  constructor(clock: Clock, subject: string, byDefaultMs: number = Infinity) {
    this.#clock = clock
    this.#subject = subject
    this.#byDefaultMs = byDefaultMs
  }

  /** Resolves when it has passed. */
  get passed(): Promise<void> {
    return this.#late.promise
  }

  get hasPassed(): boolean {
    return this.#hasPassed
  }

  /** Infinity if there is none. */
  get leftMs(): number {
    return Math.max(0, this.#endsAt - this.#clock.now())
  }

  /** Throws an {@link InvalidOptionsError} if the options can't be used; nothing has changed then. */
  set(options: CloseOptions): void {
    const deadlineMs = this.#read(options)
    const endsAt = this.#clock.now() + deadlineMs
    if (endsAt >= this.#endsAt) return
    this.#endsAt = endsAt
    this.#cancel?.()
    this.#cancel = this.#clock.setTimer(() => {
      this.#hasPassed = true
      this.#late.resolve()
    }, deadlineMs)
  }

  /** It has been closed: no timer is left, and none is set any more. */
  end(): void {
    this.#cancel?.()
    this.#endsAt = -Infinity
  }

  #read(options: CloseOptions): number {
    const reader = new OptionsReader(this.#subject, options, { names: ['deadlineMs'] })
    const value = reader.raw('deadlineMs') ?? this.#byDefaultMs
    const isUsable = typeof value === 'number' && value >= 0
    if (!isUsable) {
      reader.problem('deadlineMs', `is ${shown(value)}: give a number of milliseconds of 0 or more, or Infinity`)
    }
    reader.done()
    return isUsable ? value : 0
  }
}

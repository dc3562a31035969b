import type { Clock, Timer } from './clock.ts'

export interface WatchdogHost {
  /** Goes up whenever something arrives, starts or ends. */
  progress(): number
  /** Deliveries here that ought to move: not those that wait for a retry or a pause. */
  waiting(): number
  /** Lag at the broker, asked when nothing is here; undefined when unknown. */
  lag(): Promise<number | undefined>
  stalled(idleMs: number, lag: number | undefined): void
  recovered(): void
}

const CHECKS_PER_WINDOW = 4

/** Notices a consumer that stands still while there is work for it: a hung handler, a subscription that fell silent. */
export class Watchdog {
  readonly #host: WatchdogHost
  readonly #clock: Clock
  readonly #windowMs: number
  #timer: Timer | undefined
  #seen = -1
  #since: number
  #stalled = false
  #closed = false

  constructor(host: WatchdogHost, clock: Clock, windowMs: number) {
    this.#host = host
    this.#clock = clock
    this.#windowMs = windowMs
    this.#since = clock.monotonic()
    this.#arm()
  }

  get stalled(): boolean {
    return this.#stalled
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
  }

  #arm(): void {
    if (this.#closed) return
    this.#timer = this.#clock.setTimer(this.#windowMs / CHECKS_PER_WINDOW, () => {
      this.#check().then(
        () => this.#arm(),
        // Lag could not be asked for; the transport tells its own troubles.
        () => this.#arm(),
      )
    })
  }

  async #check(): Promise<void> {
    const progress = this.#host.progress()
    const now = this.#clock.monotonic()
    if (progress !== this.#seen) {
      this.#seen = progress
      this.#since = now
      this.#recover()
      return
    }
    const idleMs = now - this.#since
    if (this.#stalled || idleMs < this.#windowMs) return
    let lag: number | undefined
    if (this.#host.waiting() === 0) {
      lag = await this.#host.lag()
      if (lag === undefined || lag === 0) return
    }
    if (this.#closed || this.#host.progress() !== this.#seen) return
    this.#stalled = true
    this.#host.stalled(idleMs, lag)
  }

  #recover(): void {
    if (!this.#stalled) return
    this.#stalled = false
    this.#host.recovered()
  }
}

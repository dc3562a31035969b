import type { Timer } from '../../../core/clock.ts'
import type { TransportHost } from '../../../core/transport.ts'
import type { ScriptRunner } from '../connection/script-runner.ts'
import { MOVE } from '../scripts/publish.ts'
import type { Reports } from '../reports.ts'

/** Where delayed messages are stored, and where they go. */
export interface DelayedPlace {
  readonly delayed: string
  readonly stream: string
  /** Set when they are for one group alone. */
  readonly group: string | undefined
}

const RETRY_MS = 500

interface Due {
  readonly place: DelayedPlace
  at: number
  timer: Timer
}

/**
 * Ensures that this process's delayed messages are delivered on time. Consumers do the same for all topics that they
 * read, so a message is not lost with its publisher, only less punctual.
 */
export class DelayedMover {
  readonly #host: TransportHost
  readonly #scripts: ScriptRunner
  readonly #reports: Reports
  readonly #due = new Map<string, Due>()
  #closed = false

  constructor(host: TransportHost, scripts: ScriptRunner, reports: Reports) {
    this.#host = host
    this.#reports = reports
    this.#scripts = scripts
  }

  /** Something in that place is due in that many ms. */
  expect(place: DelayedPlace, inMs: number): void {
    if (this.#closed) return
    const { clock } = this.#host
    const at = clock.monotonic() + inMs
    const known = this.#due.get(place.delayed)
    if (known !== undefined) {
      if (known.at <= at) return
      known.timer.cancel()
    }
    // One millisecond more: timers and the server's clock both count whole ones.
    const timer = clock.setTimer(inMs + 1, () => this.#move(place))
    this.#due.set(place.delayed, { place, at, timer })
  }

  close(): void {
    this.#closed = true
    for (const { timer } of this.#due.values()) timer.cancel()
    this.#due.clear()
  }

  #move(place: DelayedPlace): void {
    this.#due.delete(place.delayed)
    const args = place.group === undefined ? [] : [place.group]
    this.#scripts.run(MOVE, [place.delayed, place.stream], args).then(
      (next) => {
        if (Number(next) >= 0) this.expect(place, Number(next))
      },
      (error: unknown) => {
        this.expect(place, RETRY_MS)
        if (!this.#closed) this.#reports.error(error, `moving delayed messages to ${place.stream}`)
      },
    )
  }
}

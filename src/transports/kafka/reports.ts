import type { TransportHost } from '../../core/transport.ts'
import { KafkaError } from '../../kafka/index.ts'
import { isAuthorization, toBusbarError } from './errors.ts'

/** The same error of the same work is reported again after this time. */
const REPEAT_MS = 5_000
const MAX_REMEMBERED = 200

/** What the transport reports to users: errors that no caller waits for, and what needs attention. */
export class Reports {
  readonly #host: TransportHost
  /** When each text was last reported. */
  readonly #reportedAt = new Map<string, number>()
  readonly #warned = new Set<string>()

  constructor(host: TransportHost) {
    this.#host = host
  }

  /** Reports an error, except one of a client that was closed, and repetitions. */
  error(error: unknown, doing: string): void {
    if (error instanceof KafkaError && error.code === 'CLOSED') return
    const text = `${doing}: ${error instanceof Error ? error.message : String(error)}`
    const now = this.#host.clock.monotonic()
    if (now - (this.#reportedAt.get(text) ?? -Infinity) < REPEAT_MS) return
    if (this.#reportedAt.size >= MAX_REMEMBERED) this.#reportedAt.clear()
    this.#reportedAt.set(text, now)
    const reported = isAuthorization(error) ? toBusbarError(error, doing) : error
    this.#host.events.emit('error', { transport: this.#host.name, error: reported, doing })
  }

  /** Warns of something once. */
  warnOnce(code: string, detail: string): void {
    const text = `${code} ${detail}`
    if (this.#warned.has(text)) return
    if (this.#warned.size >= MAX_REMEMBERED) this.#warned.clear()
    this.#warned.add(text)
    this.#host.events.emit('warning', { transport: this.#host.name, code, detail })
  }
}

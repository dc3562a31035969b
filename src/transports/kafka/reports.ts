import type { TransportHost } from '../../core/transport.ts'
import { KafkaError } from '../../kafka/index.ts'
import { isAuthorization, toBusbarError } from './errors.ts'

/** The same error of the same work is reported again after this time. */
const REPEAT_MS = 5_000
const MAX_REMEMBERED = 200
/** Warnings of one kind: whoever has a thousand such topics knows after these. */
const MAX_WARNINGS = 20

/** What the transport reports to users: errors that no caller waits for, and what needs attention. */
export class Reports {
  readonly #host: TransportHost
  /** When each text was last reported. */
  readonly #reportedAt = new Map<string, number>()
  /** What was warned of, by code. */
  readonly #warned = new Map<string, Set<string>>()

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

  /** Warns of something once; of the first of a kind, and then that there are more. */
  warnOnce(code: string, detail: string): void {
    const warned = this.#warned.get(code) ?? new Set()
    this.#warned.set(code, warned)
    if (warned.has(detail) || warned.size > MAX_WARNINGS) return
    const isLast = warned.size === MAX_WARNINGS
    warned.add(detail)
    const text = isLast ? `${detail}. There are more: no further warning of this kind (${code}) follows` : detail
    this.#host.events.emit('warning', { transport: this.#host.name, code, detail: text })
  }
}

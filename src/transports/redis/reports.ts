import { AuthorizationError } from '../../core/errors.ts'
import type { TransportHost } from '../../core/transport.ts'
import { isAuthorizationFailure, LostReplyError, messageOf, NotSentError, replyCode } from './errors.ts'

/** The same error of the same work is reported again after this time. */
const REPEAT_MS = 5_000
const MAX_REMEMBERED = 200

interface Refusal {
  readonly warning: string
  readonly detail: string
}

/** Replies that mean that the server currently takes no writes from any client, and has done nothing. */
const REFUSALS: Readonly<Record<string, Refusal>> = {
  OOM: { warning: 'redis-out-of-memory', detail: 'Redis is out of memory (maxmemory)' },
  MISCONF: { warning: 'redis-disk', detail: 'Redis can not write to its disk' },
  NOREPLICAS: {
    warning: 'redis-replicas',
    detail: 'Redis has fewer good replicas than min-replicas-to-write asks for, and takes no writes (NOREPLICAS)',
  },
  BUSY: {
    warning: 'redis-busy',
    detail: 'Redis is busy with a script of another program (BUSY); SCRIPT KILL ends one that has written nothing',
  },
}

/** What the transport reports to users: errors that no caller waits for, and why the server refuses writes. */
export class Reports {
  readonly #host: TransportHost
  /** When each text was last reported. */
  readonly #reportedAt = new Map<string, number>()
  readonly #warned = new Set<string>()
  #code: string | undefined

  constructor(host: TransportHost) {
    this.#host = host
  }

  /** Why the server currently takes no writes, if so. */
  get refusal(): string | undefined {
    return this.#code === undefined ? undefined : REFUSALS[this.#code]?.detail
  }

  /**
   * Reports an error, except those of the connection, which is reported itself, those that `refused` reports, and
   * repetitions.
   */
  error(error: unknown, doing: string): void {
    if (error instanceof LostReplyError || error instanceof NotSentError || this.refused(error)) return
    const { events, name } = this.#host
    if (!this.#isNews(`${doing}: ${messageOf(error)}`)) return
    events.emit('error', { transport: name, error: toReported(error), doing })
  }

  /** False when the same was reported a moment ago. */
  #isNews(text: string): boolean {
    const now = this.#host.clock.monotonic()
    if (now - (this.#reportedAt.get(text) ?? -Infinity) < REPEAT_MS) return false
    if (this.#reportedAt.size >= MAX_REMEMBERED) this.#reportedAt.clear()
    this.#reportedAt.set(text, now)
    return true
  }

  warn(code: string, detail: string): void {
    this.#host.events.emit('warning', { transport: this.#host.name, code, detail })
  }

  /** Warns of something once. */
  warnOnce(code: string, detail: string): void {
    if (this.#warned.has(detail)) return
    if (this.#warned.size >= MAX_REMEMBERED) this.#warned.clear()
    this.#warned.add(detail)
    this.warn(code, detail)
  }

  killForbidden(): void {
    this.warnOnce(
      'redis-acl',
      'This user may not run CLIENT KILL: a connection that the server believes to be alive, of this member or of one that is stopped for longer than leaseMs while it reads, may be given messages out of order. Allow +client|kill.',
    )
  }

  /** Records that the server refuses writes; true when the error says so. Warns once, until it has ended. */
  refused(error: unknown): boolean {
    const code = replyCode(error)
    const refusal = code === undefined ? undefined : REFUSALS[code]
    if (code === undefined || refusal === undefined) return false
    if (this.#code === code) return true
    this.#code = code
    // A late reply may have reported its end meanwhile: still the same episode.
    if (this.#isNews(code)) this.warn(refusal.warning, `${refusal.detail}: publishing fails until that has ended`)
    return true
  }

  /** The server accepted a write. Out of memory, it still takes those that need none; only a message proves more. */
  accepted(what: 'message' | 'upkeep'): void {
    if (this.#code === undefined || (what === 'upkeep' && this.#code === 'OOM')) return
    this.#code = undefined
  }
}

/** Reports a missing permission as such. */
function toReported(error: unknown): unknown {
  return isAuthorizationFailure(error)
    ? new AuthorizationError(`Redis does not allow it: ${messageOf(error)}`, { cause: error })
    : error
}

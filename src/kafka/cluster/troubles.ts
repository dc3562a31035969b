import type { KafkaError } from '../errors.ts'
import { callHook } from './hooks.ts'
import type { TroubleEvent } from './hooks.ts'

/** What can't be used: all brokers, one broker by its address, a topic by its name, or a coordinator. */
export type Subject = Pick<TroubleEvent, 'about' | 'name'>

interface Trouble {
  readonly subject: Subject
  readonly since: number
  error: KafkaError
  isReported: boolean
  /** The last report about the subject, that of an earlier trouble included. */
  reportedAt: number
}

/** Between two reports about the same subject, even if it worked in between. */
const REPEAT_MS = 30_000
/** If the reason has changed. */
const OTHER_REASON_MS = 5_000

/** What keeps a client from working, for the hook: reported when it begins, again while it lasts, and when it is over. */
export class Troubles {
  readonly #now: () => number
  readonly #hook: ((event: TroubleEvent) => void) | undefined
  readonly #known = new Map<string, Trouble>()
  /** Those that are not over. */
  readonly #lasting = new Map<string, Trouble>()

  constructor(now: () => number, hook: ((event: TroubleEvent) => void) | undefined) {
    this.#now = now
    this.#hook = hook
  }

  /** Those that are not over. */
  get lasting(): Iterable<Subject> {
    return [...this.#lasting.values()].map(({ subject }) => subject)
  }

  isLasting(subject: Subject): boolean {
    return this.#lasting.size > 0 && this.#lasting.has(keyOf(subject))
  }

  /** An attempt to use it failed. Reported once it has failed for `graceMs`. */
  failed(subject: Subject, error: KafkaError, graceMs = 0): void {
    if (this.#hook === undefined) return
    const key = keyOf(subject)
    const now = this.#now()
    let trouble = this.#lasting.get(key)
    if (trouble === undefined) {
      this.#forgetOld(now)
      const reportedAt = this.#known.get(key)?.reportedAt ?? -Infinity
      trouble = { subject, since: now, error, isReported: false, reportedAt }
      this.#known.set(key, trouble)
      this.#lasting.set(key, trouble)
    }
    const isOther = trouble.isReported && trouble.error.code !== error.code
    const pauseMs = isOther ? OTHER_REASON_MS : REPEAT_MS
    if (now - trouble.since < graceMs || now - trouble.reportedAt < pauseMs) return
    trouble.error = error
    trouble.isReported = true
    trouble.reportedAt = now
    callHook(this.#hook, { type: 'trouble', ...subject, error, durationMs: now - trouble.since })
  }

  /** It works again, or is no longer needed. */
  ended(subject: Subject): void {
    const key = keyOf(subject)
    const trouble = this.#lasting.get(key)
    if (trouble === undefined) return
    this.#lasting.delete(key)
    const { error, since, isReported } = trouble
    if (!isReported) return
    callHook(this.#hook, { type: 'over', ...subject, error, durationMs: this.#now() - since })
  }

  #forgetOld(now: number): void {
    for (const [key, { reportedAt }] of this.#known) {
      if (!this.#lasting.has(key) && now - reportedAt >= REPEAT_MS) this.#known.delete(key)
    }
  }
}

function keyOf({ about, name }: Subject): string {
  return `${about} ${name}`
}

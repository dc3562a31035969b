import { toThreadError } from './database.ts'
import type { ReplyQueue } from './reply-queue.ts'
import { growingDelay } from '../../../core/util/backoff.ts'

/** Pause after background work has failed, in ms. */
const RETRY_PAUSE = { minMs: 50, maxMs: 5_000 } as const
/** How often writing is tried again after the file could not be written, in ms. */
const PROBE_MS = 1_000

/** What is wrong with the file at the moment, who is notified, and when to try again. */
export class FileHealth {
  readonly #replies: ReplyQueue
  readonly #retry: () => void
  readonly #probe: () => void
  #failures = 0
  #retryTimer: NodeJS.Timeout | undefined
  #probeTimer: NodeJS.Timeout | undefined
  /** Set when something is wrong. True: durable writes fail. */
  #durable: boolean | undefined

  /** `retry` resumes background work; `probe` tries to write. */
  constructor(replies: ReplyQueue, retry: () => void, probe: () => void) {
    this.#replies = replies
    this.#retry = retry
    this.#probe = probe
  }

  /** Background work has failed and is paused. */
  get paused(): boolean {
    return this.#retryTimer !== undefined
  }

  /** A transaction has failed, and its caller is notified. */
  failed(error: unknown, durable: boolean): void {
    const known = toThreadError(error)
    if (known.sqlite === undefined && known.reason === undefined) return
    if (this.#durable === undefined) this.#replies.add({ kind: 'health', error: known })
    this.#durable = durable || this.#durable === true
    if (this.#durable) this.#armProbe()
  }

  /** Background work has failed: reported once per episode, and tried again later. */
  failedInBackground(error: unknown, doing: string, durable: boolean): void {
    const known = this.#durable !== undefined
    this.failed(error, durable)
    if (!known && this.#failures === 0) this.#replies.add({ kind: 'trouble', doing, error: toThreadError(error) })
    this.#retryTimer ??= setTimeout(
      () => {
        this.#retryTimer = undefined
        this.#retry()
      },
      growingDelay(RETRY_PAUSE, this.#failures++),
    )
  }

  /** A full disk still accepts small writes: only a write like the one that failed shows that all is well again. */
  succeeded(durable: boolean): void {
    this.#failures = 0
    if (this.#durable === undefined || (this.#durable && !durable)) return
    this.#durable = undefined
    clearTimeout(this.#probeTimer)
    this.#probeTimer = undefined
    this.#replies.add({ kind: 'health', error: undefined })
  }

  #armProbe(): void {
    this.#probeTimer ??= setTimeout(() => {
      this.#probeTimer = undefined
      this.#probe()
    }, PROBE_MS)
  }

  close(): void {
    clearTimeout(this.#retryTimer)
    clearTimeout(this.#probeTimer)
  }
}

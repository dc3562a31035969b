import type { Clock } from '../../network/clock.ts'
import type { ShareRecord } from './share-record.ts'

/** Of a lock, after which it is renewed. */
const RENEW_AT = 1 / 3

/** The records that one broker has handed out and that have no verdict yet. While there are any, their locks are renewed, all together. */
export class ShareLocks {
  readonly #clock: Clock
  readonly #renew: (records: readonly ShareRecord[]) => void
  readonly #undecided = new Set<ShareRecord>()
  /** What the last renewal was for. */
  #renewing: readonly ShareRecord[] = []
  #cancelTimer: (() => void) | undefined

  /** `renew` asks the broker to start the locks again; if it has, call {@link ShareLocks.renewed}. */
  constructor(clock: Clock, renew: (records: readonly ShareRecord[]) => void) {
    this.#clock = clock
    this.#renew = renew
  }

  add(record: ShareRecord, lockMs: number): void {
    this.#undecided.add(record)
    if (this.#cancelTimer === undefined && lockMs > 0) this.#renewLater(lockMs)
  }

  decided(record: ShareRecord): void {
    this.#undecided.delete(record)
  }

  renewed(lockMs: number, askedAt: number): void {
    for (const record of this.#renewing) record.lockEndsAt = askedAt + lockMs
  }

  /** Takes out all of them: their locks have ended with their session. */
  clear(): readonly ShareRecord[] {
    const records = [...this.#undecided]
    this.#undecided.clear()
    return records
  }

  end(): void {
    this.#cancelTimer?.()
  }

  #renewLater(lockMs: number): void {
    this.#cancelTimer = this.#clock.setTimer(() => {
      this.#cancelTimer = undefined
      this.#renewing = [...this.#undecided]
      if (this.#renewing.length === 0) return
      this.#renewLater(lockMs)
      this.#renew(this.#renewing)
    }, lockMs * RENEW_AT)
  }
}

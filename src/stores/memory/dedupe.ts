import { systemClock } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import { LinkedList } from '../../core/util/linked-list.ts'
import { OptionsReader } from '../../core/util/options-reader.ts'
import type { DedupeClaim, DedupeStore } from '../../middleware/store.ts'

/** Options of the store. */
export interface MemoryDedupeStoreOptions {
  /** Most keys that are remembered; beyond, the one that was done first is forgotten. Default 100,000. */
  readonly maxEntries?: number | undefined
  /** Default: the clock of the machine. */
  readonly clock?: Clock | undefined
}

/** A `DedupeStore` that answers at once. */
export interface MemoryDedupeStore extends DedupeStore {
  claim(key: string, leaseMs: number): DedupeClaim
  renew(key: string, token: string, leaseMs: number): boolean
  complete(key: string, token: string, ttlMs: number): boolean
  release(key: string, token: string): void
  /** Keys remembered now, claimed and done. */
  readonly size: number
}

const MEMORY_DEDUPE_DEFAULTS = { maxEntries: 100_000 } as const

/**
 * Remembers handled messages in this process: for a consumer that runs in one process, and for tests. What was handled
 * before a restart is not known any more. It never holds more than `maxEntries` keys, unless more handlers than that run
 * at once: claims whose lease runs are never forgotten.
 *
 * Throws `ConfigurationError`.
 */
export function memoryDedupeStore(options: MemoryDedupeStoreOptions = {}): MemoryDedupeStore {
  const reader = new OptionsReader('memoryDedupeStore()', options, 'memoryDedupeStore()')
  const maxEntries = reader.integer('maxEntries', MEMORY_DEDUPE_DEFAULTS.maxEntries, { min: 1 })
  const clock = reader.withMethods<Clock>('clock', ['now', 'monotonic', 'setTimer']) ?? systemClock
  reader.done()
  return new MemoryStore(maxEntries, clock)
}

/** A key that is claimed (then it has a token) or done. */
class Entry {
  previous: Entry | undefined = undefined
  next: Entry | undefined = undefined
  readonly key: string
  token: string | undefined
  /** End of the lease, or of the time to live, by the monotonic clock. */
  until: number

  constructor(key: string, token: string | undefined, until: number) {
    this.key = key
    this.token = token
    this.until = until
  }
}

class MemoryStore implements MemoryDedupeStore {
  readonly #maxEntries: number
  readonly #clock: Clock
  readonly #entries = new Map<string, Entry>()
  // Their order is in lists of their own: finding the first key of a map gets slow when many before it were deleted.
  readonly #claimed = new LinkedList<Entry>()
  readonly #done = new LinkedList<Entry>()
  #lastToken = 0

  constructor(maxEntries: number, clock: Clock) {
    this.#maxEntries = maxEntries
    this.#clock = clock
  }

  get size(): number {
    return this.#entries.size
  }

  claim(key: string, leaseMs: number): DedupeClaim {
    const now = this.#clock.monotonic()
    const known = this.#entries.get(key)
    if (known !== undefined) {
      if (known.until > now)
        return known.token === undefined
          ? { status: 'done' }
          : { status: 'in-progress', retryAfterMs: known.until - now }
      this.#remove(known)
    }
    this.#makeRoom(now)
    const token = String(++this.#lastToken)
    const claim = new Entry(key, token, now + leaseMs)
    this.#entries.set(key, claim)
    this.#claimed.push(claim)
    return { status: 'claimed', token }
  }

  renew(key: string, token: string, leaseMs: number): boolean {
    const claim = this.#current(key, token)
    if (claim === undefined) return false
    claim.until = this.#clock.monotonic() + leaseMs
    return true
  }

  complete(key: string, token: string, ttlMs: number): boolean {
    const claim = this.#current(key, token)
    if (claim === undefined) return false
    this.#claimed.remove(claim)
    claim.token = undefined
    claim.until = this.#clock.monotonic() + ttlMs
    this.#done.push(claim)
    return true
  }

  release(key: string, token: string): void {
    const claim = this.#current(key, token)
    if (claim !== undefined) this.#remove(claim)
  }

  #current(key: string, token: string): Entry | undefined {
    const entry = this.#entries.get(key)
    return entry !== undefined && entry.token === token && entry.until > this.#clock.monotonic() ? entry : undefined
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry.key)
    const list = entry.token === undefined ? this.#done : this.#claimed
    list.remove(entry)
  }

  #makeRoom(now: number): void {
    // A little at each claim, so that no single one pays for all.
    this.#dropExpired(this.#done, now, 2)
    this.#dropExpired(this.#claimed, now, 2)
    while (this.size >= this.#maxEntries && this.#done.first !== undefined) this.#remove(this.#done.first)
    if (this.size < this.#maxEntries) return
    for (const claim of this.#claimed.toArray()) if (claim.until <= now) this.#remove(claim)
  }

  #dropExpired(list: LinkedList<Entry>, now: number, most: number): void {
    for (let dropped = 0; dropped < most; dropped++) {
      const { first } = list
      if (first === undefined || first.until > now) return
      this.#remove(first)
    }
  }
}

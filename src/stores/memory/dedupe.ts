import { systemClock } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import { OptionsReader } from '../../core/options.ts'
import type { DedupeClaim, DedupeStore } from '../../middleware/store.ts'

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

export const MEMORY_DEDUPE_DEFAULTS = { maxEntries: 100_000 } as const

/**
 * Remembers handled messages in this process: for a consumer that runs in one process, and for tests. What was handled
 * before a restart is not known any more. It never holds more than `maxEntries` keys, unless more handlers than that run
 * at once: claims whose lease runs are never forgotten.
 *
 * Throws `ConfigurationError`.
 */
export function memoryDedupeStore(options: MemoryDedupeStoreOptions = {}): MemoryDedupeStore {
  const reader = new OptionsReader('memoryDedupeStore()', options)
  const maxEntries = reader.integer('maxEntries', MEMORY_DEDUPE_DEFAULTS.maxEntries, { min: 1 })
  const clock = reader.withMethods<Clock>('clock', ['now', 'monotonic', 'setTimer']) ?? systemClock
  reader.done()
  return new MemoryStore(maxEntries, clock)
}

interface Claim {
  readonly token: string
  /** By the monotonic clock. */
  endsAt: number
}

class MemoryStore implements MemoryDedupeStore {
  readonly #maxEntries: number
  readonly #clock: Clock
  readonly #claims = new Map<string, Claim>()
  /** Key to the end of its time to live, in order of completion. */
  readonly #done = new Map<string, number>()
  #lastToken = 0

  constructor(maxEntries: number, clock: Clock) {
    this.#maxEntries = maxEntries
    this.#clock = clock
  }

  get size(): number {
    return this.#claims.size + this.#done.size
  }

  claim(key: string, leaseMs: number): DedupeClaim {
    const now = this.#clock.monotonic()
    const doneUntil = this.#done.get(key)
    if (doneUntil !== undefined) {
      if (doneUntil > now) return { status: 'done' }
      this.#done.delete(key)
    }
    const other = this.#claims.get(key)
    if (other !== undefined && other.endsAt > now) return { status: 'in-progress', retryAfterMs: other.endsAt - now }
    const token = String(++this.#lastToken)
    // Deleted first, so that the map stays in the order of the claims.
    this.#claims.delete(key)
    this.#makeRoom(now)
    this.#claims.set(key, { token, endsAt: now + leaseMs })
    return { status: 'claimed', token }
  }

  renew(key: string, token: string, leaseMs: number): boolean {
    const claim = this.#current(key, token)
    if (claim === undefined) return false
    claim.endsAt = this.#clock.monotonic() + leaseMs
    return true
  }

  complete(key: string, token: string, ttlMs: number): boolean {
    if (this.#current(key, token) === undefined) return false
    this.#claims.delete(key)
    this.#done.set(key, this.#clock.monotonic() + ttlMs)
    return true
  }

  release(key: string, token: string): void {
    if (this.#current(key, token) !== undefined) this.#claims.delete(key)
  }

  #current(key: string, token: string): Claim | undefined {
    const claim = this.#claims.get(key)
    return claim !== undefined && claim.token === token && claim.endsAt > this.#clock.monotonic() ? claim : undefined
  }

  #makeRoom(now: number): void {
    this.#dropExpired(now)
    while (this.size >= this.#maxEntries) {
      const [oldest] = this.#done.keys()
      if (oldest === undefined) {
        for (const [key, claim] of this.#claims) if (claim.endsAt <= now) this.#claims.delete(key)
        return
      }
      this.#done.delete(oldest)
    }
  }

  /** A little at each claim, so that no single one pays for all. */
  #dropExpired(now: number): void {
    let looks = 2
    for (const [key, endsAt] of this.#done) {
      if (endsAt > now || looks-- === 0) break
      this.#done.delete(key)
    }
    looks = 2
    for (const [key, claim] of this.#claims) {
      if (claim.endsAt > now || looks-- === 0) break
      this.#claims.delete(key)
    }
  }
}

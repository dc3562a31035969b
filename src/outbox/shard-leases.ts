import type { Clock } from '../core/clock.ts'
import { SHARDS } from './row.ts'
import type { OutboxStore, OwnedShard } from './store.ts'

export interface ShardLeasesParts {
  readonly store: OutboxStore
  readonly owner: string
  readonly leaseMs: number
  readonly clock: Clock
  /** Called with shards that are new, before they count as active. */
  readonly prepare: (shards: readonly number[]) => Promise<void>
  /** Called in the moment in which they do. */
  readonly onGained: () => void
  readonly onLost: (shards: ReadonlySet<number>) => void
  /** True while rows of the shard are being sent or deleted. */
  readonly isBusy: (shard: number) => boolean
}

/** The shards that this relay owns: a fair share of all. */
export class ShardLeases {
  readonly #parts: ShardLeasesParts
  #owned = new Map<number, OwnedShard>()
  /** Those that another relay shall have: given back when nothing of them is under way. */
  readonly #leaving = new Set<number>()
  #validUntil = -Infinity
  #relays = 1

  constructor(parts: ShardLeasesParts) {
    this.#parts = parts
  }

  get relays(): number {
    return this.#relays
  }

  /** Shards whose rows may be read and sent now: none when the lease may have ended, as after a pause of the process. */
  get active(): number[] {
    if (this.#parts.clock.monotonic() >= this.#validUntil) return []
    return [...this.#owned.keys()].filter((shard) => !this.#leaving.has(shard))
  }

  isActive(shard: number): boolean {
    return this.#owned.has(shard) && !this.#leaving.has(shard) && this.#parts.clock.monotonic() < this.#validUntil
  }

  get(shard: number): OwnedShard | undefined {
    return this.#owned.get(shard)
  }

  /** Renews the leases, takes shards that have no relay, and gives back what is more than a fair share. */
  async refresh(): Promise<void> {
    const { store, owner, leaseMs, clock, prepare, onGained, onLost, isBusy } = this.#parts
    const askedAt = clock.monotonic()
    const { relays, owned } = await store.heartbeat(owner, leaseMs)
    this.#relays = relays
    const share = Math.ceil(SHARDS / relays)
    const claimed = owned.length < share ? await store.claim(owner, leaseMs, share - owned.length) : []
    const now = new Map([...owned, ...claimed].map((shard) => [shard.shard, shard]))
    // The fence says whether another relay has had it meanwhile.
    const lost = [...this.#owned.values()].filter(({ shard, fence }) => now.get(shard)?.fence !== fence)
    const gained = [...now.values()].filter(({ shard, fence }) => this.#owned.get(shard)?.fence !== fence)
    if (lost.length > 0) onLost(new Set(lost.map(({ shard }) => shard)))
    for (const { shard } of lost) this.#owned.delete(shard)
    this.#validUntil = askedAt + leaseMs
    if (gained.length > 0) {
      await prepare(gained.map(({ shard }) => shard))
      for (const shard of gained) this.#owned.set(shard.shard, shard)
      onGained()
    }
    for (const shard of [...this.#owned.keys()].slice(share)) this.#leaving.add(shard)
    for (const shard of this.#leaving) if (!now.has(shard)) this.#leaving.delete(shard)
    const idle = [...this.#leaving].filter((shard) => !isBusy(shard))
    if (idle.length === 0) return
    onLost(new Set(idle))
    await store.release(owner, idle)
    for (const shard of idle) {
      this.#owned.delete(shard)
      this.#leaving.delete(shard)
    }
  }
}

import { randomUUID } from 'node:crypto'
import { hostname } from 'node:os'
import type { Bus, BusExtension } from '../core/bus-types.ts'
import { sleep, systemClock } from '../core/clock.ts'
import type { Clock, Timer } from '../core/clock.ts'
import type { ExtensionHealth } from '../core/health.ts'
import { growingDelay, halfRandom } from '../core/util/backoff.ts'
import { describeError } from '../core/util/describe-error.ts'
import { RelaySender } from './relay-sender.ts'
import { resolveRelayOptions } from './relay-options.ts'
import type { OutboxRelayOptions, ResolvedRelayOptions } from './relay-options.ts'
import { RelayWindow } from './relay-window.ts'
import { ShardLeases } from './shard-leases.ts'
import type { OutboxStats } from './store.ts'
import { Wakeup } from './wakeup.ts'

/** Pause after an error of the database. */
const DATABASE_RETRY = { minMs: 100, maxMs: 5_000 } as const
/** Rows of one key in memory. More of them are read when these are sent. */
const MAX_PER_KEY = 100
/** Keys that are read apart; with more, only these are read. */
const MAX_KEYS_ASIDE = 1_000
const KEYS_PER_TURN = 32
/** A row that no transaction of Busbar has written, or a position that came too late, is found by reading everything. */
const SWEEP_MS = 60_000
const STATS_MS = 5_000
/** For how long a relay says that it will look by itself, and how often it does so. */
const AWAKE = { forMs: 1_000, everyMs: 400 } as const
const HELD_MS = 5_000

/**
 * Sends what outboxes have written: a bus extension, in any process that reaches the database and the broker. Start as many as you
 * like; they share the work by key.
 *
 *     const store = postgresOutboxStore({ client: pool })
 *     await bus.use(outboxRelay({ store }))
 *
 * - A row is deleted when the broker has confirmed its message. A relay that dies in between sends it again, with the same id.
 * - Messages of one key are sent one after the other, each when the one before it is confirmed, in the order in which they were written.
 * - While a broker can't be reached, rows wait, and nothing is written to them. A row that the broker refuses for good is tried
 *   `maxAttempts` times, then parked: `busbar outbox requeue`.
 * - Closing the bus finishes what is being sent and gives the work to the other relays at once.
 *
 * Throws `ConfigurationError` for invalid options. `bus.start()` rejects when the tables are missing.
 */
export function outboxRelay(options: OutboxRelayOptions): BusExtension {
  return new OutboxRelay(resolveRelayOptions(options))
}

class OutboxRelay implements BusExtension {
  readonly name = 'outbox-relay'
  readonly #options: ResolvedRelayOptions
  readonly #clock: Clock = systemClock
  #session: RelaySession | undefined

  constructor(options: ResolvedRelayOptions) {
    this.#options = options
  }

  async start(bus: Bus): Promise<void> {
    await this.#options.store.check()
    this.#session = new RelaySession(bus, this.#options, this.#clock)
    await this.#session.start()
  }

  async drain(): Promise<void> {
    await this.#session?.drain()
  }

  async close(): Promise<void> {
    await this.#session?.close()
    this.#session = undefined
  }

  health(): ExtensionHealth {
    return this.#session?.health() ?? { status: 'stopped' }
  }

  snapshot(): unknown {
    return this.#session?.snapshot()
  }
}

/** One relay from start to close. */
class RelaySession {
  readonly #bus: Bus
  readonly #options: ResolvedRelayOptions
  readonly #clock: Clock
  readonly #owner = `${hostname()}-${process.pid}-${randomUUID().slice(0, 8)}`
  readonly #window: RelayWindow
  readonly #leases: ShardLeases
  readonly #sender: RelaySender
  readonly #wakeup: Wakeup
  readonly #stop = new AbortController()
  #loops: Promise<unknown> = Promise.resolve()
  #databaseError: string | undefined
  #stopListening: (() => Promise<void>) | undefined
  #listenAgain: Timer | undefined
  #sweepAt = 0
  #awakeUntil = -Infinity
  #stats: OutboxStats | undefined
  #held: { final: number; since: number; isReported: boolean } = { final: 0, since: 0, isReported: false }
  #lastRead = 0

  constructor(bus: Bus, options: ResolvedRelayOptions, clock: Clock) {
    this.#bus = bus
    this.#options = options
    this.#clock = clock
    const { store, leaseMs, batchSize } = options
    this.#wakeup = new Wakeup(clock)
    this.#window = new RelayWindow({ maxRows: 2 * batchSize, maxPerKey: Math.min(MAX_PER_KEY, batchSize) })
    this.#leases = new ShardLeases({
      store,
      owner: this.#owner,
      leaseMs,
      clock,
      prepare: (shards) => this.#prepare(shards),
      onGained: () => this.#window.rewind(),
      onLost: (shards) => this.#window.dropShards(shards),
      isBusy: (shard) => this.#window.isBusy(shard),
    })
    this.#sender = new RelaySender({
      bus,
      options,
      clock,
      window: this.#window,
      leases: this.#leases,
      wake: () => this.#wakeup.wake(),
      warn: (code, detail) => this.#warn(code, detail),
    })
  }

  async start(): Promise<void> {
    await this.#leases.refresh()
    if (this.#options.trigger === 'notify') await this.#listen()
    this.#loops = Promise.all([this.#leaseLoop(), this.#readLoop(), this.#statsLoop()])
  }

  /** Sends nothing new, and waits for what is under way. */
  async drain(): Promise<void> {
    this.#stop.abort()
    this.#wakeup.wake()
    await this.#loops
    await this.#sender.idle()
    await this.#leave()
  }

  async close(): Promise<void> {
    this.#stop.abort()
    this.#wakeup.wake()
    this.#sender.end()
    await this.#loops
    await this.#leave()
  }

  /** Other relays take the shards at once, and not when the lease has ended. */
  async #leave(): Promise<void> {
    this.#listenAgain?.cancel()
    const stop = this.#stopListening
    this.#stopListening = undefined
    await stop?.()
    await this.#options.store.leave(this.#owner)
  }

  // --- ownership ---------------------------------------------------------------------------------------------------

  async #leaseLoop(): Promise<void> {
    await this.#every(Math.min(2_000, this.#options.leaseMs / 5), async () => {
      await this.#leases.refresh()
      this.#wakeup.wake()
    })
  }

  /** Keys that must wait are known before anything of a new shard is read. */
  async #prepare(shards: readonly number[]): Promise<void> {
    const { store, afterPark } = this.#options
    const now = this.#clock.monotonic()
    const blocked = await store.blocked(shards, { parked: afterPark === 'hold' })
    for (const { key, shard, readyInMs = HELD_MS } of blocked) this.#window.block(key, shard, now + readyInMs)
  }

  // --- reading -----------------------------------------------------------------------------------------------------

  async #readLoop(): Promise<void> {
    const { minPollMs, maxPollMs } = this.#options
    const { signal } = this.#stop
    let pauseMs: number = minPollMs
    let failures = 0
    while (!signal.aborted) {
      try {
        const found = await this.#readOnce()
        failures = 0
        this.#databaseError = undefined
        this.#sender.send()
        // There is more: reading goes on while these are sent.
        if (found === 'more') continue
        pauseMs = found === 'some' ? minPollMs : Math.min(maxPollMs, pauseMs * 2)
        await this.#noteAwake(pauseMs)
      } catch (error) {
        this.#databaseFailed(error)
        pauseMs = halfRandom(growingDelay(DATABASE_RETRY, failures++))
      }
      const untilNext = this.#window.nextAt() - this.#clock.monotonic()
      const wasWoken = await this.#wakeup.wait(Math.max(1, Math.min(pauseMs, untilNext)))
      if (wasWoken) pauseMs = minPollMs
    }
  }

  async #readOnce(): Promise<'more' | 'some' | 'none'> {
    const { store, batchSize, maxBatchBytes } = this.#options
    const now = this.#clock.monotonic()
    const shards = this.#leases.active
    if (shards.length === 0) return 'none'
    if (now >= this.#sweepAt) {
      this.#sweepAt = now + SWEEP_MS
      this.#window.rewind()
    }
    let found = await this.#readKeys(now)
    const { room, bytes } = this.#window
    const skipKeys = this.#window.keysAside()
    const hasRoom = room >= Math.min(batchSize, 2 * batchSize) / 4 && bytes < 2 * maxBatchBytes
    if (!hasRoom || skipKeys.length > MAX_KEYS_ASIDE) return found ? 'some' : 'none'
    const skipTransports = this.#sender.paused
    const { epoch } = this.#window
    const result = await store.read({
      shards,
      floor: this.#window.floor,
      skipPositions: this.#window.positions(),
      skipKeys,
      skipTransports,
      limit: Math.min(batchSize, room),
      maxBytes: maxBatchBytes,
    })
    // A shard may have been lost meanwhile.
    const rows = result.rows.filter(({ shard }) => this.#leases.isActive(shard))
    const isWhole = skipTransports.length === 0 && rows.length === result.rows.length
    this.#window.add({ ...result, rows }, { isWhole, epoch })
    await this.#noteHeld(result.final, result.rows.at(-1)?.position ?? 0)
    if (result.rows.length > 0) found = true
    if (result.isCut && this.#window.room > 0) return 'more'
    return found ? 'some' : 'none'
  }

  async #readKeys(now: number): Promise<boolean> {
    const { store, batchSize, maxBatchBytes, afterPark } = this.#options
    let found = false
    for (const { key, shard, floor } of this.#window.keysToRead(now).slice(0, KEYS_PER_TURN)) {
      if (!this.#leases.isActive(shard)) {
        if (this.#leases.get(shard) === undefined) this.#window.dropKey(key)
        continue
      }
      const [blocked] = await store.blocked([shard], { key, parked: afterPark === 'hold' })
      if (blocked !== undefined) {
        this.#window.block(key, shard, this.#clock.monotonic() + (blocked.readyInMs ?? HELD_MS))
        continue
      }
      const limit = Math.min(MAX_PER_KEY, batchSize, Math.max(1, this.#window.room))
      const skipPositions = this.#window.positions()
      const { epoch } = this.#window
      const result = await store.readKey({ key, shard, floor, skipPositions, limit, maxBytes: maxBatchBytes })
      if (epoch === this.#window.epoch && this.#leases.isActive(shard)) this.#window.addKey(key, result)
      found ||= result.rows.length > 0
    }
    return found
  }

  // --- triggers ----------------------------------------------------------------------------------------------------

  async #listen(): Promise<void> {
    try {
      const stop = await this.#options.store.listen?.(
        () => this.#wakeup.wake(),
        (error) => this.#deaf(error),
      )
      if (this.#stop.signal.aborted) await stop?.()
      else this.#stopListening = stop
    } catch (error) {
      this.#deaf(error)
    }
  }

  /** Rows are found by looking for them meanwhile. */
  #deaf(error: unknown): void {
    this.#stopListening = undefined
    if (this.#stop.signal.aborted) return
    this.#warn('outbox-trigger-degraded', `LISTEN has ended, so the relay only polls: ${describeError(error).message}`)
    this.#listenAgain?.cancel()
    this.#listenAgain = this.#clock.setTimer(10_000, () => void this.#listen())
  }

  /** While it looks often by itself, writers need not notify. */
  async #noteAwake(pauseMs: number): Promise<void> {
    if (this.#options.trigger !== 'notify' || pauseMs > AWAKE.everyMs) return
    const now = this.#clock.monotonic()
    if (now < this.#awakeUntil - AWAKE.forMs + AWAKE.everyMs) return
    await this.#options.store.awake(this.#owner, AWAKE.forMs)
    this.#awakeUntil = now + AWAKE.forMs
  }

  // --- watching ----------------------------------------------------------------------------------------------------

  async #noteHeld(final: number, lastRead: number): Promise<void> {
    const now = this.#clock.monotonic()
    this.#lastRead = Math.max(this.#lastRead, lastRead)
    if (final !== this.#held.final || this.#lastRead <= final) {
      this.#held = { final, since: now, isReported: false }
      return
    }
    if (this.#held.isReported || now - this.#held.since < HELD_MS) return
    this.#held.isReported = true
    const holder = await this.#options.store.holder?.()
    if (holder !== undefined)
      this.#warn(
        'outbox-held',
        `a transaction that is open keeps the relay from forgetting deleted rows, and makes its reads slower: ${holder}`,
      )
  }

  async #statsLoop(): Promise<void> {
    await this.#every(STATS_MS, async () => {
      this.#stats = await this.#options.store.stats()
    })
  }

  async #every(ms: number, work: () => Promise<void>): Promise<void> {
    const { signal } = this.#stop
    for (;;) {
      try {
        await sleep(this.#clock, ms, signal)
      } catch {
        return
      }
      await work().catch((error: unknown) => this.#databaseFailed(error))
    }
  }

  #databaseFailed(error: unknown): void {
    if (this.#stop.signal.aborted) return
    const { message } = describeError(error)
    if (this.#databaseError === undefined) this.#warn('outbox-database', `the outbox can't be read: ${message}`)
    this.#databaseError = message
  }

  #warn(code: string, detail: string): void {
    this.#bus.events.emit('warning', { transport: 'outbox', code, detail })
  }

  health(): ExtensionHealth {
    if (this.#databaseError !== undefined) return { status: 'failed', detail: this.#databaseError }
    const { outage } = this.#sender
    if (outage !== undefined) return { status: 'degraded', detail: outage }
    const { oldestAgeMs = 0, unownedShards = 0 } = this.#stats ?? {}
    if (oldestAgeMs > this.#options.stallMs)
      return {
        status: 'degraded',
        detail: `a row has waited for ${Math.round(oldestAgeMs / 1_000)} s; ${unownedShards} shards have no relay`,
      }
    return { status: 'ok' }
  }

  snapshot(): unknown {
    return {
      owner: this.#owner,
      relays: this.#leases.relays,
      shards: this.#leases.active.length,
      inMemory: this.#window.size,
      floor: this.#window.floor,
      ...this.#sender.counts,
      table: this.#stats,
    }
  }
}

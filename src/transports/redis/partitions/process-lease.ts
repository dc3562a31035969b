import { randomBytes } from 'node:crypto'
import type { Clock, Timer } from '../../../core/clock.ts'
import { refusesEverybody } from '../errors.ts'
import type { Keys } from '../topology/keys.ts'
import type { ResolvedRedisOptions } from '../options.ts'
import type { Reports } from '../reports.ts'
import type { ScriptRunner } from '../connection/script-runner.ts'
import { FENCE_DEAD, RENEW } from '../scripts/lease.ts'
import type { Commands } from '../connection/commands.ts'

const MIN_SILENT_MS = 1_000
const EXPIRED = 'its lease could not be renewed in time'
const FENCED = 'its lease had ended, and another process may have taken over'

/** What the lease needs from the transport. */
export interface ProcessLeaseParts {
  readonly options: ResolvedRedisOptions
  readonly clock: Clock
  readonly commands: Commands
  readonly scripts: ScriptRunner
  readonly keys: Keys
  readonly reports: Reports
  /** Everything that this process owns is lost. */
  readonly onLost: (reason: string) => void
  /** Other processes fell silent, died, or came back: their members count differently now. */
  readonly onOthers: () => void
  /** Reads that waited for it may go on. */
  readonly onRenewed: () => void
}

/**
 * The one lease of this process, whatever it consumes: while it lasts, no other process takes over what members of this
 * one own. It counts from before each renewal was sent, by our own clock.
 */
export class ProcessLease {
  readonly #parts: ProcessLeaseParts
  readonly #renewMs: number
  readonly #silentMs: number
  #name: string
  #until = -Infinity
  /** Server time of the last answer, and when it came (monotonic). */
  #serverMs = 0
  #serverAt = 0
  /** Fenced or silent processes, with the end of their lease; negative when fenced. */
  #others: ReadonlyMap<string, number> = new Map()
  #renewing: Promise<void> | undefined
  #timer: Timer | undefined
  #watch: Timer | undefined
  #started = false
  #closed = false

  constructor(parts: ProcessLeaseParts) {
    const { leaseMs, pollIntervalMs } = parts.options
    this.#parts = parts
    this.#name = makeName(leaseMs)
    this.#renewMs = Math.min(leaseMs / 5, pollIntervalMs * 4)
    this.#silentMs = Math.min(leaseMs, Math.max(MIN_SILENT_MS, this.#renewMs * 2.5))
  }

  /** Name of this process on the server. A lease that ended is never renewed under the same name. */
  get name(): string {
    return this.#name
  }

  /** Until then (monotonic) everything that this process owns is surely its own. */
  get until(): number {
    return this.#until
  }

  /** Processes that don't count, with the end of their lease by the clock of the server; negative when fenced. */
  get others(): ReadonlyMap<string, number> {
    return this.#others
  }

  /** A time by the clock of the server that is not later than that moment (monotonic). */
  serverTime(monotonic: number): number {
    return this.#serverMs + monotonic - this.#serverAt
  }

  /** Takes the lease when the first consumer starts. */
  async start(): Promise<void> {
    if (!this.#started) {
      this.#started = true
      this.#arm()
    }
    if (this.#until <= this.#parts.clock.monotonic()) await this.renew()
  }

  /** One renewal at a time. */
  renew(): Promise<void> {
    this.#renewing ??= this.#renew().finally(() => {
      this.#renewing = undefined
    })
    return this.#renewing
  }

  /** Which of these processes are dead: they can't renew their leases any more. */
  async deadOf(names: readonly string[]): Promise<ReadonlySet<string>> {
    const states = await this.#statesOf(names)
    return new Set(names.filter((_, at) => states[at] === 1))
  }

  /** Which of these processes have a lease that lasts. */
  async livingOf(names: readonly string[]): Promise<ReadonlySet<string>> {
    const states = await this.#statesOf(names)
    return new Set(names.filter((_, at) => states[at] === 0))
  }

  async #statesOf(names: readonly string[]): Promise<readonly number[]> {
    if (names.length === 0) return []
    const { scripts, keys } = this.#parts
    return (await scripts.run(FENCE_DEAD, [keys.leases], names)) as readonly number[]
  }

  /** Gives the lease back, when everything that it protects was given back. */
  async close(): Promise<void> {
    const wasStarted = this.#started && !this.#closed
    this.#closed = true
    this.#timer?.cancel()
    this.#watch?.cancel()
    const { commands, keys } = this.#parts
    // While a renewal is unanswered, the server may not answer at all. The lease then ends by itself, as it does if this fails.
    if (!wasStarted || !commands.connected || this.#renewing !== undefined) return
    await commands.call(keys.leases, ['ZREM', keys.leases, this.#name]).catch(() => {})
  }

  async #renew(): Promise<void> {
    const { clock, scripts, keys, options, reports, commands, onLost, onOthers, onRenewed } = this.#parts
    const askedAt = clock.monotonic()
    let reply: readonly (number | Buffer)[]
    try {
      const args = [this.#name, String(this.#silentMs), commands.cluster ? 'cluster' : '']
      reply = (await scripts.run(RENEW, [keys.leases], args)) as typeof reply
    } catch (error) {
      // Then no other process can take over either. Not where another server may have become the primary meanwhile.
      const alone = options.sentinel === undefined && !commands.cluster
      if (alone && refusesEverybody(error) && this.check()) this.#until = askedAt + options.leaseMs
      throw error
    }
    reports.accepted('upkeep')
    const [renewed, now, ...others] = reply
    this.#serverMs = Number(now)
    this.#serverAt = clock.monotonic()
    if (renewed === 0) {
      this.#name = makeName(options.leaseMs)
      this.#until = -Infinity
      onLost(FENCED)
      await this.#renew()
      onOthers()
      return
    }
    // The event loop may have been blocked since: then it has ended by our own clock, and the timer comes late.
    this.check()
    this.#until = askedAt + options.leaseMs
    if (this.#watch === undefined) this.#armWatch()
    const found = new Map<string, number>()
    for (let at = 0; at + 1 < others.length; at += 2) found.set(String(others[at]), Number(others[at + 1]))
    const isSame =
      found.size === this.#others.size &&
      [...found].every(([name, until]) => (this.#others.get(name) ?? NaN) < 0 === until < 0)
    this.#others = found
    onRenewed()
    if (!isSame) onOthers()
  }

  #arm(): void {
    this.#timer = this.#parts.clock.setTimer(this.#renewMs * (0.9 + Math.random() * 0.2), () => {
      this.renew()
        .catch((error: unknown) => {
          if (!this.#closed) this.#parts.reports.error(error, 'renewing the lease of this process')
        })
        .finally(() => {
          if (!this.#closed) this.#arm()
        })
    })
  }

  /** The lease ends at its time, even while no renewal succeeds. */
  #armWatch(): void {
    if (this.#closed) return
    this.#watch = this.#parts.clock.setTimer(this.#until - this.#parts.clock.monotonic(), () => {
      this.#watch = undefined
      if (this.check()) this.#armWatch()
    })
  }

  /**
   * True while the lease lasts by our own clock. Otherwise everything is lost from now on. A process that was stopped for
   * longer than its lease gets replies before its timers: what takes messages from a reply asks first.
   */
  check(): boolean {
    if (this.#until > this.#parts.clock.monotonic()) return true
    const wasHeld = this.#until !== -Infinity
    this.#until = -Infinity
    if (wasHeld) this.#parts.onLost(EXPIRED)
    return false
  }
}

/** It ends with the length of the lease, by which other processes can tell when it was renewed. */
function makeName(leaseMs: number): string {
  return `${randomBytes(6).toString('base64url')}.${leaseMs}`
}

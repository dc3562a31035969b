import type { Bus } from '../core/bus-types.ts'
import { sleep } from '../core/clock.ts'
import type { Clock } from '../core/clock.ts'
import { BusbarError, PublishError } from '../core/errors.ts'
import type { OutgoingMessage } from '../core/message.ts'
import { growingDelay, halfRandom } from '../core/util/backoff.ts'
import { describeError } from '../core/util/describe-error.ts'
import { plain } from '../core/util/plain.ts'
import type { ResolvedRelayOptions } from './relay-options.ts'
import type { RelayWindow, WindowRow } from './relay-window.ts'
import { fromRow } from './row.ts'
import type { ShardLeases } from './shard-leases.ts'

export interface RelaySenderParts {
  readonly bus: Bus
  readonly options: ResolvedRelayOptions
  readonly clock: Clock
  readonly window: RelayWindow
  readonly leases: ShardLeases
  /** Called when there is room for more rows. */
  readonly wake: () => void
  readonly warn: (code: string, detail: string) => void
}

/** One transport of the bus, as far as it works. */
interface Route {
  readonly name: string
  confirmedAt: number
  pausedUntil: number
  failures: number
  error: string
}

/** Pause of a transport, or of a row, after a failure that may pass. */
const RETRY = { minMs: 100, maxMs: 30_000 } as const
const MAX_ROW_RETRY_MS = 60_000
const MAX_REMOVED = 1_000

/** Sends the rows of the window, and writes to the table what became of them. */
export class RelaySender {
  readonly #parts: RelaySenderParts
  readonly #routes = new Map<string, Route>()
  /** Rows that were confirmed, to be deleted. */
  #confirmed: WindowRow[] = []
  readonly #refused: { readonly held: WindowRow; readonly error: Error }[] = []
  #writing: Promise<void> | undefined
  #isSending = false
  #isDraining = false
  #isOver = false
  #whenIdle: (() => void)[] = []
  #relayed = 0
  #parked = 0

  constructor(parts: RelaySenderParts) {
    this.#parts = parts
  }

  get counts(): { readonly relayed: number; readonly parked: number } {
    return { relayed: this.#relayed, parked: this.#parked }
  }

  /** Names of the transports that nothing is read for now; an empty string is the default one. */
  get paused(): string[] {
    const now = this.#parts.clock.monotonic()
    return [...this.#routes.values()].filter(({ pausedUntil }) => pausedUntil > now).map(({ name }) => name)
  }

  /** What keeps rows from being sent. */
  get outage(): string | undefined {
    for (const { name, failures, error } of this.#routes.values())
      if (failures > 0) return `transport "${name === '' ? 'default' : name}" confirms nothing: ${error}`
    return undefined
  }

  /** Sends what may be sent, once for all calls of a turn. */
  send(): void {
    if (this.#isSending) return
    this.#isSending = true
    queueMicrotask(() => {
      this.#isSending = false
      this.#sendNow()
    })
  }

  #sendNow(): void {
    if (this.#isDraining || this.#isOver) return
    const { window, leases, clock } = this.#parts
    const now = clock.monotonic()
    const ready = window.takeReady(
      ({ row, notBefore }) =>
        notBefore <= now && leases.isActive(row.shard) && this.#route(row.transport).pausedUntil <= now,
    )
    for (const held of ready) this.#sendOne(held, now)
  }

  #sendOne(held: WindowRow, sentAt: number): void {
    const { bus } = this.#parts
    const { transport } = held.row
    let message: OutgoingMessage
    try {
      message = fromRow(held.row)
    } catch (error) {
      this.#refuse(held, error as Error)
      return
    }
    bus.sendEncoded([message], transport === undefined ? {} : { transport }).then(
      ([result]) => this.#settled(held, result?.error, sentAt),
      (error: unknown) => this.#settled(held, error as Error, sentAt),
    )
  }

  #settled(held: WindowRow, error: Error | undefined, sentAt: number): void {
    const { window, clock } = this.#parts
    const route = this.#route(held.row.transport)
    if (error === undefined) {
      route.confirmedAt = clock.monotonic()
      route.failures = 0
      this.#relayed++
      window.confirmed(held)
      this.#confirmed.push(held)
      this.#write()
      this.send()
    } else if (mayPass(error)) this.#sendLater(held, route, error, sentAt)
    else this.#refuse(held, error)
    this.#checkIdle()
  }

  /** Nothing is written: a broker that is down for an hour leaves no trace in the table. */
  #sendLater(held: WindowRow, route: Route, error: Error, sentAt: number): void {
    const { window, clock } = this.#parts
    const now = clock.monotonic()
    // When others get through meanwhile, it is this row alone; then only its key waits.
    const isAlone = route.confirmedAt >= sentAt
    if (!isAlone && route.pausedUntil <= now) {
      route.error = describeError(error).message
      route.pausedUntil = now + halfRandom(growingDelay(RETRY, route.failures++))
    }
    const rowDelay = isAlone ? halfRandom(growingDelay(RETRY, held.failures)) : 0
    window.sendLater(held, Math.max(route.pausedUntil, now + rowDelay), isAlone)
    this.#parts.wake()
  }

  #refuse(held: WindowRow, error: Error): void {
    this.#refused.push({ held, error })
    this.#write()
  }

  #route(transport: string | undefined): Route {
    const name = transport ?? ''
    let route = this.#routes.get(name)
    if (route === undefined) {
      route = { name, confirmedAt: -Infinity, pausedUntil: -Infinity, failures: 0, error: '' }
      this.#routes.set(name, route)
    }
    return route
  }

  // --- what is written to the table --------------------------------------------------------------------------------

  /** One statement at a time; what is confirmed meanwhile goes into the next. */
  #write(): void {
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined
      this.#checkIdle()
    })
  }

  async #writeAll(): Promise<void> {
    const { options, window, clock, wake, warn } = this.#parts
    // Confirmations of one turn go into one statement.
    await Promise.resolve()
    let failures = 0
    while (!this.#isOver && (this.#confirmed.length > 0 || this.#refused.length > 0)) {
      try {
        const [first] = this.#refused
        if (first !== undefined) {
          await this.#noteRefusal(first.held, first.error)
          this.#refused.shift()
        }
        const batch = this.#confirmed.slice(0, MAX_REMOVED)
        if (batch.length > 0) {
          await options.store.remove(batch.map(({ row }) => row.position))
          this.#confirmed.splice(0, batch.length)
          window.remove(batch)
        }
        failures = 0
        wake()
      } catch (error) {
        // They are not sent again meanwhile: the window still has them.
        if (failures === 0) warn('outbox-database', `what was sent can't be deleted: ${describeError(error).message}`)
        await sleep(clock, halfRandom(growingDelay(RETRY, failures++)))
      }
    }
  }

  async #noteRefusal(held: WindowRow, error: Error): Promise<void> {
    const { options, window, leases, clock, warn } = this.#parts
    const { row } = held
    const owned = leases.get(row.shard)
    const attempts = row.attempts + 1
    const isLast = attempts >= options.maxAttempts
    const retryInMs = isLast
      ? undefined
      : growingDelay({ minMs: options.retryMs, maxMs: MAX_ROW_RETRY_MS }, row.attempts)
    const text = storable(error)
    if (owned !== undefined) {
      const isNoted = await options.store.fail({ position: row.position, owned, error: text, retryInMs })
      // Otherwise another relay owns it by now, and notes what becomes of it; or it was deleted.
      if (isNoted && isLast) {
        this.#parked++
        warn(
          'outbox-parked',
          `message ${row.id} for "${row.topic}" was refused ${attempts} times and is parked: ${text}`,
        )
      }
    }
    window.leaveInTable(held, clock.monotonic() + (retryInMs ?? 0))
  }

  // --- the end -----------------------------------------------------------------------------------------------------

  /** Sends nothing new from here on. Resolves when nothing is being sent or written. */
  async idle(): Promise<void> {
    this.#isDraining = true
    while (!this.#isOver && (this.#writing !== undefined || this.#parts.window.isSending))
      await new Promise<void>((resolve) => this.#whenIdle.push(resolve))
  }

  #checkIdle(): void {
    for (const resolve of this.#whenIdle.splice(0)) resolve()
  }

  /** What is being sent may still arrive; nothing more is written. */
  end(): void {
    this.#isOver = true
    this.#checkIdle()
  }
}

/** False if the broker certainly does not have the message, and would refuse it again. */
function mayPass(error: Error): boolean {
  if (!BusbarError.is(error)) return true
  return error.retryable || (PublishError.is(error) && error.outcome === 'unknown')
}

/** Cut, without passwords in URLs, and such as every database can store. */
function storable(error: Error): string {
  return plain(describeError(error).message.replaceAll('\0', ' ').toWellFormed())
}

import { createBus, PublishError } from 'busbar'
import type { Bus, ConsumeOptions } from 'busbar'
import { redis } from '../../src/transports/redis/index.ts'
import type { RedisOptions } from '../../src/transports/redis/index.ts'
import { ledger, uniqueName, waitUntil } from 'busbar/testing'
import type { LedgerReport } from 'busbar/testing'

/** Short leases, so that a test needs not wait long for what a dead member held. */
export const QUICK = { maxLen: 1_000_000, leaseMs: 1_500, pollMs: 100, checkServer: false } as const

export interface FlowOptions {
  /** One bus for each; a consumer on each. */
  readonly members: readonly Partial<RedisOptions>[]
  readonly publisher: Partial<RedisOptions>
  readonly consume?: ConsumeOptions & { readonly batch?: undefined }
  readonly keys?: number
  readonly workMs?: number
}

export interface Outcome extends LedgerReport {
  /** How often a second handling happened, all in all. */
  readonly repeated: number
  readonly reconnects: number
}

/** A steady flow of keyed messages through one group, every one of them in the book. */
export class Flow {
  readonly topic: string = `${uniqueName('flow')}.topic`
  readonly group: string = uniqueName('group')
  readonly book: ReturnType<typeof ledger> = ledger()
  readonly consumers: Bus[] = []
  publisher!: Bus
  handled = 0
  confirmed = 0
  reconnects = 0
  readonly overlaps: string[] = []
  readonly #options: FlowOptions
  readonly #running = new Set<string>()
  readonly #stop = new AbortController()
  #publishing: Promise<unknown> = Promise.resolve()

  constructor(options: FlowOptions) {
    this.#options = options
  }

  async start(): Promise<this> {
    for (const member of this.#options.members) await this.join(member)
    this.publisher = createBus({
      service: 'flow',
      transport: redis({ ...QUICK, ...this.#options.publisher }),
      publish: { deliveryTimeoutMs: 20_000 },
    })
    await this.publisher.start()
    const { keys = 6 } = this.#options
    this.#publishing = Promise.all(Array.from({ length: keys }, (_, key) => this.#publish(`k${key}`)))
    await this.progress(50)
    return this
  }

  async join(member: Partial<RedisOptions>): Promise<Bus> {
    const { consume, workMs = 1 } = this.#options
    const bus = createBus({
      service: 'flow',
      transport: redis({ ...QUICK, ...member }),
      closeTimeoutMs: 5_000,
    })
    bus.events.on('reconnect', () => this.reconnects++)
    bus.consume(
      this.topic,
      async ({ id, key = '' }, { signal }) => {
        if (this.#running.has(key)) this.overlaps.push(key)
        this.#running.add(key)
        await pause(workMs)
        this.#running.delete(key)
        // Taken back while it ran: it is handled again, and this does not count.
        if (signal.aborted) throw signal.reason
        this.book.handled(id)
        this.handled++
      },
      { group: this.group, concurrency: 4, prefetch: 32, ...consume },
    )
    await bus.start()
    this.consumers.push(bus)
    return bus
  }

  /** Waits until so many more are confirmed and handled. */
  async progress(count: number, timeoutMs = 15_000): Promise<number> {
    const [handled, confirmed] = [this.handled, this.confirmed]
    const startedAt = performance.now()
    await waitUntil(() => this.handled >= handled + count && this.confirmed >= confirmed + count, {
      timeoutMs,
      describe: () => `${this.handled - handled} handled and ${this.confirmed - confirmed} confirmed of ${count}`,
    })
    return performance.now() - startedAt
  }

  /** Stops publishing, waits for the rest, and closes the book. */
  async end(): Promise<Outcome> {
    this.#stop.abort()
    await this.#publishing
    await waitUntil(() => this.book.complete(), {
      timeoutMs: 20_000,
      describe: () => `${this.book.report().missing.length} messages are missing`,
    })
    const admin = this.publisher.admin()
    await waitUntil(async () => (await admin.groups(this.topic)).find(({ group }) => group === this.group)?.lag === 0, {
      timeoutMs: 10_000,
      describe: async () => JSON.stringify(await admin.groups(this.topic)),
    })
    await Promise.all([...this.consumers, this.publisher].map((bus) => bus.close()))
    const report = this.book.check({ duplicates: 'any' })
    return {
      ...report,
      repeated: report.duplicates.reduce((total, { times }) => total + times - 1, 0),
      reconnects: this.reconnects,
    }
  }

  async close(): Promise<void> {
    this.#stop.abort()
    await Promise.allSettled([...this.consumers, this.publisher].map((bus) => bus?.close({ timeoutMs: 200 })))
    await this.#publishing
  }

  async #publish(key: string): Promise<void> {
    for (let number = 0; !this.#stop.signal.aborted; number++) {
      const id = `${this.topic}-${key}-${number}`
      try {
        await this.publisher.publish(this.topic, number, { id, key })
        this.confirmed++
        this.book.published(id, 'confirmed', key)
      } catch (error) {
        if (!(error instanceof PublishError)) {
          if (this.#stop.signal.aborted) return
          throw error
        }
        this.book.published(id, error.outcome, key)
        // Not in a circle while the server refuses.
        await pause(20)
      }
      await pause(1)
    }
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

/** What stands in the table of reliability: counts, and nothing that changes from run to run but those. */
export function summary(name: string, outcome: Outcome): string {
  const { confirmed, unknown, notSent, missing, repeated, outOfOrder, reconnects } = outcome
  return `${name}: confirmed ${confirmed}, unknown ${unknown}, not sent ${notSent}, missing ${missing.length}, repeated ${repeated}, out of order ${outOfOrder.length}, reconnects ${reconnects}`
}

import assert from 'node:assert/strict'
import { createBus, PublishError } from 'busbar'
import type { Bus, ConsumeOptions, GroupInfo, Transport } from 'busbar'
import { ledger, uniqueName, waitUntil } from 'busbar/testing'
import type { Ledger, LedgerReport } from 'busbar/testing'

export interface FlowOptions {
  /** One bus for each; a consumer on each. */
  readonly members: readonly (() => Transport)[]
  readonly publisher: () => Transport
  readonly consume?: ConsumeOptions & { readonly batch?: undefined }
  readonly keys?: number
  /** How long a handler takes, in ms. Default 1. */
  readonly workMs?: number
}

export interface FlowOutcome extends LedgerReport {
  /** Handlings beyond the first, all in all. */
  readonly repeated: number
}

/** Unsettled deliveries that a member may hold: what one fault may have handled again. */
export const PREFETCH = 32

/** A steady flow of keyed messages through one group, every one of them in the book. */
export class Flow {
  readonly topic: string = uniqueName('flow')
  readonly group: string = uniqueName('group')
  readonly book: Ledger = ledger()
  readonly consumers: Bus[] = []
  /** Keys that two handlers worked on at once, though nobody had told the first one that its delivery was lost. */
  readonly overlaps: string[] = []
  handled = 0
  confirmed = 0
  readonly #handledOfKey = new Map<string, number>()
  readonly #options: FlowOptions
  readonly #running = new Map<string, AbortSignal>()
  readonly #stop = new AbortController()
  readonly #socketsBefore: number = openSockets()
  #publisher: Bus | undefined
  #publishing: Promise<unknown> = Promise.resolve()

  constructor(options: FlowOptions) {
    this.#options = options
  }

  get publisher(): Bus {
    return this.#publisher ?? assert.fail('the flow has not been started')
  }

  async start(): Promise<this> {
    for (const member of this.#options.members) await this.join(member)
    this.#publisher = createBus({
      service: 'flow',
      transport: this.#options.publisher(),
      publish: { deliveryTimeoutMs: 20_000 },
    })
    await this.publisher.start()
    this.#publishing = Promise.all(this.#keys().map((key) => this.#publish(key)))
    await this.progress(50)
    return this
  }

  async join(member: () => Transport): Promise<Bus> {
    const { consume, workMs = 1 } = this.#options
    const bus = createBus({ service: 'flow', transport: member(), closeTimeoutMs: 5_000 })
    bus.consume(
      this.topic,
      async ({ id, key = '' }, { signal }) => {
        const other = this.#running.get(key)
        if (other !== undefined && !other.aborted) this.overlaps.push(key)
        this.#running.set(key, signal)
        await pause(workMs)
        if (this.#running.get(key) === signal) this.#running.delete(key)
        // Taken back while it ran: it is handled again, and this does not count.
        signal.throwIfAborted()
        this.book.handled(id)
        this.handled++
        this.#handledOfKey.set(key, (this.#handledOfKey.get(key) ?? 0) + 1)
      },
      { group: this.group, concurrency: 4, prefetch: PREFETCH, ...consume },
    )
    await bus.start()
    this.consumers.push(bus)
    return bus
  }

  /** Waits until so many more are confirmed and handled; resolves with how long that took, in ms. */
  async progress(count: number, timeoutMs = 15_000): Promise<number> {
    const [handled, confirmed] = [this.handled, this.confirmed]
    const startedAt = performance.now()
    await waitUntil(() => this.handled >= handled + count && this.confirmed >= confirmed + count, {
      timeoutMs,
      describe: () => `${this.handled - handled} handled and ${this.confirmed - confirmed} confirmed of ${count}`,
    })
    return performance.now() - startedAt
  }

  /** Waits until each key has so many more handled: a key that stands still does not hide behind the others. */
  async everyKey(count: number, timeoutMs: number, when: string): Promise<void> {
    const before = new Map(this.#handledOfKey)
    const { handled, confirmed } = this
    const behind = (): string[] =>
      this.#keys().filter((key) => (this.#handledOfKey.get(key) ?? 0) < (before.get(key) ?? 0) + count)
    await waitUntil(() => behind().length === 0, {
      timeoutMs,
      describe: () =>
        `${when}, the keys ${behind().join(', ')} were not handled ${count} times more; ` +
        `of all, ${this.confirmed - confirmed} were confirmed and ${this.handled - handled} handled`,
    })
  }

  /**
   * Stops publishing, waits for the rest, closes everything and the book. Throws when a confirmed message was not handled,
   * an impossible one was, a key is out of order, or a socket is left open.
   */
  async end(): Promise<FlowOutcome> {
    this.#stop.abort()
    await this.#publishing
    await waitUntil(() => this.book.complete(), {
      timeoutMs: 30_000,
      describe: () => `${this.book.report().missing.length} messages are missing`,
    })
    await nothingLeft(this.publisher, this.topic, this.group)
    await Promise.all([...this.consumers, this.publisher].map((bus) => bus.close()))
    await waitUntil(() => openSockets() <= this.#socketsBefore, {
      timeoutMs: 5_000,
      describe: () => `${openSockets()} sockets are open, ${this.#socketsBefore} before the flow`,
    })
    const report = this.book.check({ duplicates: 'any' })
    return { ...report, repeated: report.duplicates.reduce((total, { times }) => total + times - 1, 0) }
  }

  /** Lets go of everything, whatever state it is in. */
  async close(): Promise<void> {
    this.#stop.abort()
    const buses = this.#publisher === undefined ? this.consumers : [...this.consumers, this.#publisher]
    await Promise.allSettled(buses.map((bus) => bus.close({ timeoutMs: 200 })))
    await this.#publishing
  }

  #keys(): readonly string[] {
    return Array.from({ length: this.#options.keys ?? 6 }, (_, key) => `k${key}`)
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
        // Not in a circle while the broker refuses.
        await pause(20)
      }
      await pause(1)
    }
  }
}

/** Lets time pass: for the length of a fault or of a handler, never to wait for something. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}

/** Waits until the broker says that the group has nothing more to do. */
export async function nothingLeft(bus: Bus, topic: string, group: string): Promise<void> {
  let last: GroupInfo | undefined
  await waitUntil(
    async () => {
      last = (await bus.admin().groups(topic)).find((found) => found.group === group)
      return last?.lag === 0
    },
    { timeoutMs: 15_000, describe: () => `the group is still ${JSON.stringify(last)}` },
  )
}

function openSockets(): number {
  return process.getActiveResourcesInfo().filter((name) => name === 'TCPSocketWrap').length
}

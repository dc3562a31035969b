import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import { BusEvents } from '../../src/core/events.ts'
import type { BusEventMap, BusEventName } from '../../src/core/events.ts'
import { silentLogger } from '../../src/core/logger.ts'
import { NO_HEADERS } from '../../src/core/message.ts'
import type { OutgoingMessage } from '../../src/core/message.ts'
import type {
  Delivery,
  Outcome,
  PublishOutcome,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  TransportSubscription,
} from '../../src/core/transport.ts'
import { resolveSqliteOptions } from '../../src/transports/sqlite/options.ts'
import type { SqliteOptions } from '../../src/transports/sqlite/options.ts'
import { SqliteTransport } from '../../src/transports/sqlite/transport.ts'
import { waitUntil } from '../../src/testing/wait-until.ts'

const cleanUps: (() => Promise<void> | void)[] = []

/** Runs when the test ends; the last one first. */
export function defer(cleanUp: () => Promise<void> | void): void {
  cleanUps.push(cleanUp)
}

afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
})

/** A path for one test's file. */
export function newFile(): string {
  const folder = mkdtempSync(join(tmpdir(), 'busbar-sqlite-'))
  defer(() => rmSync(folder, { recursive: true, force: true }))
  return join(folder, 'bus.db')
}

export interface Opened {
  readonly transport: SqliteTransport
  readonly events: BusEvents
  /** Everything that was told, in order. */
  readonly told: readonly { readonly name: BusEventName; readonly event: BusEventMap[BusEventName] }[]
}

let instances = 0

export function newHost(): { host: Parameters<SqliteTransport['open']>[0]; told: Opened['told'][number][] } {
  const events = new BusEvents(silentLogger)
  const told: Opened['told'][number][] = []
  events.onAny((name, event) => told.push({ name, event }))
  const host = {
    service: 'test',
    instanceId: `test-${++instances}`,
    clock: systemClock,
    events,
    logger: silentLogger,
    name: 'main',
  }
  return { host, told }
}

/** An open transport, closed when the test ends. */
export async function open(path: string, options: Omit<SqliteOptions, 'path'> = {}): Promise<Opened> {
  const transport = new SqliteTransport(resolveSqliteOptions({ path, ...options }))
  const { host, told } = newHost()
  await transport.open(host)
  defer(() => transport.close())
  return { transport, events: host.events, told }
}

let messages = 0

export function outgoing(topic: string, given: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    id: `m-${++messages}`,
    topic,
    type: topic,
    source: 'test',
    time: Date.now(),
    key: undefined,
    contentType: 'text/plain',
    subject: undefined,
    dataSchema: undefined,
    version: undefined,
    correlationId: undefined,
    causationId: undefined,
    traceparent: undefined,
    tracestate: undefined,
    expiresAt: undefined,
    headers: NO_HEADERS,
    body: Buffer.from('body'),
    deliverAt: undefined,
    group: undefined,
    ...given,
  }
}

export function many(
  count: number,
  topic: string,
  given: (index: number) => Partial<OutgoingMessage> = () => ({}),
): OutgoingMessage[] {
  return Array.from({ length: count }, (_, index) => outgoing(topic, given(index)))
}

/** Publishes and asserts that all was confirmed; resolves with the seqs. */
export async function store(transport: SqliteTransport, batch: readonly OutgoingMessage[]): Promise<number[]> {
  const outcomes = await transport.publish(batch)
  return outcomes.map((outcome) => {
    if (outcome.error !== undefined) throw outcome.error
    return outcome.position?.['seq'] as number
  })
}

export function errorOf(outcome: PublishOutcome | undefined): NonNullable<PublishOutcome['error']> {
  if (outcome?.error === undefined) throw new Error('the message was stored, and should not have been')
  return outcome.error
}

/** A member of a group that keeps what it is given until told what to do with it. */
export class Reader {
  readonly received: Delivery[] = []
  readonly lost: { readonly delivery: Delivery; readonly reason: string }[] = []
  subscription!: TransportSubscription
  onDelivery: ((delivery: Delivery) => void) | undefined

  ids(): string[] {
    return this.received.map(({ message }) => message.id)
  }

  request(count: number, bytes: number = 1 << 26): void {
    this.subscription.request(count, bytes)
  }

  /** Waits until there are as many in all, and resolves with the last of them. */
  async take(count: number, timeoutMs = 10_000): Promise<Delivery[]> {
    await waitUntil(() => this.received.length >= count, {
      timeoutMs,
      describe: () => `${this.received.length} of ${count} deliveries: ${this.ids().slice(0, 20).join(' ')}`,
    })
    return this.received.slice(0, count)
  }

  settle(deliveries: readonly Delivery[], outcome: Outcome): Promise<readonly SettlementFailure[]> {
    return this.subscription.settle(deliveries.map((delivery): Settlement => ({ delivery, outcome })))
  }

  ack(...deliveries: Delivery[]): Promise<readonly SettlementFailure[]> {
    return this.settle(deliveries, { type: 'ack' })
  }
}

export async function read(
  transport: SqliteTransport,
  topic: string,
  group: string,
  given: Partial<SubscriptionSpec> = {},
  onDelivery?: (delivery: Delivery) => void,
): Promise<Reader> {
  const reader = new Reader()
  reader.onDelivery = onDelivery
  reader.subscription = await transport.subscribe(
    {
      topic,
      group,
      order: 'key',
      ephemeral: false,
      from: 'earliest',
      prefetch: 1_000,
      prefetchBytes: 1 << 26,
      maxPerKey: Number.MAX_SAFE_INTEGER,
      consumerId: `reader-${++messages}`,
      ...given,
    },
    {
      receive(batch) {
        reader.received.push(...batch)
        if (reader.onDelivery !== undefined) for (const delivery of batch) reader.onDelivery(delivery)
      },
      lost(deliveries, reason) {
        for (const delivery of deliveries) reader.lost.push({ delivery, reason })
      },
      recall() {},
    },
  )
  return reader
}

export async function lagOf(transport: SqliteTransport, topic: string, group: string): Promise<number | undefined> {
  return (await transport.admin.groups(topic)).find((info) => info.group === group)?.lag
}

/** Looks into the file from outside. */
export function query(path: string, sql: string): unknown[] {
  const db = new DatabaseSync(path, { timeout: 5_000 })
  try {
    return db.prepare(sql).all()
  } finally {
    db.close()
  }
}

import { DatabaseSync } from 'node:sqlite'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest'
import { createBus, PublishError } from 'busbar'
import type { Bus, OutgoingMessage, Transport } from 'busbar'
import { memory } from 'busbar/memory'
import { createOutbox, outboxRelay, sqliteTx } from 'busbar/outbox'
import type { OutboxRelayOptions, OutboxStore, RowFailure } from 'busbar/outbox'
import { sqliteOutboxStore } from 'busbar/stores/sqlite'
import type { SqliteOutboxStore } from 'busbar/stores/sqlite'
import { waitUntil } from 'busbar/testing'

type Refusal = PublishError | undefined

const refused = new PublishError('too large for the broker\0 amqp://user:secret@broker', { outcome: 'not-sent' })
const later = new PublishError('the broker is down', { outcome: 'not-sent', retryable: true })

/** A broker that refuses what the test says. `sent` has what it confirmed. */
class Broker {
  readonly sent: string[] = []
  /** Calls of publish, by message: also those that were refused. */
  readonly tried: string[] = []
  refuse: (message: OutgoingMessage) => Refusal | Promise<Refusal> = () => undefined

  transport(): Transport {
    return new Proxy(memory(), {
      get: (target, name) => {
        if (name === 'publish')
          return (batch: readonly OutgoingMessage[]) => Promise.resolve(batch.map((one) => this.#publish(one)))
        const value: unknown = Reflect.get(target, name, target)
        return typeof value === 'function' ? (value.bind(target) as unknown) : value
      },
    })
  }

  async #publish(message: OutgoingMessage): Promise<{ position: undefined } | { error: PublishError }> {
    this.tried.push(message.id)
    const error = await this.refuse(message)
    if (error !== undefined) return { error }
    this.sent.push(message.id)
    return { position: undefined }
  }
}

let folder: string
let path: string
let store: SqliteOutboxStore
let app: DatabaseSync
let broker: Broker
const opened: Bus[] = []

const FAST = { minPollMs: 2, maxPollMs: 20, retryMs: 10, leaseMs: 500 } as const

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'outbox-'))
  path = join(folder, 'app.db')
  store = sqliteOutboxStore({ path })
  await store.createTables()
  app = new DatabaseSync(path)
  broker = new Broker()
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((bus) => bus.close()))
  store.close()
  app.close()
  rmSync(folder, { recursive: true, force: true })
})

const writer = createBus({ service: 'shop', transport: memory() })
const outbox = createOutbox({ tx: sqliteTx() })
outbox.attach?.(writer)

/** One transaction that publishes these, as `id` or `key/id`. */
async function publish(...messages: string[]): Promise<void> {
  app.exec('BEGIN IMMEDIATE')
  for (const message of messages) {
    const key = message.includes('/') ? message.split('/')[0] : undefined
    await outbox.publish(app, 'orders', message, { id: message, key })
  }
  app.exec('COMMIT')
}

async function relay(options: Partial<OutboxRelayOptions> = {}): Promise<Bus> {
  const bus = createBus({
    service: 'relay',
    transport: broker.transport(),
    extensions: [outboxRelay({ store, ...FAST, ...options })],
    logger: false,
  })
  opened.push(bus)
  await bus.start()
  return bus
}

/** The store, with other methods instead of some. */
const withMethods = (methods: Partial<OutboxStore>): OutboxStore =>
  new Proxy<OutboxStore>(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(methods, name) ?? Reflect.get(target, name, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })

const left = (): string[] =>
  app
    .prepare('SELECT id FROM busbar_outbox ORDER BY position')
    .all()
    .map(({ id }) => String(id))
const empty = (): Promise<unknown> => waitUntil(() => left().length === 0, { describe: left })
const ids = (key: string, count: number): string[] => Array.from({ length: count }, (_, index) => `${key}/${index}`)
const ofKey = (key: string): string[] => broker.sent.filter((id) => id.startsWith(`${key}/`))

describe('the relay', () => {
  it('sends what was committed, each key in its order and one at a time, and deletes it', async () => {
    const running = new Set<string>()
    broker.refuse = async (message) => {
      const key = String(message.key)
      expect(running.has(key), `two of ${key} at once`).toBe(false)
      running.add(key)
      await new Promise((resolve) => setImmediate(resolve))
      running.delete(key)
      return undefined
    }
    for (let round = 0; round < 20; round++)
      await publish(...['a', 'b', 'c'].flatMap((key) => [`${key}/${2 * round}`, `${key}/${2 * round + 1}`]))
    app.exec('BEGIN')
    await outbox.publish(app, 'orders', 1, { id: 'rolled-back' })
    app.exec('ROLLBACK')
    await relay()
    await empty()
    for (const key of ['a', 'b', 'c']) expect(ofKey(key)).toEqual(ids(key, 40))
    expect(broker.sent).toHaveLength(120)
  })

  it('sends the message as it was published', async () => {
    const bodies: OutgoingMessage[] = []
    broker.refuse = (message) => void bodies.push(message)
    app.exec('BEGIN')
    const options = { key: 'k', headers: { tenant: 'acme' }, correlationId: 'c', type: 't', ttlMs: 60_000 }
    const { id } = await outbox.publish(app, 'orders', { total: 42 }, options)
    app.exec('COMMIT')
    const bus = await relay()
    await empty()
    expect(bodies).toHaveLength(1)
    expect(bodies[0]).toMatchObject({ id, topic: 'orders', key: 'k', type: 't', source: 'shop', correlationId: 'c' })
    expect({ ...bodies[0]?.headers }).toEqual({ tenant: 'acme' })
    expect(Buffer.from(bodies[0]?.body ?? []).toString()).toBe('{"total":42}')
    await bus.close()
    expect(app.prepare('SELECT count(*) AS relays FROM busbar_outbox_relays').get()).toEqual({ relays: 0 })
  })

  it('writes nothing while the broker is down, and sends all when it is back', async () => {
    broker.refuse = () => later
    await publish(...ids('a', 30), ...ids('b', 30), 'x', 'y')
    const bus = await relay({ batchSize: 10 })
    await waitUntil(() => broker.tried.length > 12)
    expect(
      app.prepare('SELECT sum(attempts) AS attempts, count(available_at) AS moved FROM busbar_outbox').get(),
    ).toEqual({
      attempts: 0,
      moved: 0,
    })
    expect(JSON.stringify(await bus.health())).toContain('the broker is down')
    broker.refuse = () => undefined
    await waitUntil(() => left().length === 0, { timeoutMs: 60_000, describe: left })
    expect(ofKey('a')).toEqual(ids('a', 30))
    expect(ofKey('b')).toEqual(ids('b', 30))
  })

  it('parks a row that is refused for good, alone; its key goes on, and a requeue sends the same id', async () => {
    let isFull = true
    broker.refuse = ({ id }) => (id === 'a/1' && isFull ? refused : undefined)
    await publish(...ids('a', 5), ...ids('b', 5))
    const bus = await relay()
    await waitUntil(() => left().length === 1, { describe: left })
    const [parked] = await waitUntil(async () => {
      const rows = await store.list({ limit: 10, parked: true })
      return rows.length === 1 ? rows : undefined
    })
    expect(broker.tried.filter((id) => id === 'a/1')).toHaveLength(5)
    expect(parked).toMatchObject({ id: 'a/1', attempts: 5 })
    expect(parked?.lastError).toContain('too large')
    expect(parked?.lastError).not.toMatch(/secret|\0/)
    expect(ofKey('a')).toEqual(['a/0', 'a/2', 'a/3', 'a/4'])
    expect(bus.snapshot().extensions[0]?.data).toMatchObject({ parked: 1 })
    isFull = false
    expect(await store.requeue({ limit: 10 })).toEqual(['a/1'])
    await empty()
    expect(ofKey('a')).toEqual(['a/0', 'a/2', 'a/3', 'a/4', 'a/1'])
  })

  it('keeps the rest of the key waiting while a row is tried again', async () => {
    let tries = 0
    broker.refuse = ({ id }) => (id === 'a/0' && ++tries < 4 ? refused : undefined)
    await publish(...ids('a', 5), ...ids('b', 5))
    await relay()
    await empty()
    expect(ofKey('a')).toEqual(ids('a', 5))
    expect(tries).toBe(4)
  })

  it('holds a key behind a parked row, if asked to, and no other', async () => {
    broker.refuse = ({ id }) => (id === 'a/1' ? refused : undefined)
    await publish(...ids('a', 3), ...ids('b', 3))
    const bus = await relay({ afterPark: 'hold' })
    await waitUntil(async () => (await store.stats()).parked === 1)
    await publish('b/3')
    await waitUntil(() => broker.sent.includes('b/3'))
    expect(ofKey('a')).toEqual(['a/0'])
    // Another relay that takes over knows it too.
    await bus.close()
    await relay({ afterPark: 'hold' })
    await publish('b/4')
    await waitUntil(() => broker.sent.includes('b/4'))
    expect(ofKey('a')).toEqual(['a/0'])
    expect(await store.discard({ ids: ['a/1'], limit: 1 })).toEqual(['a/1'])
    await waitUntil(() => left().length === 0, { timeoutMs: 15_000, describe: left })
    expect(ofKey('a')).toEqual(['a/0', 'a/2'])
  })

  it('does not let one key that is refused, with many rows behind it, hold up the others', async () => {
    let isDown = true
    broker.refuse = ({ key }) => (key === 'hot' && isDown ? later : undefined)
    await publish('other/0')
    await publish(...ids('hot', 500))
    await publish(...ids('other', 100).slice(1))
    const bus = await relay({ batchSize: 20 })
    await waitUntil(() => ofKey('other').length === 100, { timeoutMs: 30_000, describe: () => ofKey('other').length })
    expect(ofKey('hot')).toEqual([])
    isDown = false
    await waitUntil(() => left().length === 0, { timeoutMs: 60_000, describe: left })
    expect(ofKey('hot')).toEqual(ids('hot', 500))
    expect(bus.snapshot().extensions[0]?.data).toMatchObject({ inMemory: 0 })
  }, 60_000)

  it('sends a delayed message when it is due, and others before it', async () => {
    let sentAt = 0
    broker.refuse = ({ id }) => void (id === 'later' && (sentAt = Date.now()))
    await relay()
    app.exec('BEGIN')
    const at = Date.now()
    await outbox.publish(app, 'orders', 1, { id: 'later', delayMs: 1_500 })
    await outbox.publish(app, 'orders', 1, { id: 'now' })
    app.exec('COMMIT')
    await empty()
    expect(broker.sent).toEqual(['now', 'later'])
    expect(sentAt - at).toBeGreaterThanOrEqual(1_500)
  })

  it('does not count a row as parked when another relay owns it by now', async () => {
    let isLost = true
    const fail = async (failure: RowFailure): Promise<boolean> => {
      if (!isLost) return store.fail(failure)
      isLost = false
      return false
    }
    broker.refuse = () => refused
    const bus = await relay({ store: withMethods({ fail }), maxAttempts: 1 })
    const warnings: string[] = []
    bus.events.on('warning', ({ code }) => warnings.push(code))
    await publish('a/0')
    await waitUntil(async () => (await store.stats()).parked === 1)
    await waitUntil(() => warnings.includes('outbox-parked'))
    expect(warnings.filter((code) => code === 'outbox-parked')).toHaveLength(1)
    expect(bus.snapshot().extensions[0]?.data).toMatchObject({ parked: 1 })
  })

  it('sends nothing new once it is closing', async () => {
    const gate = Promise.withResolvers<undefined>()
    broker.refuse = () => gate.promise
    await publish(...ids('a', 20))
    const bus = await relay()
    await waitUntil(() => broker.tried.length > 0)
    const closed = bus.close()
    await new Promise((resolve) => setTimeout(resolve, 50))
    gate.resolve(undefined)
    await closed
    expect(broker.tried).toEqual(['a/0'])
    expect(left()).toEqual(ids('a', 20).slice(1))
  })

  it('listens again once, however often it hears that listening has ended', async () => {
    const set = vi.spyOn(globalThis, 'setTimeout')
    const cleared = vi.spyOn(globalThis, 'clearTimeout')
    const ends: ((error: unknown) => void)[] = []
    const listen = (_wake: () => void, onEnd: (error: unknown) => void): Promise<() => Promise<void>> => {
      ends.push(onEnd)
      return Promise.resolve(() => Promise.resolve())
    }
    try {
      await relay({ store: withMethods({ listen }), trigger: 'notify' })
      for (let count = 0; count < 3; count++) ends[0]?.(new Error('connection reset'))
      expect(ends).toHaveLength(1)
      const again = set.mock.results.filter((_, index) => set.mock.calls[index]?.[1] === 10_000)
      expect(again).toHaveLength(3)
      const waiting = again.filter(({ value }) => !cleared.mock.calls.some(([handle]) => handle === value))
      expect(waiting).toHaveLength(1)
    } finally {
      vi.restoreAllMocks()
    }
  })

  it('refuses to start without its tables', async () => {
    const bare = sqliteOutboxStore({ path: join(folder, 'bare.db') })
    await expect(relay({ store: bare })).rejects.toThrow('do not exist')
    bare.close()
  })
})

describe('several relays', () => {
  const shardsOf = (bus: Bus): number => (bus.snapshot().extensions[0] as { data: { shards: number } }).data.shards

  it('share the keys, and take over from one that leaves, at once', async () => {
    const options = { leaseMs: 60_000 }
    const first = await relay(options)
    expect(shardsOf(first)).toBe(64)
    await first.close()
    const second = await relay(options)
    // The lease of the first would have lasted for a minute.
    expect(shardsOf(second)).toBe(64)
    const both = [await relay(FAST), await relay(FAST)]
    await waitUntil(() => both.every((bus) => shardsOf(bus) >= 20), { describe: () => [second, ...both].map(shardsOf) })
    await publish(...Array.from({ length: 50 }, (_, key) => ids(`k${key}`, 6)).flat())
    await empty()
    expect(broker.sent).toHaveLength(300)
    for (let key = 0; key < 50; key++) expect(ofKey(`k${key}`)).toEqual(ids(`k${key}`, 6))
  })

  it('send again what a relay that stopped had not deleted, each key still in its order', async () => {
    let isStopped = false
    const never = new Promise<never>(() => {})
    // What a process that was killed, or is frozen, would do: nothing any more.
    const dying = new Proxy<OutboxStore>(store, {
      get: (target, name) => {
        const value: unknown = Reflect.get(target, name, target)
        if (typeof value !== 'function') return value
        return (...args: unknown[]): unknown => (isStopped ? never : (value.apply(target, args) as unknown))
      },
    })
    await publish(...ids('a', 10), ...ids('b', 10))
    broker.refuse = ({ id }) => {
      if (id === 'a/3') isStopped = true
      return undefined
    }
    const dead = await relay({ store: dying })
    opened.pop()
    await waitUntil(() => isStopped)
    broker.refuse = () => undefined
    await relay()
    await empty()
    for (const key of ['a', 'b']) {
      const all = ofKey(key)
      expect([...new Set(all)]).toEqual(ids(key, 10))
      expect(all.length).toBeGreaterThanOrEqual(10)
    }
    isStopped = false
    await dead.close({ timeoutMs: 100 }).catch(() => undefined)
  })
})

import { Pool } from 'pg'
import type { PoolClient } from 'pg'
import postgres from 'postgres'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, Transport } from 'busbar'
import { memory } from 'busbar/memory'
import { createOutbox, outboxRelay, pgTx } from 'busbar/outbox'
import type { OutboxRelayOptions, OutboxStore } from 'busbar/outbox'
import { postgresOutboxStore } from 'busbar/stores/postgres'
import { uniqueName, waitUntil } from 'busbar/testing'
import { seededRandom } from '../../src/testing/random.ts'
import { brokerUrl } from '../../tools/brokers/index.ts'

const url = await brokerUrl('postgres')
const schema = uniqueName('relay')
const pool = new Pool({ connectionString: url, max: 40 })
const sql = postgres(url, { max: 4, onnotice: () => {} })
const store = postgresOutboxStore({ client: pool, schema })
const opened: Bus[] = []
const sent: { readonly id: string; readonly key: string | undefined }[] = []

function recording(): Transport {
  return new Proxy(memory(), {
    get: (target, name) => {
      if (name === 'publish')
        return (batch: readonly { id: string; key: string | undefined }[]) => {
          for (const { id, key } of batch) sent.push({ id, key })
          return Promise.resolve(batch.map(() => ({ position: undefined })))
        }
      const value: unknown = Reflect.get(target, name, target)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
}

beforeAll(async () => {
  await pool.query(`CREATE SCHEMA "${schema}"; CREATE TABLE "${schema}".last (key text PRIMARY KEY, n int NOT NULL)`)
  await Promise.all(Array.from({ length: 4 }, () => postgresOutboxStore({ client: pool, schema }).createTables()))
})
beforeEach(() => {
  sent.length = 0
})
afterEach(async () => {
  await Promise.all(opened.splice(0).map((bus) => bus.close()))
})
afterAll(async () => {
  await pool.query(`DROP SCHEMA "${schema}" CASCADE`)
  await pool.end()
  await sql.end()
})

const writer = createBus({ service: 'shop', transport: memory() })
const outbox = createOutbox({ tx: pgTx(), schema })
outbox.attach?.(writer)
const notifying = createOutbox({ tx: pgTx(), schema, notify: true })
notifying.attach?.(writer)

async function relay(options: Partial<OutboxRelayOptions> = {}): Promise<Bus> {
  const bus = createBus({
    service: 'relay',
    transport: recording(),
    extensions: [outboxRelay({ store, minPollMs: 5, maxPollMs: 50, leaseMs: 2_000, ...options })],
    logger: false,
  })
  opened.push(bus)
  await bus.start()
  return bus
}

async function inTransaction(body: (client: PoolClient) => Promise<void>): Promise<void> {
  const client = await pool.connect()
  try {
    await client.query('BEGIN')
    await body(client)
    await client.query('COMMIT')
  } catch (error) {
    await client.query('ROLLBACK')
    throw error
  } finally {
    client.release()
  }
}

const pending = async (): Promise<number> =>
  Number((await pool.query(`SELECT count(*) FROM "${schema}".busbar_outbox`)).rows[0].count)
const empty = (timeoutMs = 60_000): Promise<unknown> =>
  waitUntil(async () => (await pending()) === 0, { timeoutMs, intervalMs: 50, describe: pending })

describe('the relay on PostgreSQL', () => {
  // The rule of commits out of order: transactions are open for random times, so positions commit in another order than they were given
  // out. Each transaction takes the row of its key first, which gives the events of a key an order that all agree on.
  it('skips nothing and inverts nothing while 20 writers commit in another order', async () => {
    const random = seededRandom('out-of-order')
    const keys = 40
    const rounds = 50
    for (let key = 0; key < keys; key++) await pool.query(`INSERT INTO "${schema}".last VALUES ($1, 0)`, [`k${key}`])
    const relays = await Promise.all([relay({ batchSize: 50 }), relay({ batchSize: 7 }), relay()])
    const written: string[] = []
    const write = async (): Promise<void> => {
      const key = `k${random.integer(0, keys - 1)}`
      const openMs = random.chance(0.2) ? random.integer(1, 60) : 0
      const fails = random.chance(0.15)
      const ids: string[] = []
      await inTransaction(async (client) => {
        // Some get their transaction id long before their first position, some take both at once.
        if (random.chance(0.3)) await client.query('SELECT pg_current_xact_id()')
        if (random.chance(0.3)) await outbox.publish(client, 'free', 1, { id: uniqueName('free') })
        const { rows } = await client.query<{ n: number }>(
          `UPDATE "${schema}".last SET n = n + 2 WHERE key = $1 RETURNING n`,
          [key],
        )
        for (const step of [1, 0]) {
          const id = `${key}/${Number(rows[0]?.n) - step}`
          ids.push(id)
          await outbox.publish(client, 'orders', 1, { id, key })
        }
        await client.query('SELECT pg_sleep($1)', [openMs / 1_000])
        if (fails) throw new Error('rolled back')
      }).then(
        () => written.push(...ids),
        (error: Error) => expect(error.message).toBe('rolled back'),
      )
    }
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        for (let round = 0; round < rounds; round++) await write()
      }),
    )
    await empty()
    const keyed = sent.filter(({ key }) => key !== undefined)
    expect(keyed.map(({ id }) => id).sort()).toEqual([...written].sort())
    for (let key = 0; key < keys; key++) {
      const numbers = keyed.filter((one) => one.key === `k${key}`).map(({ id }) => Number(id.split('/')[1]))
      expect(numbers, `k${key}`).toEqual(numbers.toSorted((a, b) => a - b))
    }
    // The floor followed: reads did not begin at the start each time.
    const { rows } = await pool.query(`SELECT last_value FROM "${schema}".busbar_outbox_position_seq`)
    await waitUntil(() => relays.every((bus) => floorOf(bus) === Number(rows[0].last_value)), {
      describe: () => relays.map(floorOf),
    })
  }, 120_000)

  it('sends what commits behind an open transaction of anyone, at once, and says who holds the floor', async () => {
    const bus = await relay()
    const warned = bus.events.once('warning', { filter: ({ code }) => code === 'outbox-held' })
    const holder = await pool.connect()
    const stop = new AbortController()
    try {
      await holder.query('BEGIN; SELECT pg_current_xact_id()')
      const { rows } = await holder.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
      const before = Number(
        (await pool.query(`SELECT last_value FROM "${schema}".busbar_outbox_position_seq`)).rows[0].last_value,
      )
      await waitUntil(async () => {
        await inTransaction(
          async (client) => void (await outbox.publish(client, 'orders', 1, { key: uniqueName('k') })),
        )
        return sent.length > 20
      })
      await empty()
      expect(floorOf(bus)).toBeLessThanOrEqual(before)
      const writing = (async (): Promise<void> => {
        while (!stop.signal.aborted)
          await inTransaction(async (client) => void (await outbox.publish(client, 'orders', 1)))
      })()
      expect((await warned).detail).toContain(`pid ${rows[0]?.pid}`)
      stop.abort()
      await writing
    } finally {
      stop.abort()
      await holder.query('ROLLBACK')
      holder.release()
    }
    await empty()
  }, 60_000)

  it.each([
    ['pg', (): OutboxStore => store],
    ['postgres.js', (): OutboxStore => postgresOutboxStore({ client: sql, schema })],
  ])('is woken by NOTIFY while it sleeps, and not notified while it is awake, with %s', async (_name, open) => {
    const heard: string[] = []
    const listener = await pool.connect()
    listener.on('notification', ({ payload = '' }) => heard.push(payload))
    await listener.query('LISTEN busbar_outbox')
    const bus = await relay({ store: open(), trigger: 'notify', minPollMs: 10, maxPollMs: 10_000 })
    // Asleep: its last look was a while ago, and the next one is seconds away.
    await waitUntil(
      async () =>
        (await pool.query(`SELECT FROM "${schema}".busbar_outbox_relays WHERE awake_until > now()`)).rowCount === 0,
    )
    heard.length = 0
    const at = performance.now()
    await inTransaction(async (client) => void (await notifying.publish(client, 'orders', 1, { id: 'wakes' })))
    await waitUntil(() => sent.length === 1)
    expect(performance.now() - at).toBeLessThan(5_000)
    for (let round = 0; round < 100; round++)
      await inTransaction(async (client) => void (await notifying.publish(client, 'orders', 1)))
    await waitUntil(() => sent.length === 101, { describe: () => sent.length })
    await listener.query('SELECT 1')
    listener.release(true)
    expect(heard.filter((payload) => payload === '').length).toBeLessThan(20)
    await bus.close()
  })

  it('writes nothing to its rows but their deletion', async () => {
    await pool.query(`SELECT pg_stat_force_next_flush()`)
    const counts = async (): Promise<unknown> => {
      const { rows } = await pool.query(
        `SELECT n_tup_upd::int AS updated FROM pg_stat_all_tables WHERE schemaname = $1 AND relname = 'busbar_outbox'`,
        [schema],
      )
      return rows[0]
    }
    await inTransaction(async (client) => {
      for (let n = 0; n < 500; n++) await outbox.publish(client, 'orders', { n }, { key: `k${n % 50}` })
    })
    await relay()
    await empty()
    expect(await counts()).toEqual({ updated: 0 })
    expect(sent).toHaveLength(500)
  })

  it('parks, lists, requeues and discards', async () => {
    await inTransaction(async (client) => {
      for (const id of ['one', 'two', 'three']) await outbox.publish(client, 'orders', 1, { id, key: id })
    })
    const [owned] = await store.claim('someone', 60_000, 64).then((shards) => shards.filter(({ shard }) => shard >= 0))
    const all = await store.list({ limit: 10 })
    expect(all.map(({ id }) => id)).toEqual(['one', 'two', 'three'])
    const fence = async (position: number): Promise<{ shard: number; fence: number }> => {
      const { rows } = await pool.query(
        `SELECT s.shard, s.fence::int AS fence FROM "${schema}".busbar_outbox o JOIN "${schema}".busbar_outbox_shards s USING (shard) WHERE position = $1`,
        [position],
      )
      return rows[0]
    }
    expect(owned).toBeDefined()
    const [one, two] = all
    const position = one?.position ?? 0
    const ours = await fence(position)
    // An earlier owner's note changes nothing.
    expect(await store.fail({ position, owned: { ...ours, fence: ours.fence - 1 }, error: 'late', retryInMs: 1 })).toBe(
      false,
    )
    expect(await store.fail({ position, owned: ours, error: 'no', retryInMs: undefined })).toBe(true)
    const second = two?.position ?? 0
    expect(
      await store.fail({ position: second, owned: await fence(second), error: 'not yet', retryInMs: 60_000 }),
    ).toBe(true)
    expect(await store.blocked([ours.shard], { key: 'one', parked: true })).toEqual([
      { key: 'one', shard: ours.shard, readyInMs: undefined },
    ])
    expect(await store.blocked([ours.shard], { key: 'one', parked: false })).toEqual([])
    expect(await store.stats()).toMatchObject({ pending: 2, parked: 1, failing: 1 })
    expect(await store.list({ limit: 10, parked: true })).toMatchObject([{ id: 'one', attempts: 1, lastError: 'no' }])
    expect(await store.requeue({ ids: ['two'], limit: 10 })).toEqual([])
    expect(await store.requeue({ topic: 'orders', limit: 10 })).toEqual(['one'])
    await store.leave('someone')
    await pool.query(`UPDATE "${schema}".busbar_outbox SET available_at = now() WHERE id = 'two'`)
    await relay()
    await empty()
    expect(sent.map(({ id }) => id).sort()).toEqual(['one', 'three', 'two'])
  })
})

function floorOf(bus: Bus): number {
  return (bus.snapshot().extensions[0] as { data: { floor: number } }).data.floor
}

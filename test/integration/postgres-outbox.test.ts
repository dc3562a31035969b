import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { Pool } from 'pg'
import type { PoolClient } from 'pg'
import postgres from 'postgres'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { createBus, StateError } from 'busbar'
import { memory } from 'busbar/memory'
import { createOutbox, pgTx, postgresJsTx } from 'busbar/outbox'
import type { PgTx, PostgresJsTx } from 'busbar/outbox'
import { postgresUnitOfWork } from 'busbar/stores/postgres'
import { uniqueName } from 'busbar/testing'
import { brokerUrl } from '../../tools/brokers/index.ts'
import { createOutboxTables } from '../../src/stores/postgres/outbox-schema.ts'
import { outboxLibrarySuite } from './outbox-library-suite.ts'

const url = await brokerUrl('postgres')
const pool = new Pool({ connectionString: url, max: 8 })
const sql = postgres(url, { max: 8, onnotice: () => {} })
afterAll(async () => {
  await pool.end()
  await sql.end()
})

async function inTransaction(body: (tx: PoolClient) => Promise<void>): Promise<void> {
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

describe('pg', () => {
  const opened: PoolClient[] = []
  const client = async (...statements: string[]): Promise<PgTx> => {
    const one = await pool.connect()
    opened.push(one)
    for (const statement of statements) await one.query(statement).catch(() => undefined)
    return one
  }
  beforeEach(() => {
    for (const one of opened.splice(0)) one.release(true)
  })

  outboxLibrarySuite<PgTx>(pool, () =>
    Promise.resolve({
      name: 'pg',
      tx: pgTx(),
      transaction: inTransaction,
      savepoint: async (tx, body) => {
        await tx.query('SAVEPOINT s', [])
        try {
          await body(tx)
        } catch (error) {
          await tx.query('ROLLBACK TO SAVEPOINT s', [])
          throw error
        }
      },
      run: (tx, text) => tx.query(text, []),
      refused: {
        'a pool': () => pool,
        'a client before BEGIN': () => client(),
        'a committed client': () => client('BEGIN', 'COMMIT'),
        'an aborted transaction': () => client('BEGIN', 'SELECT 1/0'),
        'an older pg': async () => {
          const one = await client()
          return { query: (text, params) => one.query(text, params) }
        },
        nothing: () => undefined as unknown as PgTx,
      },
    }),
  )
})

describe('postgres.js', () => {
  outboxLibrarySuite<PostgresJsTx>(pool, () =>
    Promise.resolve({
      name: 'postgres.js',
      tx: postgresJsTx(),
      transaction: async (body) => {
        await sql.begin((tx) => body(tx))
      },
      savepoint: async (tx, body) => {
        await (tx as unknown as postgres.TransactionSql).savepoint((sp) => body(sp))
      },
      run: async (tx, text) => tx.unsafe(text),
      refused: { sql: () => sql },
    }),
  )
})

it('the example runs', async () => {
  const schema = uniqueName('example')
  await pool.query(`CREATE SCHEMA "${schema}"`)
  const file = join(import.meta.dirname, '../../examples/outbox/postgres.ts')
  const env = { ...process.env, DATABASE_URL: `${url}?options=-c%20search_path%3D${schema}` }
  const { stdout } = await promisify(execFile)(process.execPath, ['--conditions=busbar-source', file], { env })
  expect(stdout).toMatch(/^charge 42 for ord-\d+\n$/)
  await pool.query(`DROP SCHEMA "${schema}" CASCADE`)
})

describe('publishes that name no transaction', () => {
  const schema = uniqueName('outbox')
  const unitOfWork = postgresUnitOfWork({ client: pool })
  const outbox = createOutbox({ tx: pgTx(), schema, unitOfWork })
  const transport = memory()
  const bus = createBus({
    service: 'shop',
    transport,
    publishMiddleware: [
      outbox.capture({ mode: 'required', topics: ['orders.>'] }),
      outbox.capture({ mode: 'when-present' }),
    ],
    extensions: [outbox],
  })
  const topics = async (): Promise<string[]> => {
    const { rows } = await pool.query<{ topic: string }>(
      `SELECT topic FROM "${schema}".busbar_outbox ORDER BY position`,
    )
    return rows.map(({ topic }) => topic)
  }
  beforeEach(async () => {
    await bus.start()
    await pool.query(`DROP SCHEMA IF EXISTS "${schema}" CASCADE; CREATE SCHEMA "${schema}"`)
    await pool.query(createOutboxTables(schema))
  })
  afterAll(async () => {
    await bus.close()
    await pool.query(`DROP SCHEMA "${schema}" CASCADE`)
  })

  it('are written in the transaction of within, and refused or sent outside of it', async () => {
    await inTransaction(async (tx) => {
      await outbox.within(tx, async () => {
        await bus.publish('orders.placed', 1)
        await bus.publishMany('mails', [{ data: 1 }, { data: 2 }])
      })
    })
    expect(await topics()).toEqual(['orders.placed', 'mails', 'mails'])
    await expect(bus.publish('orders.placed', 1)).rejects.toThrow('no transaction is open here')
    expect((await bus.publish('mails', 1)).position).toBeDefined()
  })

  it('are refused when within has ended', async () => {
    let late: Promise<unknown> = Promise.resolve()
    const gate = Promise.withResolvers<void>()
    await inTransaction(async (tx) => {
      await outbox.within(tx, () => {
        late = gate.promise.then(() => bus.publish('orders.placed', 1)).catch((error: unknown) => error)
      })
    })
    gate.resolve()
    expect(StateError.is(await late)).toBe(true)
    expect(await topics()).toEqual([])
  })

  it('are written just before COMMIT of a unit of work, and not when it fails', async () => {
    await unitOfWork.run(async (tx) => {
      await bus.publish('orders.placed', 1)
      const { rows } = await tx.query(`SELECT FROM "${schema}".busbar_outbox`)
      expect(rows).toHaveLength(0)
    })
    expect(await topics()).toEqual(['orders.placed'])
    const failed = unitOfWork.run(async () => {
      await bus.publish('orders.paid', 1)
      throw new Error('no')
    })
    await expect(failed).rejects.toThrow('no')
    expect(await topics()).toEqual(['orders.placed'])
  })

  it('continue the conversation of the message whose handler publishes', async () => {
    const done = Promise.withResolvers<void>()
    bus.consume('requests', async (_message, ctx) => {
      await inTransaction((tx) => outbox.within(tx, async () => void (await ctx.publish('orders.placed', 1))))
      done.resolve()
    })
    const { id } = await bus.publish('requests', 1, { correlationId: 'c-1' })
    await done.promise
    const { rows } = await pool.query<{ headers: object }>(`SELECT headers FROM "${schema}".busbar_outbox`)
    expect(rows[0]?.headers).toMatchObject({ correlationId: 'c-1', causationId: id })
  })
})

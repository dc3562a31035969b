import { Pool } from 'pg'
import type { PoolClient } from 'pg'
import * as vitest from 'vitest'
import { CommitUnknownError, ConnectionError, StateError } from 'busbar'
import { tcpProxy, uniqueName, unitOfWorkContract } from 'busbar/testing'
import { postgresUnitOfWork } from 'busbar/stores/postgres'
import { ensureShared } from '../../tools/brokers/index.ts'

const { afterAll, beforeAll, describe, expect, it } = vitest
const broker = await ensureShared('postgres')
const schema = uniqueName('uow')
const options = { max: 4, options: `-c search_path=${schema}` }
const pool = new Pool({ connectionString: broker.url, ...options })
const unitOfWork = postgresUnitOfWork({ client: pool })

beforeAll(async () => {
  await pool.query(`CREATE SCHEMA "${schema}"`)
  await pool.query('CREATE TABLE test (value text PRIMARY KEY)')
  await pool.query('CREATE TABLE child (parent text REFERENCES test DEFERRABLE INITIALLY DEFERRED)')
})
afterAll(async () => {
  await pool.query(`DROP SCHEMA "${schema}" CASCADE`)
  await pool.end()
})

async function values(): Promise<string[]> {
  const { rows } = await pool.query<{ value: string }>('SELECT value FROM test')
  return rows.map(({ value }) => value)
}

function insert(tx: PoolClient, value: string): Promise<unknown> {
  return tx.query('INSERT INTO test VALUES ($1)', [value])
}

function errorOf(run: Promise<unknown>): Promise<unknown> {
  return run.then(
    () => undefined,
    (error: unknown) => error,
  )
}

unitOfWorkContract<PoolClient>(vitest, { name: 'postgres', create: () => ({ unitOfWork, insert, values }) })

describe('postgresUnitOfWork', () => {
  it('does not take a COMMIT for one that PostgreSQL turned into a ROLLBACK', async () => {
    const run = unitOfWork.run(async (tx) => {
      await insert(tx, 'half')
      await tx.query('SELECT 1 / 0').catch(() => undefined)
    })
    expect(await errorOf(run)).toSatisfy(StateError.is)
    expect(await values()).not.toContain('half')
  })

  it('lets a statement fail in a nested run, and commits the rest', async () => {
    await unitOfWork.run(async (tx) => {
      await insert(tx, 'kept')
      await errorOf(unitOfWork.run((inner) => inner.query('SELECT 1 / 0')))
    })
    expect(await values()).toContain('kept')
  })

  it('reports a COMMIT that is refused as rolled back, not as unknown', async () => {
    const run = unitOfWork.run((tx) => tx.query("INSERT INTO child VALUES ('nobody')"))
    expect(await errorOf(run)).toMatchObject({ code: '23503' })
    expect(await unitOfWork.run(() => 'usable')).toBe('usable')
  })

  it('gives every client back, also of runs that failed', async () => {
    for (let round = 0; round < 10; round++)
      await errorOf(unitOfWork.run((tx) => tx.query(round % 2 === 0 ? 'SELECT 1 / 0' : 'SELECT 1')))
    expect(pool.idleCount).toBe(pool.totalCount)
    const client = await pool.connect()
    // Listeners would add up.
    expect(client.listenerCount('error')).toBe(0)
    client.release()
  })

  it('knows that nothing was committed when the connection is lost before COMMIT, and drops it', async () => {
    const run = unitOfWork.run(async (tx) => {
      await insert(tx, 'lost')
      const { rows } = await tx.query<{ pid: number }>('SELECT pg_backend_pid() AS pid')
      const ended = new Promise((resolve) => {
        tx.once('end', resolve)
      })
      await pool.query('SELECT pg_terminate_backend($1)', [rows[0]?.pid])
      await ended
    })
    const error = await errorOf(run)
    expect(ConnectionError.is(error)).toBe(true)
    expect(await values()).not.toContain('lost')
    expect(await unitOfWork.run(() => 'usable')).toBe('usable')
  })

  it('says so when the outcome of a COMMIT is unknown: here it was committed, and its answer was lost', async () => {
    const proxy = await tcpProxy(broker)
    const address = new URL(broker.url)
    address.host = `${proxy.host}:${proxy.port}`
    const remote = new Pool({ connectionString: address.href, ...options })
    remote.on('error', () => {})
    try {
      const run = postgresUnitOfWork({ client: remote }).run(async (tx) => {
        await insert(tx, 'committed')
        proxy.stall('down')
      })
      await vitest.vi.waitUntil(async () => (await values()).includes('committed'))
      proxy.cut()
      const error = await errorOf(run)
      expect(CommitUnknownError.is(error)).toBe(true)
      expect((error as Error).cause).toBeInstanceOf(Error)
    } finally {
      await remote.end()
      await proxy.close()
    }
  })

  it('refuses options without a pool', () => {
    expect(() => postgresUnitOfWork({} as never)).toThrow('client: is required')
  })
})

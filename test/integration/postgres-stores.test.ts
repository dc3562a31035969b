import { Pool } from 'pg'
import postgres from 'postgres'
import * as vitest from 'vitest'
import { StateError } from 'busbar'
import { dedupeStoreContract, uniqueName, waitUntil } from 'busbar/testing'
import { postgresDedupeStore } from 'busbar/stores/postgres'
import { brokerUrl } from '../../tools/brokers/index.ts'

const { describe, expect, it } = vitest
const url = await brokerUrl('postgres')
const schema = uniqueName('dedupe')
const pool = new Pool({ connectionString: url, max: 8 })
const sql = postgres(url, { max: 8, onnotice: () => {} })

vitest.beforeAll(async () => {
  await pool.query(`CREATE SCHEMA "${schema}"`)
  await postgresDedupeStore({ client: pool, schema }).createTables()
})
vitest.afterAll(async () => {
  await pool.query(`DROP SCHEMA "${schema}" CASCADE`)
  await pool.end()
  await sql.end()
})

dedupeStoreContract(vitest, {
  name: 'postgres, with pg',
  create: () => postgresDedupeStore({ client: pool, schema }),
})
dedupeStoreContract(vitest, {
  name: 'postgres, with postgres.js',
  create: () => postgresDedupeStore({ client: sql, schema }),
})

describe('postgresDedupeStore', () => {
  it('is refused with the SQL to run when its table is missing', async () => {
    const store = postgresDedupeStore({ client: pool, schema: 'pg_temp' })
    const error = await Promise.resolve(store.claim('k', 1_000)).catch((thrown: unknown) => thrown)
    expect(StateError.is(error)).toBe(true)
    expect((error as Error).message).toContain(`The table "pg_temp"."busbar_dedupe" does not exist`)
    expect((error as Error).message).toContain(store.sql)
  })

  it('creates its table however many processes do so at once, and in the search path by default', async () => {
    const at = new Pool({ connectionString: url, max: 4, options: `-c search_path=${schema}2` })
    try {
      await pool.query(`CREATE SCHEMA "${schema}2"`)
      const stores = Array.from({ length: 4 }, () => postgresDedupeStore({ client: at }))
      await Promise.all(stores.map((store) => store.createTables()))
      expect(await stores[0]?.claim('k', 1_000)).toMatchObject({ status: 'claimed' })
      const found = await pool.query('SELECT FROM pg_tables WHERE schemaname = $1', [`${schema}2`])
      expect(found.rowCount).toBe(1)
    } finally {
      await pool.query(`DROP SCHEMA "${schema}2" CASCADE`)
      await at.end()
    }
  })

  it('deletes expired keys in batches, by the index, and leaves the others alone', async () => {
    const store = postgresDedupeStore({ client: pool, schema })
    const table = `"${schema}".busbar_dedupe`
    await pool.query(
      `INSERT INTO ${table} SELECT 'old' || n, NULL, now() - interval '1 s' FROM generate_series(1, 5000) n`,
    )
    await pool.query(
      `INSERT INTO ${table} SELECT 'kept' || n, NULL, now() + interval '1 h' FROM generate_series(1, 5000) n`,
    )
    const left = async (name: string): Promise<number> =>
      (await pool.query(`SELECT FROM ${table} WHERE key LIKE $1`, [`${name}%`])).rowCount ?? 0
    const claims = async (count: number): Promise<void> => {
      for (let index = 0; index < count; index += 8)
        await Promise.all(Array.from({ length: 8 }, async () => store.claim(uniqueName('new'), 60_000)))
    }
    // One batch for each 256 claims.
    await claims(256)
    await waitUntil(async () => (await left('old')) < 5_000)
    expect(await left('old')).toBe(5_000 - 1_024)
    await waitUntil(async () => {
      await claims(256)
      return (await left('old')) === 0
    })
    expect(await left('kept')).toBe(5_000)
    await pool.query(`ANALYZE ${table}`)
    const plan = await pool.query(`EXPLAIN SELECT key FROM ${table} WHERE expires_at <= statement_timestamp()`)
    expect(JSON.stringify(plan.rows)).toContain('Index')
  })
})

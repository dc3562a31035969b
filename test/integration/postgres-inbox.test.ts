import { Pool } from 'pg'
import type { PoolClient } from 'pg'
import { afterAll, describe } from 'vitest'
import { pgTx } from 'busbar/outbox'
import { postgresInboxStore, postgresOutboxStore, postgresUnitOfWork } from 'busbar/stores/postgres'
import { uniqueName } from 'busbar/testing'
import { brokerUrl } from '../../tools/brokers/index.ts'
import { inboxSuite } from '../unit/inbox/inbox-suite.ts'

const pool = new Pool({ connectionString: await brokerUrl('postgres'), max: 10 })
const schema = uniqueName('inbox')
afterAll(async () => {
  await pool.query(`DROP SCHEMA "${schema}" CASCADE`)
  await pool.end()
})

describe('PostgreSQL', () => {
  inboxSuite<PoolClient>(async () => {
    await pool.query(`CREATE SCHEMA "${schema}"; CREATE TABLE "${schema}".effects (name text NOT NULL)`)
    const store = postgresInboxStore({ client: pool, schema })
    await Promise.all(Array.from({ length: 3 }, () => store.createTables()))
    await postgresOutboxStore({ client: pool, schema }).createTables()
    const column = async (sql: string): Promise<string[]> =>
      (await pool.query<{ text: string }>(sql)).rows.map(({ text }) => text)
    return {
      unitOfWork: postgresUnitOfWork({ client: pool }),
      store,
      tx: pgTx(),
      schema,
      addEffect: (tx, name) => tx.query(`INSERT INTO "${schema}".effects VALUES ($1)`, [name]),
      effects: () => column(`SELECT name AS text FROM "${schema}".effects`),
      outbox: () => column(`SELECT id AS text FROM "${schema}".busbar_outbox ORDER BY position`),
    }
  })
})

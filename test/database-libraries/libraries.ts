import { sql as drizzleSql } from 'drizzle-orm'
import { drizzle } from 'drizzle-orm/node-postgres'
import { drizzle as drizzleOverPostgresJs } from 'drizzle-orm/postgres-js'
import createKnex from 'knex'
import type { Knex } from 'knex'
import { Kysely, PostgresDialect, sql as kyselySql } from 'kysely'
import type { Transaction } from 'kysely'
import { Pool } from 'pg'
import postgres from 'postgres'
import { drizzleTx, knexTx, kyselyTx } from '../../src/outbox/index.ts'
import type { TxAdapter } from '../../src/outbox/index.ts'
import type { LibraryUnderTest } from '../integration/outbox-library-suite.ts'

/** A library of this package, opened on a database. */
export interface OpenedLibrary {
  readonly library: LibraryUnderTest<never>
  close(): Promise<void>
}

/** Every assignment to `TxAdapter` below checks that the adapter takes the library's own types. */
export const openers: Readonly<Record<string, (url: string) => OpenedLibrary>> = {
  Kysely: (url) => {
    const db = new Kysely<object>({
      dialect: new PostgresDialect({ pool: new Pool({ connectionString: url, max: 8 }) }),
    })
    const tx: TxAdapter<Transaction<object>> = kyselyTx('postgres')
    const library: LibraryUnderTest<Transaction<object>> = {
      name: 'Kysely',
      tx,
      transaction: (body) => db.transaction().execute(body),
      async savepoint(trx, body) {
        await kyselySql`SAVEPOINT s`.execute(trx)
        try {
          await body(trx)
        } catch (error) {
          await kyselySql`ROLLBACK TO SAVEPOINT s`.execute(trx)
          throw error
        }
      },
      run: (trx, text) => kyselySql.raw(text).execute(trx),
      refused: {
        db: () => db as Transaction<object>,
        'a committed transaction': async () => {
          const trx = await db.startTransaction().execute()
          await trx.commit().execute()
          return trx
        },
        'an ended callback': async () => {
          let trx: Transaction<object> | undefined
          await db.transaction().execute((given) => Promise.resolve(void (trx = given)))
          return trx as Transaction<object>
        },
      },
    }
    return { library: library as unknown as LibraryUnderTest<never>, close: () => db.destroy() }
  },

  Knex: (url) => {
    const knex = createKnex({ client: 'pg', connection: url, pool: { min: 0, max: 8 } })
    const tx: TxAdapter<Knex.Transaction> = knexTx('postgres') as TxAdapter<Knex.Transaction>
    const library: LibraryUnderTest<Knex.Transaction> = {
      name: 'Knex',
      tx,
      transaction: (body) => knex.transaction(body),
      savepoint: (trx, body) => trx.transaction(body),
      run: async (trx, text) => void (await trx.raw(text)),
      refused: {
        knex: () => knex as unknown as Knex.Transaction,
        'a committed transaction': async () => {
          const trx = await knex.transaction()
          await trx.commit()
          return trx
        },
        'a rolled back transaction': async () => {
          const trx = await knex.transaction()
          await trx.rollback()
          return trx
        },
      },
    }
    return { library: library as unknown as LibraryUnderTest<never>, close: () => knex.destroy() }
  },

  'Drizzle over pg': (url) => {
    const pool = new Pool({ connectionString: url, max: 8 })
    const db = drizzle(pool)
    type Tx = Parameters<Parameters<typeof db.transaction>[0]>[0]
    const tx: TxAdapter<Tx> = drizzleTx('postgres', drizzleSql)
    const library: LibraryUnderTest<Tx> = {
      name: 'Drizzle',
      tx,
      transaction: (body) => db.transaction(body),
      savepoint: (outer, body) => outer.transaction((inner) => body(inner)),
      run: async (given, text) => void (await given.execute(drizzleSql.raw(text))),
      refused: {
        db: () => db as unknown as Tx,
        'an ended callback': async () => {
          let ended: Tx | undefined
          await db.transaction((given) => Promise.resolve(void (ended = given)))
          return ended as Tx
        },
      },
    }
    return { library: library as unknown as LibraryUnderTest<never>, close: () => pool.end() }
  },

  'Drizzle over postgres.js': (url) => {
    const client = postgres(url, { max: 8, onnotice: () => {} })
    const db = drizzleOverPostgresJs(client)
    type Tx = Parameters<Parameters<typeof db.transaction>[0]>[0]
    const tx: TxAdapter<Tx> = drizzleTx('postgres', drizzleSql)
    const library: LibraryUnderTest<Tx> = {
      name: 'Drizzle',
      tx,
      transaction: (body) => db.transaction(body),
      savepoint: (outer, body) => outer.transaction((inner) => body(inner)),
      run: async (given, text) => void (await given.execute(drizzleSql.raw(text))),
      refused: { db: () => db as unknown as Tx },
    }
    return { library: library as unknown as LibraryUnderTest<never>, close: () => client.end() }
  },
}

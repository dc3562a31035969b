import type { InboxStore } from '../inbox/store.ts'
import type { OutboxStore } from '../outbox/store.ts'
import type { PostgresStoreClient } from '../stores/postgres/client.ts'
import { UsageError } from './command.ts'

/** What Busbar keeps in a database, as long as a command needs it. */
export interface OpenDatabase {
  readonly outbox: OutboxStore
  readonly inbox: Pick<InboxStore<never>, 'createTables' | 'purge' | 'forget' | 'stats'>
  close(): Promise<void>
}

/** Opens the database of a URL: `postgres://…`, or `sqlite:./app.db`. */
export async function openDatabase(url: string | undefined, schema: string | undefined): Promise<OpenDatabase> {
  if (url === undefined || url === '')
    throw new UsageError('which database? Give --database postgres://… or sqlite:./app.db, or set BUSBAR_DATABASE')
  if (/^postgres(ql)?:/.test(url)) return openPostgres(url, schema)
  if (url.startsWith('sqlite:')) return openSqlite(url.slice('sqlite:'.length))
  throw new UsageError(`the database must be postgres://… or sqlite:<path>`)
}

async function openPostgres(url: string, schema: string | undefined): Promise<OpenDatabase> {
  const { postgresOutboxStore, postgresInboxStore } = await import('../stores/postgres/index.ts')
  const stores = (client: PostgresStoreClient): Omit<OpenDatabase, 'close'> => ({
    outbox: postgresOutboxStore({ client, schema }),
    inbox: postgresInboxStore({ client, schema }),
  })
  const pg = await load<{ Pool: new (options: object) => PoolLike }>('pg')
  if (pg !== undefined) {
    const pool = new pg.Pool({ connectionString: url, max: 2 })
    return { ...stores(pool), close: () => pool.end() }
  }
  const postgres = await load<(url: string, options: object) => SqlLike>('postgres')
  if (postgres === undefined) throw new Error('no driver for PostgreSQL is installed: npm install pg')
  const sql = postgres(url, { max: 2, onnotice: () => {} })
  return { ...stores(sql), close: () => sql.end() }
}

interface PoolLike {
  query(sql: string, params: unknown[]): Promise<{ readonly rows: readonly unknown[] }>
  end(): Promise<void>
}

interface SqlLike {
  unsafe(sql: string, params?: never[]): PromiseLike<readonly unknown[]>
  end(): Promise<void>
}

/** What a package exports by default, or undefined if it is not installed. */
async function load<Module>(name: string): Promise<Module | undefined> {
  try {
    return ((await import(name)) as { default: Module }).default
  } catch (error) {
    if ((error as { code?: unknown }).code === 'ERR_MODULE_NOT_FOUND') return undefined
    throw error
  }
}

async function openSqlite(path: string): Promise<OpenDatabase> {
  const { DatabaseSync } = await import('node:sqlite')
  const { sqliteOutboxStore, sqliteInboxStore } = await import('../stores/sqlite/index.ts')
  const database = new DatabaseSync(path)
  return {
    outbox: sqliteOutboxStore({ database }),
    inbox: sqliteInboxStore({ database }),
    close: async () => database.close(),
  }
}

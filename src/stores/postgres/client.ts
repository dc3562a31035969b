/** The part of a `Pool` of `pg` that the stores need. */
export interface PgClient {
  /** Runs one statement. */
  query(sql: string, params: unknown[]): Promise<{ readonly rows: readonly unknown[] }>
}

/** The part of the `sql` of `postgres` (postgres.js) that the stores need. */
export interface PostgresJsClient {
  /** Runs one statement. */
  unsafe(sql: string, params?: never[]): PromiseLike<readonly unknown[]>
}

/** A client of PostgreSQL that stores take. */
export type PostgresStoreClient = PgClient | PostgresJsClient

/** Runs one statement with either library, and resolves with its rows. */
export async function query<Row>(
  client: PostgresStoreClient,
  sql: string,
  params: readonly unknown[],
): Promise<readonly Row[]> {
  if ('unsafe' in client) return (await client.unsafe(sql, [...params] as never[])) as readonly Row[]
  return (await client.query(sql, [...params])).rows as readonly Row[]
}

/** PostgreSQL's code of an error that the server reported, such as 42P01; undefined for other errors. */
export function sqlState(error: unknown): string | undefined {
  const code = (error as { code?: unknown } | null)?.code
  return typeof code === 'string' && /^[0-9A-Z]{5}$/.test(code) ? code : undefined
}

import { tableName } from '../../core/util/table-name.ts'
import type { ListedRow, OutboxStats, RowFilter } from '../../outbox/store.ts'

type Query = <Row>(sql: string, params: readonly unknown[]) => Promise<readonly Row[]>

interface AdminRow {
  readonly position: string
  readonly id: string
  readonly topic: string
  readonly key: string | null
  readonly transport: string | null
  readonly created_at: Date
  readonly available_at: Date | null
  readonly attempts: number
  readonly failed_at: Date | null
  readonly last_error: string | null
  readonly bytes: number
}

/** Counting more rows would take longer than anyone waits. */
const MAX_COUNTED = 100_000

/** What the admin commands ask of the outbox in PostgreSQL. */
export class OutboxAdminQueries {
  readonly #query: Query
  readonly #outbox: string
  readonly #shards: string
  readonly #relays: string

  constructor(query: Query, schema: string | undefined) {
    this.#query = query
    this.#outbox = tableName('busbar_outbox', schema)
    this.#shards = tableName('busbar_outbox_shards', schema)
    this.#relays = tableName('busbar_outbox_relays', schema)
  }

  async stats(): Promise<OutboxStats> {
    const age = (of: string): string => `extract(epoch FROM clock_timestamp() - ${of}) * 1000`
    const [row] = await this.#query<OutboxStats>(
      `SELECT
         (SELECT count(*) FROM (SELECT FROM ${this.#outbox} WHERE failed_at IS NULL LIMIT ${MAX_COUNTED}) counted)::int AS pending,
         coalesce(greatest(
           (SELECT ${age('created_at')} FROM ${this.#outbox} WHERE failed_at IS NULL AND available_at IS NULL ORDER BY position LIMIT 1),
           (SELECT ${age('min(available_at)')} FROM ${this.#outbox} WHERE available_at < statement_timestamp()), 0), 0)::float8 AS "oldestAgeMs",
         (SELECT count(*) FROM ${this.#outbox} WHERE failed_at IS NOT NULL)::int AS parked,
         (SELECT count(DISTINCT key) FROM ${this.#outbox} WHERE available_at IS NOT NULL AND attempts > 0)::int AS failing,
         (SELECT count(*) FROM ${this.#shards} WHERE owner IS NULL OR lease_until < clock_timestamp())::int AS "unownedShards",
         (SELECT count(*) FROM ${this.#relays} WHERE seen_until > clock_timestamp())::int AS relays`,
      [],
    )
    return row as OutboxStats
  }

  async list(filter: RowFilter): Promise<readonly ListedRow[]> {
    const rows = await this.#query<AdminRow>(
      `SELECT position, id, topic, key, transport, created_at, available_at, attempts, failed_at, last_error,
         coalesce(octet_length(body), 0) AS bytes
       FROM ${this.#outbox} WHERE ${SELECTED} ORDER BY position LIMIT $5::int`,
      selection(filter),
    )
    return rows.map((row) => ({
      position: Number(row.position),
      id: row.id,
      topic: row.topic,
      key: row.key ?? undefined,
      transport: row.transport ?? undefined,
      createdAt: row.created_at,
      availableAt: row.available_at ?? undefined,
      attempts: row.attempts,
      parkedAt: row.failed_at ?? undefined,
      lastError: row.last_error ?? undefined,
      bodyBytes: row.bytes,
    }))
  }

  requeue(filter: RowFilter): Promise<readonly string[]> {
    // Due at once, and found by the index of delays: its position may be one that relays have passed.
    return this.#changeParked(
      filter,
      (which) => `UPDATE ${this.#outbox}
       SET failed_at = NULL, attempts = 0, available_at = clock_timestamp() WHERE ${which}`,
    )
  }

  discard(filter: RowFilter): Promise<readonly string[]> {
    return this.#changeParked(filter, (which) => `DELETE FROM ${this.#outbox} WHERE ${which}`)
  }

  async #changeParked(filter: RowFilter, statement: (which: string) => string): Promise<readonly string[]> {
    const which = `position IN (SELECT position FROM ${this.#outbox} WHERE ${SELECTED} ORDER BY position LIMIT $5::int)`
    const rows = await this.#query<{ id: string }>(
      `${statement(`${which} AND failed_at IS NOT NULL`)} RETURNING id`,
      selection({ ...filter, parked: true }),
    )
    return rows.map(({ id }) => id)
  }
}

const SELECTED = `($1::text[] IS NULL OR id = ANY ($1::text[])) AND ($2::text IS NULL OR topic = $2)
  AND ($3::text IS NULL OR key = $3) AND ($4::boolean IS NULL OR $4 = (failed_at IS NOT NULL))`

function selection({ ids, topic, key, parked, limit }: RowFilter): readonly unknown[] {
  return [ids === undefined ? null : [...ids], topic ?? null, key ?? null, parked ?? null, limit]
}

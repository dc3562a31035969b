import { tableName } from '../core/util/table-name.ts'
import type { NewRow } from './row.ts'
import type { Dialect, Placeholders } from './tx-adapter.ts'

const COLUMNS = ['shard', 'id', 'topic', 'key', 'transport', 'headers', 'body', 'available_at'] as const

/** What PostgreSQL answers when the statement runs outside of a transaction: it can't be cast to a number. */
export const OUTSIDE = 'busbar:outside-of-a-transaction'

const SETTING = 'busbar.in_transaction'

/**
 * Sent right before an INSERT that checks for a transaction, for libraries that can't tell: a setting that ends with its transaction.
 * Outside of one, it has ended before the INSERT comes. Need not be awaited, so with a library that pipelines it costs no round trip.
 */
export const MARK_SQL: string = `SELECT set_config('${SETTING}', 'yes', true)`

/** The channel of LISTEN and NOTIFY. */
export const DEFAULT_CHANNEL = 'busbar_outbox'

export interface InsertOptions {
  readonly dialect: Dialect
  readonly placeholders: Placeholders
  readonly schema: string | undefined
  /** Whether the server has to check that a transaction is open. */
  readonly asksServer: boolean
  /** Wakes relays that sleep: the channel they listen to. */
  readonly channel: string | undefined
}

/** The statement that writes one event. It returns nothing, so libraries need not agree on what a result looks like. */
export function insertSql(options: InsertOptions): string {
  const { dialect, placeholders, schema } = options
  const mark = (index: number): string => (placeholders === 'numbered' ? `$${index + 1}` : '?')
  const into = `INSERT INTO ${tableName('busbar_outbox', schema, dialect)} (${COLUMNS.join(', ')})`
  if (dialect !== 'postgres') return `${into} VALUES (${COLUMNS.map((_, index) => mark(index)).join(', ')})`
  // As text first: libraries that learn the types of the parameters would otherwise convert them a second time.
  const types = ['text::smallint', 'text', 'text', 'text', 'text', 'text::jsonb', 'bytea', 'text::timestamptz']
  const values = types.map((type, index) => `${mark(index)}::${type}`)
  if (options.asksServer)
    values[0] = `(CASE WHEN current_setting('${SETTING}', true) = 'yes' THEN ${mark(0)}::text ELSE '${OUTSIDE}' END)::smallint`
  // The id of the transaction must be taken before the position is: relays rely on it to know when a position is final.
  const conditions = ['pg_current_xact_id() IS NOT NULL']
  if (options.channel !== undefined) conditions.push(wake(options.channel, schema))
  return `${into} SELECT ${values.join(', ')} WHERE ${conditions.join(' AND ')}`
}

/** True in any case. NOTIFY makes commits of the whole cluster wait for each other, so it is only used when a relay sleeps. */
function wake(channel: string, schema: string | undefined): string {
  const relays = tableName('busbar_outbox_relays', schema, 'postgres')
  const sleeps = `EXISTS (SELECT FROM ${relays} WHERE seen_until > clock_timestamp() AND awake_until <= clock_timestamp())`
  const text = `'${channel.replaceAll("'", "''")}'`
  return `CASE WHEN ${sleeps} THEN pg_notify(${text}, '')::text IS NOT NULL ELSE true END`
}

/** The parameters of `insertSql`. */
export function insertParams(row: NewRow, dialect: Dialect): readonly unknown[] {
  const at = row.availableAt
  const availableAt =
    at === undefined
      ? null
      : dialect === 'sqlite'
        ? at
        : dialect === 'mysql'
          ? new Date(at).toISOString().slice(0, -1).replace('T', ' ')
          : new Date(at).toISOString()
  const shard = dialect === 'postgres' ? String(row.shard) : row.shard
  const { id, topic, key = null, transport = null, headers, body = null } = row
  return [shard, id, topic, key, transport, headers, body, availableAt]
}

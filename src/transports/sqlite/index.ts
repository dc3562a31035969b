import type { Transport } from '../../core/transport.ts'
import { resolveSqliteOptions } from './options.ts'
import type { SqliteOptions } from './options.ts'
import { SqliteTransport } from './transport.ts'

export type { SqliteNativeOptions, SqliteOptions, SqliteRetentionOptions } from './options.ts'

/**
 * Creates a transport that keeps a durable message log in one file, with Node's own SQLite: no server, nothing to
 * install. Any number of processes on one machine may share the file. A confirmed publish survives a power cut
 * (`synchronous`), and the messages of a killed process are delivered again after `leaseMs`. The database runs in a
 * separate thread and never blocks the event loop.
 *
 *     const bus = createBus({ service: 'billing', transport: sqlite({ path: './busbar.db' }) })
 *
 * Throws `ConfigurationError` for bad options; touches the file only when the bus starts.
 */
export function sqlite(options: SqliteOptions): Transport {
  return new SqliteTransport(resolveSqliteOptions(options))
}

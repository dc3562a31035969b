import type { Transport } from '../../core/transport.ts'
import { resolveSqliteOptions } from './options.ts'
import type { SqliteOptions } from './options.ts'
import { SqliteTransport } from './transport.ts'

export type { SqliteNativeOptions, SqliteOptions, SqliteRetentionOptions } from './options.ts'

/**
 * A durable message log in one file, on Node's own SQLite: no server, nothing to install. Any number of processes of one
 * machine may share the file. A confirmed publish survives a power cut (`synchronous`); what a killed process held is
 * delivered again after `leaseMs`; the database runs in a thread of its own and never holds up the event loop.
 *
 *     const bus = createBus({ service: 'billing', transport: sqlite({ path: './busbar.db' }) })
 *
 * Throws `ConfigurationError` for bad options; touches the file only when the bus starts.
 */
export function sqlite(options: SqliteOptions): Transport {
  return new SqliteTransport(resolveSqliteOptions(options))
}

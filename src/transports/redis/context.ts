import type { TransportHost } from '../../core/transport.ts'
import type { Keys } from './keys.ts'
import type { Maintenance } from './maintenance.ts'
import type { Mapping } from './mapping.ts'
import type { ResolvedRedisOptions } from './options.ts'
import type { ProcessLease } from './process-lease.ts'
import type { Reports } from './reports.ts'
import type { Retention } from './retention.ts'
import type { ScriptRunner } from './runner.ts'
import type { Topics } from './topics.ts'
import type { Wire } from './wire.ts'

/** Shared by all parts of one transport while it is open. */
export interface RedisContext {
  readonly options: ResolvedRedisOptions
  readonly host: TransportHost
  readonly wire: Wire
  readonly scripts: ScriptRunner
  readonly keys: Keys
  readonly mapping: Mapping
  readonly topics: Topics
  readonly retention: Retention
  readonly reports: Reports
  readonly lease: ProcessLease
  readonly maintenance: Maintenance
}

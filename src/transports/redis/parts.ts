import type { TransportHost } from '../../core/transport.ts'
import type { Keys } from './topology/keys.ts'
import type { Mapping } from './wire/mapping.ts'
import type { ResolvedRedisOptions } from './options.ts'
import type { ProcessLease } from './partitions/process-lease.ts'
import type { Reports } from './reports.ts'
import type { Retention } from './topology/retention.ts'
import type { ScriptRunner } from './connection/script-runner.ts'
import type { Topics } from './topology/topics.ts'
import type { Commands } from './connection/commands.ts'

/** What the parts of one transport stand on while it is open. */
export interface RedisParts {
  readonly options: ResolvedRedisOptions
  readonly host: TransportHost
  readonly commands: Commands
  readonly scripts: ScriptRunner
  readonly keys: Keys
  readonly mapping: Mapping
  readonly topics: Topics
  readonly retention: Retention
  readonly reports: Reports
  readonly lease: ProcessLease
}

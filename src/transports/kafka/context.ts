import type { TransportHost } from '../../core/transport.ts'
import type { KafkaClient } from '../../kafka/index.ts'
import type { ResolvedKafkaOptions } from './options.ts'
import type { Reports } from './reports.ts'
import type { Topics } from './topology/topics.ts'
import type { Mapping } from './wire/mapping.ts'

/** What the parts of one open transport share. */
export interface KafkaContext {
  readonly options: ResolvedKafkaOptions
  readonly host: TransportHost
  readonly client: KafkaClient
  readonly mapping: Mapping
  readonly topics: Topics
  readonly reports: Reports
  /** Name of a group at the broker. */
  readonly groupId: (group: string) => string
  /** Name of a group of the broker here. */
  readonly groupOf: (groupId: string) => string
}

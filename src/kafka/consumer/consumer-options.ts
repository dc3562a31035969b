import { KafkaError } from '../errors.ts'
import type { ReadRecordsOptions } from '../records/read-records.ts'
import type { Assignor } from './assignors/assignor.ts'
import { rangeAssignor } from './assignors/range.ts'
import { roundRobinAssignor } from './assignors/round-robin.ts'
import { cooperativeStickyAssignor, stickyAssignor } from './assignors/sticky.ts'
import type { FetchSettings } from './fetch/fetch-settings.ts'
import type { ResetPolicy } from './fetch/position.ts'
import type { GroupSettings } from './group-session.ts'

export type AssignorName = 'range' | 'roundrobin' | 'sticky' | 'cooperative-sticky'

export interface ConsumerOptions {
  /** Names of topics, and patterns: every topic whose whole name matches is read, also one that is made later. */
  readonly topics: readonly (string | RegExp)[]
  /** The consumers of a group share the partitions. Without a group, this one reads all partitions, and commits nothing. */
  readonly group?: string
  /**
   * `classic`: a member of the group assigns. `consumer`: the coordinator does (KIP-848, Kafka 4.0); with older brokers the classic
   * protocol is used. @default 'classic'
   */
  readonly protocol?: 'classic' | 'consumer'
  /** Classic groups only, in order of preference: all members must share one. @default ['cooperative-sticky'] */
  readonly assignors?: readonly AssignorName[]
  /** KIP-848 groups only: the broker's assignor. @default the broker's choice */
  readonly serverAssignor?: string
  /** A static member: its partitions wait for it while it restarts (KIP-345). Two with the same id fence each other. */
  readonly instanceId?: string
  /** Where this process is: it then reads from replicas near by (KIP-392), and is assigned what is near (KIP-881). */
  readonly rack?: string
  /**
   * Where to begin when the group has committed nothing, and where to go on when the log no longer has the offset. `fail` rejects; a
   * partition that is added to a topic later is read from its start in any case but `fail`. @default 'earliest'
   */
  readonly onReset?: ResetPolicy
  /** `read_committed` leaves out what transactions have not committed. @default 'read_committed' */
  readonly isolation?: 'read_committed' | 'read_uncommitted'
  /** Without a heartbeat for so long, the group gives this member's partitions to others. In milliseconds. @default 45_000 */
  readonly sessionTimeoutMs?: number
  /** At most a third of the session. In milliseconds; KIP-848 brokers say how often. @default 3_000 */
  readonly heartbeatIntervalMs?: number
  /** How long the group waits for its members to join again. In milliseconds. @default 60_000 */
  readonly rebalanceTimeoutMs?: number
  /** How long what runs may take when its partition is taken away. Must end, with two heartbeats, within `rebalanceTimeoutMs`. @default 20_000 */
  readonly revokeTimeoutMs?: number
  /**
   * Whether what is finished is committed in the background, when a partition goes to another member, and by `close`. Without it, only
   * `commit` does, or the transactions of a producer that are given the offsets. @default true
   */
  readonly autoCommit?: boolean
  /** Between commits of what is finished. In milliseconds. @default 1_000 */
  readonly commitIntervalMs?: number
  /** How long brokers wait for records. In milliseconds. @default 500 */
  readonly maxWaitMs?: number
  /** What brokers wait for. @default 1 */
  readonly minBytes?: number
  /** Of one answer. @default 16_777_216 (16 MiB) */
  readonly maxBytes?: number
  /** Of one partition in one answer. @default 1_048_576 (1 MiB) */
  readonly maxPartitionBytes?: number
  /** Fetched and not delivered, of all partitions. One batch that is larger comes in any case. @default 67_108_864 (64 MiB) */
  readonly maxBufferedBytes?: number
  /** Records that are delivered together, but for a batch that has more. @default 1_000 */
  readonly maxBatchRecords?: number
  /** @default true */
  readonly checkCrc?: boolean
}

export interface ConsumerSettings {
  readonly topics: readonly (string | RegExp)[]
  readonly group: (GroupSettings & { readonly protocol: 'classic' | 'consumer' }) | undefined
  readonly assignors: readonly Assignor[]
  readonly serverAssignor: string | null
  readonly onReset: ResetPolicy
  readonly autoCommit: boolean
  readonly revokeTimeoutMs: number
  readonly maxBatchRecords: number
  readonly fetch: FetchSettings
  readonly read: ReadRecordsOptions
}

const ASSIGNORS: Readonly<Record<AssignorName, Assignor>> = {
  range: rangeAssignor,
  roundrobin: roundRobinAssignor,
  sticky: stickyAssignor,
  'cooperative-sticky': cooperativeStickyAssignor,
}

/** With the defaults filled in. Throws if they contradict each other. */
export function consumerSettingsOf(options: ConsumerOptions): ConsumerSettings {
  const { topics, group, rack, isolation = 'read_committed' } = options
  const sessionTimeoutMs = options.sessionTimeoutMs ?? 45_000
  const heartbeatIntervalMs = options.heartbeatIntervalMs ?? Math.min(3_000, sessionTimeoutMs / 3)
  const rebalanceTimeoutMs = options.rebalanceTimeoutMs ?? 60_000
  const revokeTimeoutMs = options.revokeTimeoutMs ?? Math.min(20_000, rebalanceTimeoutMs / 3)
  if (topics.length === 0) throw refused('topics is empty: there is nothing to read')
  if (group === '') throw refused('group is empty; leave it out to read without a group')
  if (heartbeatIntervalMs > sessionTimeoutMs / 3) {
    throw refused(
      `heartbeatIntervalMs ${heartbeatIntervalMs} is more than a third of sessionTimeoutMs ${sessionTimeoutMs}`,
    )
  }
  if (revokeTimeoutMs + 2 * heartbeatIntervalMs >= rebalanceTimeoutMs) {
    throw refused(
      `revokeTimeoutMs ${revokeTimeoutMs} and two heartbeats must end within rebalanceTimeoutMs ${rebalanceTimeoutMs}`,
    )
  }
  return {
    topics,
    group:
      group === undefined
        ? undefined
        : {
            groupId: group,
            protocol: options.protocol ?? 'classic',
            instanceId: options.instanceId ?? null,
            rack: rack ?? null,
            sessionTimeoutMs,
            heartbeatIntervalMs,
            rebalanceTimeoutMs,
            commitIntervalMs: options.commitIntervalMs ?? 1_000,
          },
    assignors: (options.assignors ?? ['cooperative-sticky']).map((name) => ASSIGNORS[name]),
    serverAssignor: options.serverAssignor ?? null,
    onReset: options.onReset ?? 'earliest',
    autoCommit: options.autoCommit ?? true,
    revokeTimeoutMs,
    maxBatchRecords: options.maxBatchRecords ?? 1_000,
    fetch: {
      maxWaitMs: options.maxWaitMs ?? 500,
      minBytes: options.minBytes ?? 1,
      maxBytes: options.maxBytes ?? 16 * 1024 * 1024,
      maxPartitionBytes: options.maxPartitionBytes ?? 1024 * 1024,
      maxBufferedBytes: options.maxBufferedBytes ?? 64 * 1024 * 1024,
      isCommitted: isolation === 'read_committed',
      rack: rack ?? '',
    },
    read: { checkCrc: options.checkCrc ?? true },
  }
}

function refused(message: string): KafkaError {
  return new KafkaError(message, { code: 'INVALID_OPTION', action: 'fatal', outcome: 'not-sent' })
}

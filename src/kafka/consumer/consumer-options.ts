import { kindOf, listed, MAX_MS, OptionsReader, shown } from '../options-reader.ts'
import type { KnownNames, NumberRanges } from '../options-reader.ts'
import type { ReadRecordsOptions } from '../records/read-records.ts'
import type { Assignor } from './assignors/assignor.ts'
import { rangeAssignor } from './assignors/range.ts'
import { roundRobinAssignor } from './assignors/round-robin.ts'
import { cooperativeStickyAssignor, stickyAssignor } from './assignors/sticky.ts'
import type { FetchSettings } from './fetch/fetch-settings.ts'
import type { CommittedPosition, ResetPolicy, StartPosition } from './fetch/position.ts'
import type { GroupSettings } from './group-session.ts'
import type { TopicPartition } from './partition-set.ts'

/** Assignors of classic groups. They assign as Java's do. */
export type AssignorName = 'range' | 'roundrobin' | 'sticky' | 'cooperative-sticky'

/** A partition that a consumer begins with. */
export interface StartingPartition extends TopicPartition {
  /** Another one after the topic was made again; undefined on brokers before 2.8. */
  readonly topicId: string | undefined
}

/** What {@link KafkaClient.consumer} takes. Only `topics` is required. */
export interface ConsumerOptions {
  /**
   * Names of topics, and patterns: all topics whose whole name matches are read, including those that are created
   * later. `subscribe` changes them. May be empty only without a group, for `assign`.
   */
  readonly topics: readonly (string | RegExp)[]
  /**
   * The name of the group, whose consumers share the partitions. @default none: this consumer reads all partitions,
   * and commits nothing
   */
  readonly group?: string | undefined
  /**
   * `classic`: a member of the group assigns partitions. `consumer`: the coordinator does (KIP-848, Kafka 4.0); with
   * older brokers, the classic protocol is used. @default 'classic'
   */
  readonly protocol?: 'classic' | 'consumer' | undefined
  /**
   * Classic groups only: assignors in order of preference. All members must have one in common. @default
   * ['cooperative-sticky']
   */
  readonly assignors?: readonly AssignorName[] | undefined
  /** KIP-848 groups only: the name of the broker's assignor. @default the broker's choice */
  readonly serverAssignor?: string | undefined
  /**
   * Makes it a static member, whose partitions wait for it while it restarts (KIP-345). If two members have the same
   * id, one of them ends with an error. @default none
   */
  readonly instanceId?: string | undefined
  /**
   * The rack or zone of this process: it reads from replicas in it (KIP-392) and is assigned partitions in it
   * (KIP-881). @default the client's
   */
  readonly rack?: string | undefined
  /**
   * Where to start if the group has committed nothing, and where to continue if the log no longer has the offset.
   * `fail` rejects. `{ timestampMs }` is the first record of that time or later. Partitions that are added to a topic
   * later are read from their start, except with `fail`. @default 'earliest'
   */
  readonly onReset?: ResetPolicy | undefined
  /**
   * Decides where to start reading a partition that this consumer gets, given what the group has committed for it:
   * returns an offset, a policy, or undefined for the committed offset (without one, `onReset` applies; a recreated
   * topic is read from its start). If it throws, the partition is not read until it is resumed. @default none
   */
  readonly startAt?:
    ((partition: StartingPartition, committed: CommittedPosition | undefined) => StartPosition | undefined) | undefined
  /** `read_committed` leaves out what transactions have not committed. @default 'read_committed' */
  readonly isolation?: 'read_committed' | 'read_uncommitted' | undefined
  /**
   * If the coordinator gets no heartbeat for this time, the group gives this member's partitions to others. In
   * milliseconds. @default 45_000
   */
  readonly sessionTimeoutMs?: number | undefined
  /**
   * Time between heartbeats, at most a third of the session. In milliseconds. In KIP-848 groups, the broker decides.
   * @default 3_000, or a third of the session if less
   */
  readonly heartbeatIntervalMs?: number | undefined
  /**
   * How long the group waits for its members to rejoin. Must be more than two heartbeats. In milliseconds. @default
   * 60_000
   */
  readonly rebalanceTimeoutMs?: number | undefined
  /**
   * How long running handlers may take when their partition is taken away or the consumer is closed. Must be shorter
   * than `rebalanceTimeoutMs` by two heartbeats. In milliseconds. @default 20_000, or a third of `rebalanceTimeoutMs`
   * if less
   */
  readonly revokeTimeoutMs?: number | undefined
  /**
   * Whether finished records are committed in the background, when a partition moves to another member, and by
   * `close`. If false, only `commit`, `commitOffsets` and the transactions of a producer commit. @default true
   */
  readonly autoCommit?: boolean | undefined
  /** Time between background commits. In milliseconds. @default 1_000 */
  readonly commitIntervalMs?: number | undefined
  /** How long brokers wait for records. In milliseconds. @default 500 */
  readonly maxWaitMs?: number | undefined
  /** How many bytes brokers wait for. More than 1 trades latency for fewer, larger responses. @default 1 */
  readonly minBytes?: number | undefined
  /** Maximum size of one response. @default 16_777_216 (16 MiB) */
  readonly maxBytes?: number | undefined
  /** Maximum size of one partition in one response. @default 1_048_576 (1 MiB) */
  readonly maxPartitionBytes?: number | undefined
  /**
   * Memory for records that are fetched and not delivered yet, over all partitions. A single larger batch is still
   * read. @default 67_108_864 (64 MiB)
   */
  readonly maxBufferedBytes?: number | undefined
  /** How many records are delivered together. A larger batch of the log is not split. @default 1_000 */
  readonly maxBatchRecords?: number | undefined
  /** Whether checksums of batches are verified. A wrong one is an error of its partition. @default true */
  readonly checkCrc?: boolean | undefined
}

export interface ConsumerSettings {
  readonly topics: readonly (string | RegExp)[]
  readonly group: (GroupSettings & { readonly protocol: 'classic' | 'consumer' }) | undefined
  readonly assignors: readonly Assignor[]
  readonly serverAssignor: string | null
  readonly onReset: ResetPolicy
  readonly startAt: NonNullable<ConsumerOptions['startAt']>
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

const NUMBERS = {
  sessionTimeoutMs: [1, MAX_MS, 45_000],
  rebalanceTimeoutMs: [1, MAX_MS, 60_000],
  commitIntervalMs: [1, MAX_MS, 1_000],
  maxWaitMs: [0, MAX_MS, 500],
  minBytes: [0, MAX_MS, 1],
  maxBytes: [1, MAX_MS, 16 * 1024 * 1024],
  maxPartitionBytes: [1, MAX_MS, 1024 * 1024],
  maxBufferedBytes: [1, Number.MAX_SAFE_INTEGER, 64 * 1024 * 1024],
  maxBatchRecords: [1, MAX_MS, 1_000],
} as const satisfies NumberRanges

/** Numbers whose range follows from others. */
const DERIVED = ['heartbeatIntervalMs', 'revokeTimeoutMs']

/** What has no use without a group. */
const OF_GROUPS = ['protocol', 'assignors', 'serverAssignor', 'instanceId']

const RUN = 'it is an option of run'

const KNOWN: KnownNames = {
  names: [
    'topics',
    'group',
    'rack',
    'onReset',
    'startAt',
    'isolation',
    'autoCommit',
    'checkCrc',
    ...OF_GROUPS,
    ...DERIVED,
  ],
  numbers: NUMBERS,
  renamed: {
    groupId: 'write group',
    topic: 'write topics, an array',
    fromBeginning: "write onReset: 'earliest', which is the default, or 'latest'",
    'auto.offset.reset': 'write onReset',
    autoOffsetReset: 'write onReset',
    groupInstanceId: 'write instanceId',
    groupProtocol: 'write protocol',
    partitionAssigners: 'write assignors',
    partitionAssignors: 'write assignors',
    rackId: 'write rack',
    sessionTimeout: 'write sessionTimeoutMs',
    rebalanceTimeout: 'write rebalanceTimeoutMs',
    heartbeatInterval: 'write heartbeatIntervalMs',
    autoCommitInterval: 'write commitIntervalMs',
    maxWaitTimeInMs: 'write maxWaitMs',
    maxBytesPerPartition: 'write maxPartitionBytes',
    readUncommitted: "write isolation: 'read_uncommitted'",
    isolationLevel: 'write isolation',
    metadataMaxAge: 'it is metadataMaxAgeMs of createClient',
    allowAutoTopicCreation: 'it is autoCreateTopics of createClient',
    retry: 'what may pass is repeated by itself, with the pauses of backoff of createClient',
    handler: RUN,
    concurrency: RUN,
    orderBy: RUN,
  },
}

/** The options with their defaults. Throws an {@link InvalidOptionsError} with everything that is wrong with them. */
export function consumerSettingsOf(options: ConsumerOptions, clientRack?: string): ConsumerSettings {
  const reader = new OptionsReader('consumer', options, KNOWN)
  const groupId = reader.text('group', 'the name of a group')
  const topics = readTopics(reader, groupId === undefined)
  const { sessionTimeoutMs, rebalanceTimeoutMs, commitIntervalMs, maxBatchRecords, ...fetch } = reader.numbers(NUMBERS)
  const heartbeat = [1, Math.floor(sessionTimeoutMs / 3), Math.min(3_000, Math.floor(sessionTimeoutMs / 3))] as const
  const heartbeatIntervalMs = reader.number('heartbeatIntervalMs', heartbeat)
  const longest = Math.max(0, rebalanceTimeoutMs - 2 * heartbeatIntervalMs - 1)
  if (longest === 0) {
    const least = 2 * heartbeatIntervalMs + 2
    const remedy = `give more than two heartbeats, ${least} or more, or a shorter heartbeatIntervalMs`
    reader.problem('rebalanceTimeoutMs', `is ${rebalanceTimeoutMs}: ${remedy}`)
  }
  const byDefault = Math.min(20_000, Math.floor(rebalanceTimeoutMs / 3), longest)
  const revokeTimeoutMs = reader.number('revokeTimeoutMs', [0, longest, byDefault])
  const rack = reader.text('rack', 'the name of a rack or zone') ?? clientRack
  const isolation = reader.oneOf('isolation', ['read_committed', 'read_uncommitted'], 'read_committed')
  const group = {
    groupId: groupId ?? '',
    protocol: reader.oneOf('protocol', ['classic', 'consumer'], 'classic'),
    instanceId: reader.text('instanceId', 'a name that no other member has') ?? null,
    rack: rack ?? null,
    sessionTimeoutMs,
    heartbeatIntervalMs,
    rebalanceTimeoutMs,
    commitIntervalMs,
  }
  const settings: ConsumerSettings = {
    topics,
    group: groupId === undefined ? undefined : group,
    assignors: readAssignors(reader),
    serverAssignor: reader.text('serverAssignor', "the name of one of the broker's assignors") ?? null,
    onReset: readReset(reader),
    startAt: (reader.raw('startAt') as ConsumerOptions['startAt']) ?? (() => undefined),
    autoCommit: reader.boolean('autoCommit', true),
    revokeTimeoutMs,
    maxBatchRecords,
    fetch: { ...fetch, isCommitted: isolation === 'read_committed', rack: rack ?? '' },
    read: { checkCrc: reader.boolean('checkCrc', true) },
  }
  for (const name of OF_GROUPS) {
    if (groupId === undefined && reader.has(name)) {
      reader.problem(name, 'has no use without group: give group, or leave it out')
    }
  }
  reader.callable('startAt', 'a function of a partition and what is committed for it')
  if (reader.has('serverAssignor') && group.protocol === 'classic') {
    const problem = "is for the protocol 'consumer': with 'classic' a member assigns; give assignors"
    reader.problem('serverAssignor', problem)
  }
  if (reader.has('assignors') && group.protocol === 'consumer') {
    reader.problem(
      'assignors',
      "is for the protocol 'classic': with 'consumer' the broker assigns; give serverAssignor",
    )
  }
  reader.done()
  return settings
}

/** Topics of consumers and of share consumers. `mayBeEmpty`: partitions may be assigned later. */
export function readTopics(reader: OptionsReader, mayBeEmpty = false): readonly (string | RegExp)[] {
  const topics = reader.raw('topics')
  if (!Array.isArray(topics) || (topics.length === 0 && !mayBeEmpty)) {
    reader.problem('topics', `is ${kindOf(topics)}: give an array of names and patterns, ['orders'] for example`)
    return []
  }
  for (const [index, topic] of topics.entries()) {
    if (topic instanceof RegExp || (typeof topic === 'string' && topic !== '')) continue
    reader.problem(`topics[${index}]`, `is ${kindOf(topic)}: give the name of a topic, or a RegExp`)
  }
  return topics
}

/** Topics that a consumer is to read from now on. Throws an {@link InvalidOptionsError} if they can't be read. */
export function topicsOf(topics: unknown, mayBeEmpty: boolean): readonly (string | RegExp)[] {
  const reader = new OptionsReader('subscribe', { topics }, { names: ['topics'] })
  const read = readTopics(reader, mayBeEmpty)
  reader.done()
  return read
}

function readAssignors(reader: OptionsReader): readonly Assignor[] {
  const names = reader.raw('assignors') ?? ['cooperative-sticky']
  const known = Object.keys(ASSIGNORS)
  if (!Array.isArray(names) || names.length === 0) {
    reader.problem('assignors', `is ${kindOf(names)}: give an array with one or more of ${known.join(', ')}`)
    return []
  }
  return names.flatMap((name: AssignorName, index) => {
    if (Object.hasOwn(ASSIGNORS, name)) return ASSIGNORS[name]
    reader.problem(`assignors[${index}]`, `is ${shown(name)}: give ${listed(known)}`)
    return []
  })
}

function readReset(reader: OptionsReader): ResetPolicy {
  const given = reader.raw('onReset')
  if (typeof given !== 'object' || given === null) {
    return reader.oneOf('onReset', ['earliest', 'latest', 'fail'], 'earliest')
  }
  const nested = reader.nested('onReset', { names: ['timestampMs'] })
  if (nested?.has('timestampMs') === false) nested.problem('timestampMs', 'is missing: give milliseconds since 1970')
  return { timestampMs: nested?.number('timestampMs', [0, Number.MAX_SAFE_INTEGER, 0]) ?? 0 }
}

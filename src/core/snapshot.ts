import type { ResolvedConsumeOptions, ResolvedRetry } from './consume/consume-options.ts'
import type { ConsumerStats } from './consume/consumer-stats.ts'
import type { BusState, ConsumerHealth, ExtensionHealth } from './health.ts'
import { plain } from './util/plain.ts'
import type { PublishCount, PublishCounts } from './publish/publish-counts.ts'
import type { Capabilities, Transport, TransportHealth } from './transport.ts'

/** One transport of a snapshot. */
export interface TransportSnapshot extends TransportHealth {
  readonly name: string
  readonly system: string
  readonly capabilities: Capabilities
}

/** One consumer of a snapshot. */
export interface ConsumerSnapshot extends ConsumerHealth {
  /** Names this consumer among the members of its group. */
  readonly consumerId: string
  readonly stats: ConsumerStats
  /** As they apply, defaults included. Without functions, middleware and `native`. */
  readonly options: Pick<
    ResolvedConsumeOptions,
    | 'broadcast'
    | 'concurrency'
    | 'order'
    | 'prefetch'
    | 'prefetchBytes'
    | 'deadLetter'
    | 'onDeadLetter'
    | 'timeoutMs'
    | 'abandonAfterMs'
    | 'stalledAfterMs'
    | 'batch'
  > & { readonly retry: Omit<ResolvedRetry, 'retryIf'> }
}

/** What was published to one topic. */
export interface PublishedTopicSnapshot extends PublishCount {
  readonly topic: string
  /** Name of the transport. */
  readonly transport: string
}

/** One extension of a snapshot. */
export interface ExtensionSnapshot extends ExtensionHealth {
  readonly name: string
  /** What its `snapshot()` returned. */
  readonly data?: unknown
  /** Why there is no `data`. */
  readonly error?: string | undefined
}

/** State of a bus at one moment, as plain data: `JSON.parse(JSON.stringify(snapshot))` equals it. */
export interface BusSnapshot {
  readonly service: string
  /** Unique to this bus in this process. */
  readonly instanceId: string
  readonly state: BusState
  /** When `start()` succeeded, in milliseconds since 1970. Absent before. */
  readonly startedAt?: number | undefined
  readonly transports: readonly TransportSnapshot[]
  readonly consumers: readonly ConsumerSnapshot[]
  /** What was published, by topic. Only the first 256 topics of each transport are listed; `others` has the sum of the rest. */
  readonly published: { readonly topics: readonly PublishedTopicSnapshot[]; readonly others: PublishCount }
  /** In order of use. */
  readonly extensions: readonly ExtensionSnapshot[]
}

/** The consumer of a snapshot. */
interface SnapshotConsumer {
  readonly id: string
  readonly options: ResolvedConsumeOptions
  health(): ConsumerHealth
  stats(): ConsumerStats
}

/** What a snapshot is made of. */
export interface SnapshotParts {
  readonly bus: Pick<BusSnapshot, 'service' | 'instanceId' | 'state' | 'startedAt'>
  readonly transports: ReadonlyMap<string, Transport>
  readonly consumers: readonly SnapshotConsumer[]
  /** By transport. */
  readonly published: ReadonlyMap<string, PublishCounts>
  readonly extensions: readonly ExtensionSnapshot[]
}

export function busSnapshot({ bus, transports, consumers, published, extensions }: SnapshotParts): BusSnapshot {
  return plain({
    ...bus,
    transports: [...transports].map(([name, transport]) => {
      const { connected, detail } = transport.health()
      return { name, system: transport.system, connected, detail, capabilities: transport.capabilities }
    }),
    consumers: consumers.map(consumerSnapshot),
    published: publishedSnapshot(published),
    extensions,
  })
}

function consumerSnapshot(consumer: SnapshotConsumer): ConsumerSnapshot {
  const { options } = consumer
  const { retryIf: _, ...retry } = options.retry
  return {
    ...consumer.health(),
    consumerId: consumer.id,
    stats: consumer.stats(),
    options: {
      broadcast: options.broadcast,
      concurrency: options.concurrency,
      order: options.order,
      prefetch: options.prefetch,
      prefetchBytes: options.prefetchBytes,
      retry,
      deadLetter: options.deadLetter,
      onDeadLetter: options.onDeadLetter,
      timeoutMs: options.timeoutMs,
      abandonAfterMs: options.abandonAfterMs,
      stalledAfterMs: options.stalledAfterMs,
      batch: options.batch,
    },
  }
}

function publishedSnapshot(published: ReadonlyMap<string, PublishCounts>): BusSnapshot['published'] {
  const topics: PublishedTopicSnapshot[] = []
  const others = { confirmed: 0, failed: 0 }
  for (const [transport, counts] of published) {
    for (const [topic, count] of counts.topics) topics.push({ transport, topic, ...count })
    others.confirmed += counts.others.confirmed
    others.failed += counts.others.failed
  }
  return { topics, others }
}

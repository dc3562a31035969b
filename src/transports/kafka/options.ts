import type { EnvelopeForm } from '../../core/compact-envelope.ts'
import type { BackoffLimits } from '../../core/util/backoff.ts'
import type {
  AssignorName,
  ClientOptions,
  Codec,
  ConsumerOptions,
  KafkaClient,
  Partitioner,
  ProducerOptions,
} from '../../kafka/index.ts'

/** Ways to log in with a user and password. */
export type KafkaMechanism = 'plain' | 'scram-sha-256' | 'scram-sha-512'

/** How consumers fetch. Sizes in bytes, times in ms. */
export interface KafkaFetchOptions {
  /** Size of one answer of a broker. Default 16,777,216 (16 MiB). */
  readonly maxBytes?: number | undefined
  /** Size of one partition in one answer. Default 1,048,576 (1 MiB). */
  readonly maxPartitionBytes?: number | undefined
  /** Memory for what was fetched and not looked at, of all partitions of a group in this process. Default 67,108,864 (64 MiB). */
  readonly maxBufferedBytes?: number | undefined
  /** How long a broker waits for messages, in ms. Default 500. */
  readonly maxWaitMs?: number | undefined
  /** What a broker waits for, in bytes: more than 1 trades latency for fewer answers. Default 1. */
  readonly minBytes?: number | undefined
}

/** Options of Busbar's Kafka client, merged over what the transport sets, at your own risk. */
export interface KafkaNativeOptions {
  /** Of `createClient`. */
  readonly client?: Partial<ClientOptions> | undefined
  /** Of the producer. */
  readonly producer?: ProducerOptions | undefined
  /** Of every consumer. */
  readonly consumer?: Partial<ConsumerOptions> | undefined
}

/** Options of `kafka`. */
export interface KafkaOptions {
  /**
   * `kafka://` or `kafkas://` (TLS) with one or more brokers: `kafka://user:secret@a:9092,b:9092`. Parameters are options; one given
   * beside the URL wins: `?group=billing&fetch.maxWaitMs=100`. Default `kafka://127.0.0.1:9092`.
   */
  readonly url?: string | undefined
  /** `host:port` of brokers, instead of a URL; one that works is enough. */
  readonly brokers?: readonly string[] | undefined
  /** A client of your own (`createClient` of `busbar/kafka/client`), in place of the connection's options. Busbar does not close it. */
  readonly client?: KafkaClient | undefined
  /** Client id, shown in the brokers' logs, metrics and quotas. Default: the bus's service. */
  readonly connectionName?: string | undefined
  /** User to log in as (SASL), instead of one in the URL. */
  readonly username?: string | undefined
  /** Password of `username`. */
  readonly password?: string | undefined
  /** How to log in with `username`. Default `plain`. */
  readonly mechanism?: KafkaMechanism | undefined
  /** Other ways to log in, as the client takes them: OAUTHBEARER, or credentials from a function. */
  readonly sasl?: ClientOptions['sasl']
  /** `true`: TLS with the certificates that Node trusts; an object: options of `tls.connect`. Default: TLS with `kafkas://`. */
  readonly tls?: ClientOptions['tls']
  /** Where this process is: it reads from replicas near by, and is assigned what is near. Default: none. */
  readonly rack?: string | undefined
  /** Maximum duration of one attempt to connect, in ms. Default 10,000. */
  readonly connectTimeoutMs?: number | undefined
  /** A broker that leaves a request unanswered for so long has its connection closed, in ms. Default 30,000. */
  readonly requestTimeoutMs?: number | undefined
  /** Pauses between attempts to connect, in ms: doubled from `minMs` up to `maxMs`. Default 50 to 1,000. */
  readonly reconnect?: { readonly minMs?: number | undefined; readonly maxMs?: number | undefined } | undefined
  /** How soon topics that others have made are found by patterns, in ms. Default 300,000 (5 minutes). */
  readonly metadataMaxAgeMs?: number | undefined

  /**
   * What a confirmed publish means. `all`: all replicas in sync have the message, once. `1`: its leader has it. `0`: nothing is known.
   * Default `all`.
   */
  readonly acks?: 'all' | 1 | 0 | undefined
  /** How long a broker waits for its replicas, in ms. Default 15,000, or half of `requestTimeoutMs` if that is less. */
  readonly ackTimeoutMs?: number | undefined
  /**
   * After this time the broker ends a transaction whose process has died, in ms; it looks every 10 s. Until then, readers wait behind its
   * messages, and the next owner of its partitions waits too. Default 10,000.
   */
  readonly transactionTimeoutMs?: number | undefined
  /**
   * Where transactions of Kafka are used. Default: where they are asked for, which is `bus.transaction` and consumers with `guarantee:
   * 'exactly-once'` or `publishOnAck`. `true` (experimental, not yet run through the conformance suite): every consumer also stores a dead letter and the commit of its source in one transaction. `false`:
   * nowhere, for brokers before 2.5, or without the rights; what needs them is refused.
   */
  readonly transactions?: boolean | undefined
  /** Compresses batches; needs no package. Default `none`. */
  readonly compression?: Codec | undefined
  /** How long a batch waits for more messages, in ms. Default 0: messages of one turn of the event loop go together. */
  readonly lingerMs?: number | undefined
  /** Chooses the partition. Default: by the key, as Java's clients do; messages without a key are spread. */
  readonly partitioner?: Partitioner | undefined
  /** Maximum size of body plus headers, in bytes. `max.message.bytes` of topics must be 64 KiB larger; above the default, topics that Busbar creates are. Default 1,000,000. */
  readonly maxMessageBytes?: number | undefined
  /**
   * How attributes of messages are written. `compact` leaves out what readers derive; `cloudevents` writes all of them, for programs
   * without Busbar. Both are always understood. Default `compact`.
   */
  readonly envelope?: EnvelopeForm | undefined

  /** Makes topics that are missing when they are first published to or consumed. Default true. */
  readonly createTopics?: boolean | undefined
  /**
   * Number of partitions of topics that are made here: a number, or one by pattern (`{ 'audit.>': 1, '>': 6 }`, the first that matches).
   * More members of a group than that stand by. Default 6.
   */
  readonly partitions?: number | Readonly<Record<string, number>> | undefined
  /** Copies of each partition of topics that are made here. Default: the brokers' `default.replication.factor`. */
  readonly replicationFactor?: number | undefined
  /** Configuration of topics that are made here: `{ 'retention.ms': '604800000' }`. Default: that of the brokers. */
  readonly topicConfigs?: Readonly<Record<string, string>> | undefined

  /**
   * Whether messages that wait for a retry or for their time move to a topic of their group, `<topic>.<group>.retry`, when the commit of
   * their partition has little room for them. They move in transactions, which need replicas (see the page). Without it, some 330 long
   * retries hold up a partition. Default: true for topics with several replicas.
   */
  readonly retryTopics?: boolean | undefined

  /** Group at the broker for consumers of the bus's own group (its `service`). Other groups have their own names. Default: the service. */
  readonly group?: string | undefined
  /** `classic`, or `consumer`: the brokers assign partitions (KIP-848, Kafka 4.0). All members should have the same. Default `classic`. */
  readonly protocol?: 'classic' | 'consumer' | undefined
  /** How a classic group assigns partitions, in order of preference. Default `['cooperative-sticky']`. */
  readonly assignors?: readonly AssignorName[] | undefined
  /** Makes this process a static member: its partitions wait while it restarts, for `sessionTimeoutMs` at most. Default: none. */
  readonly instanceId?: string | undefined
  /** Without a heartbeat for so long, a process loses its partitions to other members, in ms. Default 45,000. */
  readonly sessionTimeoutMs?: number | undefined
  /** Interval between heartbeats, in ms; at most a third of the session. Default 3,000, or a third of the session if less. */
  readonly heartbeatMs?: number | undefined
  /** How long a group waits for its members when partitions move, in ms. Default 60,000. */
  readonly rebalanceTimeoutMs?: number | undefined
  /**
   * How long handlers may take to finish before their partition goes to another member, in ms; with two heartbeats, less than
   * `rebalanceTimeoutMs`. The messages of the others are handled again there. Default 20,000, or a third of `rebalanceTimeoutMs` if less.
   */
  readonly revokeTimeoutMs?: number | undefined
  /** Minimum interval between commits of a group, in ms: what a crash may cause to be done again. Default 50. */
  readonly commitIntervalMs?: number | undefined
  /** How consumers fetch. */
  readonly fetch?: KafkaFetchOptions | undefined
  /** Options of the client, at your own risk. */
  readonly native?: KafkaNativeOptions | undefined
}

/** Partitions of topics that match. */
export interface PartitionRule {
  readonly pattern: string
  readonly count: number
}

export interface ResolvedKafkaOptions {
  /** Undefined with a client of the user's own. */
  readonly connection: Omit<ClientOptions, 'hooks' | 'clientId'> | undefined
  readonly client: KafkaClient | undefined
  readonly connectionName: string | undefined
  readonly producer: ProducerOptions
  readonly transactionTimeoutMs: number
  readonly transactions: boolean | undefined
  readonly consumer: Omit<ConsumerOptions, 'topics' | 'group' | 'startAt'>
  /** Without a group. */
  readonly reader: Omit<ConsumerOptions, 'topics' | 'group' | 'startAt'>
  readonly reconnect: BackoffLimits
  readonly maxMessageBytes: number
  readonly envelope: EnvelopeForm
  readonly createTopics: boolean
  readonly partitions: readonly PartitionRule[]
  readonly replicationFactor: number | undefined
  readonly topicConfigs: Readonly<Record<string, string>>
  /** Undefined: for topics with several replicas. */
  readonly retryTopics: boolean | undefined
  readonly group: string | undefined
  readonly revokeTimeoutMs: number
  readonly commitIntervalMs: number
}

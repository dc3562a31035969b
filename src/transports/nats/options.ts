import type { ConnectionOptions, NatsConnection } from '@nats-io/transport-node'
import type { EnvelopeForm } from '../../core/compact-envelope.ts'
import type { BackoffLimits } from '../../core/util/backoff.ts'

/** The streams of a bus. Applies when they are created. */
export interface NatsStreamOptions {
  /**
   * Name of the stream with the messages; the others are called `<name>_dlq`, `<name>_state` and `<name>_leases`. Letters,
   * digits, `_`, `-`. Default `busbar`; with `bind`, `busbar-<bind>`.
   */
  readonly name?: string | undefined
  /**
   * Uses a stream that is there already, of other programs, by its own subjects: the topic `orders.placed` is the subject
   * `orders.placed` there. Busbar does not create or change it; dead letters and positions are in streams of its own, which
   * `name` names. It must keep messages for all (`retention: limits`). Keys are kept in order by one member at a
   * time; `order: 'none'` lets all members work. Default: none.
   */
  readonly bind?: string | undefined
  /** First tokens of all subjects: `<prefix>.<partition>.<topic>`. Default: the name of the stream. */
  readonly subjectPrefix?: string | undefined
  /** Where the server keeps the streams. Default `file`. */
  readonly storage?: 'file' | 'memory' | undefined
  /** Number of copies in a cluster. Default 1; use 3 in production. */
  readonly replicas?: number | undefined
  /** How long the server remembers published ids to refuse duplicates, in ms. Default 120,000. */
  readonly duplicateWindowMs?: number | undefined
}

/** Limits beyond which messages are deleted, handled or not. They apply to all topics of a stream together, when it is created. */
export interface NatsRetentionOptions {
  /** How long messages are kept, in ms; `false` keeps them. Default 604,800,000 (7 days). */
  readonly maxAgeMs?: number | false | undefined
  /** Maximum size of the stream, in bytes; beyond it the oldest messages are deleted. Default: no limit but the server's. */
  readonly maxBytes?: number | undefined
  /** Maximum number of messages; beyond it the oldest are deleted. Default: no limit. */
  readonly maxMessages?: number | undefined
  /** How long dead letters are kept, in ms. Default: forever. */
  readonly deadLetterMaxAgeMs?: number | undefined
  /**
   * Topics, or patterns, whose messages are kept for less time than the others, or forever: `{ 'sessions.>': { maxAgeMs:
   * 3_600_000 } }`. The first one that matches counts. Each message that this process publishes carries its age (`Nats-TTL`),
   * so that all publishers of a topic need the same. Needs nats-server 2.11. Default: none.
   */
  readonly topics?: Readonly<Record<string, NatsTopicRetention>> | undefined
}

/** How long the messages of a topic are kept. */
export interface NatsTopicRetention {
  /** In ms, rounded up to whole seconds; no more than that of the stream. `false` keeps them forever. */
  readonly maxAgeMs: number | false
}

/** Certificates for TLS. */
export interface NatsTlsOptions {
  /** CA certificates (PEM). */
  readonly ca?: string | undefined
  /** Client certificate (PEM). */
  readonly cert?: string | undefined
  /** Key of the client certificate (PEM). */
  readonly key?: string | undefined
  /** Path of a file with CA certificates. */
  readonly caFile?: string | undefined
  /** Path of a file with the client certificate. */
  readonly certFile?: string | undefined
  /** Path of a file with the key of the client certificate. */
  readonly keyFile?: string | undefined
  /** False accepts any certificate: for tests only. Default true. */
  readonly rejectUnauthorized?: boolean | undefined
  /** The server expects the TLS handshake first, before its greeting. Default false. */
  readonly handshakeFirst?: boolean | undefined
}

/** Settings of the client and of JetStream, at your own risk. */
export interface NatsNativeOptions {
  /** Passed to `connect()` of `@nats-io/transport-node`; overrides Busbar's values. */
  readonly connect?: ConnectionOptions | undefined
  /** Merged into the configuration of the stream when it is created (JetStream's own field names). */
  readonly stream?: Readonly<Record<string, unknown>> | undefined
  /** Merged into the configuration of every consumer when it is created. */
  readonly consumer?: Readonly<Record<string, unknown>> | undefined
}

/** Options of `nats`. */
export interface NatsOptions {
  /**
   * `nats://` or `tls://`, several as an array or separated by commas: `nats://user:secret@a:4222,b:4222`; a user
   * without a password is a token. Parameters are options; an option given beside the URL wins:
   * `?jetstream=false&reconnect.maxMs=1000`. Default `nats://127.0.0.1:4222`.
   */
  readonly url?: string | readonly string[] | undefined
  /**
   * True stores messages with JetStream: durable, at least once, in order by key. False is core NATS: at most once,
   * nothing is stored. Fixed here, because the capabilities differ; a server without JetStream is refused when it
   * opens. Default true.
   */
  readonly jetstream?: boolean | undefined
  /** User to log in as, instead of one in the URL. */
  readonly username?: string | undefined
  /** Password of `username`. */
  readonly password?: string | undefined
  /** Token to log in with, instead of a user and password. */
  readonly token?: string | undefined
  /** Seed of an NKey (`SU…`). Together with `jwt`, it signs for that user. */
  readonly nkeySeed?: string | undefined
  /** User JWT. */
  readonly jwt?: string | undefined
  /** Text of a `.creds` file: user JWT and seed. */
  readonly credentials?: string | undefined
  /** Path of a `.creds` file; read at each connect. */
  readonly credentialsFile?: string | undefined
  /** `true`: TLS with the certificates that Node trusts; an object: your own. Default: TLS when the URL or the server asks for it. */
  readonly tls?: boolean | NatsTlsOptions | undefined
  /** A connection of your own, in place of `url` and its related options. Busbar does not close it; how it reconnects is up to you. */
  readonly client?: NatsConnection | undefined
  /** Name of the connection in the server's lists. Default: the bus's service. */
  readonly connectionName?: string | undefined
  /** Maximum duration of one attempt to connect, in ms. Default 5,000. */
  readonly connectTimeoutMs?: number | undefined
  /** Interval between pings, in ms. A connection that leaves two pings unanswered is closed. Default 5,000. */
  readonly heartbeatMs?: number | undefined
  /**
   * Pauses before reconnecting, in ms: `minMs` before the first attempt, doubled with each and jittered, up to `maxMs`.
   * Default 100 to 5,000.
   */
  readonly reconnect?: { readonly minMs?: number | undefined; readonly maxMs?: number | undefined } | undefined
  /**
   * How long after a process died or hung its unacked messages and partitions go to other members, in ms. Default
   * 10,000.
   */
  readonly leaseMs?: number | undefined
  /**
   * How long the handlers of a partition may take to finish before it goes to another member, in ms. Their messages are
   * handled again there. Default 10,000.
   */
  readonly handoverTimeoutMs?: number | undefined
  /**
   * An `ack` event means that the message will not come back: the server has confirmed the ack, or stored how far the
   * partition is handled. False does not wait for that. Default true.
   */
  readonly confirmAcks?: boolean | undefined
  /**
   * JetStream's own limit of deliveries, for messages without a key (with `order: 'none'`: for all). Beyond it the server
   * stops delivering a message, and Busbar dead-letters it when the server reports that. Default: none; the retry policy
   * of the consumer decides.
   */
  readonly maxDeliver?: number | undefined
  /**
   * Maximum number of messages without a key (with `order: 'none'`: of all) that are delivered to a group but not acked,
   * delayed ones included. Default: no limit.
   */
  readonly maxAckPending?: number | undefined
  /** Maximum number of publishes that wait for the server's answer; more wait in this process. Default 4,096. */
  readonly maxInFlight?: number | undefined
  /** JetStream domain, for leaf nodes. */
  readonly domain?: string | undefined
  /** The streams that store the bus's messages. */
  readonly stream?: NatsStreamOptions | undefined
  /**
   * Number of partitions that keys are spread over: the maximum number of a group's members that handle keyed messages
   * at once. Fixed when the stream is created. Default 8.
   */
  readonly partitions?: number | undefined
  /** When messages are deleted. */
  readonly retention?: NatsRetentionOptions | undefined
  /** Maximum size of body plus headers, in bytes. The server's `max_payload` must be 32 KiB larger. Default 1,015,808. */
  readonly maxMessageBytes?: number | undefined
  /**
   * Core NATS: maximum number of messages kept in this process while their consumer has no room; further ones are lost.
   * Default 65,536.
   */
  readonly maxCoreBacklog?: number | undefined
  /**
   * How attributes of messages are written. `compact` leaves out what readers derive, about two thirds of the headers;
   * `cloudevents` writes all of them, for programs without Busbar. Both are always understood. Default `compact`.
   */
  readonly envelope?: EnvelopeForm | undefined
  /** Settings of the client and of JetStream, at your own risk. */
  readonly native?: NatsNativeOptions | undefined
}

export interface ResolvedNatsStreamOptions {
  readonly name: string
  readonly bind: string | undefined
  readonly subjectPrefix: string
  readonly storage: 'file' | 'memory'
  readonly replicas: number
  readonly duplicateWindowMs: number
}

export interface ResolvedNatsRetentionOptions {
  readonly maxAgeMs: number | undefined
  readonly maxBytes: number | undefined
  readonly maxMessages: number | undefined
  readonly deadLetterMaxAgeMs: number | undefined
  /** In the order given; undefined: forever. */
  readonly topics: readonly { readonly pattern: string; readonly maxAgeMs: number | undefined }[]
}

export interface ResolvedNatsOptions {
  readonly servers: readonly string[]
  readonly jetstream: boolean
  readonly username: string | undefined
  readonly password: string | undefined
  readonly token: string | undefined
  readonly nkeySeed: string | undefined
  readonly jwt: string | undefined
  readonly credentials: string | undefined
  readonly credentialsFile: string | undefined
  readonly tls: NatsTlsOptions | undefined
  readonly client: NatsConnection | undefined
  readonly connectionName: string | undefined
  readonly connectTimeoutMs: number
  readonly heartbeatMs: number
  readonly reconnect: BackoffLimits
  readonly leaseMs: number
  readonly handoverTimeoutMs: number
  readonly confirmAcks: boolean
  readonly maxDeliver: number | undefined
  readonly maxAckPending: number | undefined
  readonly maxInFlight: number
  readonly domain: string | undefined
  readonly stream: ResolvedNatsStreamOptions
  readonly partitions: number
  readonly retention: ResolvedNatsRetentionOptions
  /** Settings of the stream that the user gave: one that differs causes a warning. By their paths. */
  readonly given: ReadonlySet<string>
  readonly maxMessageBytes: number
  readonly maxCoreBacklog: number
  readonly envelope: EnvelopeForm
  readonly native: NatsNativeOptions
}

/**
 * Envelope and dead-letter headers are added to what the user sends; the server's default limit for everything is 1
 * MiB.
 */
export const ENVELOPE_ROOM_BYTES = 32_768

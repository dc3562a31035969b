import type { Channel, ChannelModel, Options } from 'amqplib'
import type { ConnectionOptions as TlsOptions } from 'node:tls'
import type { EnvelopeForm } from '../../core/compact-envelope.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import type { BackoffOptions, BackoffType } from './connection/backoff.ts'

/** Options of `rabbitmq`. */
export interface RabbitMqOptions {
  /**
   * `amqp://user:password@host:5672/vhost`, or `amqps://`; its parameters are options of this object: `?partitions=8`.
   * With a list, each attempt to connect uses the next URL. A function is called for each attempt (`attempt` counts
   * from 0). Default `amqp://localhost`.
   */
  readonly url?: string | readonly string[] | ((attempt: number) => string | Promise<string>) | undefined
  /** Used instead of the credentials in the URL. A function is called at each connect, for passwords that change. */
  readonly credentials?: Credentials | (() => Credentials | Promise<Credentials>) | undefined
  /** Options of `tls.connect` (`ca`, `cert`, `key`, `servername`, ...) for an `amqps:` URL. */
  readonly tls?: TlsOptions | undefined
  /**
   * An open connection of amqplib. Busbar uses it for everything, never closes it, and does not replace it when it is
   * lost.
   */
  readonly client?: ChannelModel | undefined
  /** Makes connections in Busbar's place; called again after each loss. Busbar closes what it returns. */
  readonly connect?: ((purpose: Purpose, attempt: number) => Promise<ChannelModel>) | undefined
  /** Name of the connection in the broker's lists; its purpose is appended. Default: the bus's service. */
  readonly connectionName?: string | undefined
  /**
   * Heartbeat interval, in ms, rounded to seconds. A silent peer is given up after about two intervals. 0: no
   * heartbeats. Default 10,000.
   */
  readonly heartbeatMs?: number | undefined
  /** Maximum duration of one attempt to connect, in ms. Default 10,000. */
  readonly connectTimeoutMs?: number | undefined
  /**
   * Pauses between attempts to reconnect. The first attempt follows within 100 ms; while the broker can't be reached,
   * pauses are at most 2 s (or `minMs`). `stop`: never reconnects. Default `random-exponential`, 1,000 to 30,000 ms.
   */
  readonly reconnect?:
    | {
        readonly type?: BackoffType | undefined
        readonly minMs?: number | undefined
        readonly maxMs?: number | undefined
      }
    | undefined
  /** Topic exchange of the bus, and prefix of all other names. Default `busbar`. */
  readonly exchange?: string | undefined
  /** `auto`: quorum queues where the broker has them, otherwise classic ones. Default `auto`. */
  readonly queueType?: 'auto' | 'quorum' | 'classic' | undefined
  /**
   * Number of queues that a group with `order: 'key'` is spread over, and so the maximum number of members that work at
   * once; 1 to 32. Default 4.
   */
  readonly partitions?: number | undefined
  /**
   * `per-topic`: each topic of a group has its own `partitions` queues. `per-group`: all topics of a group share its
   * `partitions` queues, for groups with hundreds of topics; members of a group must consume the same topics then, and
   * a topic whose handlers are slow or paused can hold up the others. Consumers of patterns, with `order: 'none'` or `'strict'`,
   * `broadcast: true` or `native.queue` have their own queues anyway. A group that exists in the other form is refused.
   *
   * @default 'per-topic'
   */
  readonly queues?: 'per-topic' | 'per-group' | undefined
  /**
   * More arguments for the quorum queues that Busbar declares: of groups, dead letters, delays and its own records; `{
   * 'x-quorum-initial-group-size': 5 }`. Only what says where and how a queue is stored; for limits, use `native` of a
   * consumer, `groups`, or a policy of the broker.
   */
  readonly quorumArguments?: Readonly<Record<string, unknown>> | undefined
  /** Number of deliveries after which the broker itself dead-letters a message that is never settled. Default 1,000. */
  readonly deliveryLimit?: number | undefined
  /** Maximum size of a body, in bytes; at most the broker's `max_message_size`. Default 16 MiB. */
  readonly maxMessageBytes?: number | undefined
  /**
   * Maximum number of messages sent but not yet confirmed: for plain messages, delayed ones, and dead letters each.
   * Default 4,096.
   */
  readonly maxInFlight?: number | undefined
  /**
   * What happens to a message that no queue takes: its publish rejects, or it is dropped and reported as `loss`.
   * Default `reject`.
   */
  readonly unroutable?: 'reject' | 'drop' | undefined
  /** Delays messages with the plugin `rabbitmq_delayed_message_exchange`, or with a ladder of queues. Default `ladder`. */
  readonly delay?: 'ladder' | 'plugin' | 'auto' | undefined
  /**
   * False declares nothing on the broker, for users without that permission. Exchanges and queues must exist: another
   * process (with the default) or an operator creates them. The members of a group then do not share its partitions
   * evenly.
   *
   * @default true
   */
  readonly declare?: boolean | undefined
  /**
   * How long the broker leaves a message unacked before it takes it back (`consumer_timeout`), in ms. Set it when the
   * broker's value is not RabbitMQ's default of 30 minutes: AMQP has no way to read it. 0: no limit.
   *
   * @default 1_800_000
   */
  readonly consumerTimeoutMs?: number | undefined
  /**
   * Folder for bodies of messages that RabbitMQ has sent beyond the `prefetchBytes` of a consumer: it counts what it sends ahead
   * in messages. They are in files without a name, which end with the process. `false` keeps them in memory.
   *
   * @default the system's folder for temporary files
   */
  readonly overflowFolder?: string | false | undefined
  /** Exchanges, queues and bindings of your own to declare. */
  readonly topology?: TopologyOptions | undefined
  /** Groups to declare before their first consumer starts, so that their messages are stored. */
  readonly groups?: readonly GroupDeclaration[] | undefined
  /**
   * Runs on a channel of each new connection before anything else is declared; if it rejects, the connection counts as
   * failed.
   */
  readonly afterConnect?: ((channel: Channel, purpose: Purpose) => void | Promise<void>) | undefined
  /**
   * Sends a message to another exchange; return undefined for the usual route. Not called for copies for one group or
   * for dead letters.
   */
  readonly route?: ((message: OutgoingMessage) => Route | undefined) | undefined
  /**
   * `compact` leaves out attributes that Busbar derives when it reads a message; `cloudevents` writes every attribute, for
   * other programs. Both are read. See docs/reference/envelope.md.
   *
   * @default 'compact'
   */
  readonly envelope?: EnvelopeForm | undefined
  /**
   * Sets AMQP properties of a message. The publish of a message with a value that AMQP or the broker does not take
   * rejects; dead letters and copies for one group are sent without that value.
   */
  readonly properties?: ((message: OutgoingMessage) => MessageProperties | undefined) | undefined
  /** Passed to `amqplib.connect` unchanged: fields of its URL object, and its socket options. */
  readonly native?:
    | {
        readonly url?: Partial<Options.Connect> | undefined
        readonly socket?: Readonly<Record<string, unknown>> | undefined
      }
    | undefined
}

/**
 * What a connection is for: publishing has a separate one, so that a broker that blocks publishers does not stop
 * consumers.
 */
export type Purpose = 'publish' | 'consume'

/** User and password. */
export interface Credentials {
  /** Name of the RabbitMQ user. */
  readonly username: string
  /** Password of that user. */
  readonly password: string
}

/** Your own topology, declared besides Busbar's exchanges and queues. All of it is declared again after each reconnect. */
export interface TopologyOptions {
  /** Declared first. */
  readonly exchanges?: readonly ExchangeDeclaration[] | undefined
  /** Declared after the exchanges. */
  readonly queues?: readonly QueueDeclaration[] | undefined
  /** Declared last, when the exchanges and queues exist. */
  readonly bindings?: readonly BindingDeclaration[] | undefined
}

/** An exchange that the transport declares. */
export interface ExchangeDeclaration {
  /** Name of the exchange. */
  readonly name: string
  /** `direct`, `fanout`, `topic`, `headers`, or one of a plugin. */
  readonly type: string
  /** Default true. */
  readonly durable?: boolean | undefined
  /** Deletes the exchange when its last binding is removed. Default false. */
  readonly autoDelete?: boolean | undefined
  /** Only other exchanges can publish to it. Default false. */
  readonly internal?: boolean | undefined
  /** Exchange that receives what no queue of this one takes. Default: none. */
  readonly alternateExchange?: string | undefined
  /** Further arguments of the declaration. */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
}

/** A queue that the transport declares. */
export interface QueueDeclaration {
  /** Name of the queue. */
  readonly name: string
  /** Default true. */
  readonly durable?: boolean | undefined
  /** Deletes the queue when its last consumer leaves. Default false. */
  readonly autoDelete?: boolean | undefined
  /** Queue type and other arguments: `{ 'x-queue-type': 'quorum' }`. */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
}

/** Binds an exchange to a queue or to another exchange. */
export interface BindingDeclaration {
  /** Exchange that the messages come from. */
  readonly from: string
  /** Queue that they go to; set either this or `toExchange`. */
  readonly toQueue?: string | undefined
  /** Exchange that they go to; set either this or `toQueue`. */
  readonly toExchange?: string | undefined
  /** Default empty. */
  readonly routingKey?: string | undefined
  /** Arguments of the binding, for a `headers` exchange. */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
}

/** A group to declare when the transport opens, so that messages wait for it before its first member starts. */
export interface GroupDeclaration {
  /** Topic or pattern, as its consumers subscribe to it. */
  readonly topic: string
  /** Name of the group. */
  readonly group: string
  /** Order that its consumers will use. Default `key`. */
  readonly order?: 'key' | 'strict' | 'none' | undefined
  /** More arguments for its queues, the same as in `native` of its consumers: `{ 'x-max-length': 100000 }`. */
  readonly arguments?: Readonly<Record<string, unknown>> | undefined
}

/** Where a message goes instead of the exchange of the bus. */
export interface Route {
  /** Exchange to publish to; empty for the default exchange, which routes to the queue that the routing key names. */
  readonly exchange: string
  /** Routing key to publish with. */
  readonly routingKey: string
}

/** AMQP properties that have no place in the envelope. */
export interface MessageProperties {
  /** Priority, for queues declared with `x-max-priority`. */
  readonly priority?: number | undefined
  /** Queue to reply to. */
  readonly replyTo?: string | undefined
  /** AMQP's `correlation_id`; the bus's own correlation id is a header. */
  readonly correlationId?: string | undefined
  /** Name of the application that publishes. */
  readonly appId?: string | undefined
  /**
   * User that publishes. RabbitMQ closes the channel for any other than the connection's user, and messages on it end as
   * `unknown`.
   */
  readonly userId?: string | undefined
  /** AMQP's own `type`; the CloudEvents type is a header. */
  readonly type?: string | undefined
  /** Encoding of the body, such as `gzip`: for consumers other than Busbar, which does not decode it. */
  readonly contentEncoding?: string | undefined
  /** How long the message may wait in a queue before the broker drops or dead-letters it, in ms. Not for delayed messages. */
  readonly expiration?: number | undefined
  /** False: the broker may forget the message when it restarts. Default true. */
  readonly persistent?: boolean | undefined
  /**
   * More headers, with AMQP's types: numbers, booleans, lists, tables, bytes. Handlers see them as text. A header of the
   * message with the same name is kept; a name that means something to RabbitMQ (`CC`, `x-delay`) is sent under another
   * one.
   */
  readonly headers?: Readonly<Record<string, unknown>> | undefined
}

export interface ResolvedRabbitMqOptions {
  readonly url: string | readonly string[] | ((attempt: number) => string | Promise<string>)
  readonly credentials: Credentials | (() => Credentials | Promise<Credentials>) | undefined
  readonly tls: TlsOptions | undefined
  readonly client: ChannelModel | undefined
  readonly connect: ((purpose: Purpose, attempt: number) => Promise<ChannelModel>) | undefined
  readonly connectionName: string | undefined
  readonly heartbeatMs: number
  readonly connectTimeoutMs: number
  readonly reconnect: BackoffOptions
  readonly exchange: string
  readonly queueType: 'auto' | 'quorum' | 'classic'
  readonly partitions: number
  readonly queues: 'per-topic' | 'per-group'
  readonly quorumArguments: Readonly<Record<string, unknown>>
  readonly deliveryLimit: number
  readonly maxMessageBytes: number
  readonly maxInFlight: number
  readonly unroutable: 'reject' | 'drop'
  readonly delay: 'ladder' | 'plugin' | 'auto'
  readonly declare: boolean
  /** `Infinity`: no limit. */
  readonly consumerTimeoutMs: number
  /** Undefined: bodies stay in memory. */
  readonly overflowFolder: string | undefined
  readonly topology: Required<{ [Part in keyof TopologyOptions]: NonNullable<TopologyOptions[Part]> }>
  readonly groups: readonly Required<GroupDeclaration>[]
  readonly afterConnect: RabbitMqOptions['afterConnect']
  readonly route: RabbitMqOptions['route']
  readonly envelope: EnvelopeForm
  readonly properties: RabbitMqOptions['properties']
  readonly native: NonNullable<RabbitMqOptions['native']>
}

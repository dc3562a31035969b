/** The brokers that this folder can run. */
export type BrokerName = 'rabbitmq' | 'nats' | 'redis' | 'postgres' | 'kafka'

export const BROKER_NAMES: readonly BrokerName[] = ['rabbitmq', 'nats', 'redis', 'postgres', 'kafka']

/** Where an instance came from: a URL in the environment, a container, or a process on this machine. */
export type BrokerSource = 'env' | 'docker' | 'local'

/** A running broker. Methods that need control of the process reject with `unsupported` when `source` is `env`. */
export interface Broker {
  readonly name: BrokerName
  readonly source: BrokerSource
  /** What a client connects to, e.g. `redis://127.0.0.1:27379`. Stable across `kill` and `restart`. */
  readonly url: string
  readonly host: string
  readonly port: number
  /** Process id of the main process; undefined when it runs elsewhere or is down. Changes with every start. */
  readonly pid: number | undefined
  /** Version text as the broker's own binary or image names it; empty when unknown. */
  readonly version: string
  /** Data, configuration and log of the instance; empty for `env`. */
  readonly dataDir: string
  /** Speaks the broker's protocol on its port; false when it is down, paused or not a broker of this kind. */
  healthy(): Promise<boolean>
  /** SIGKILL, without any chance to flush. Resolves when the process is gone. Data stays. */
  kill(): Promise<void>
  /** Graceful stop that keeps port and data, to be followed by `restart`. */
  halt(): Promise<void>
  /** Starts again on the same port and data (after a graceful stop when it still runs). Resolves when ready. */
  restart(): Promise<void>
  /** SIGSTOP: connections stay open, nothing answers. */
  pause(): Promise<void>
  /** SIGCONT. */
  resume(): Promise<void>
  /** Stops for good and removes the data. */
  stop(): Promise<void>
  /** The end of the broker's own log. */
  logs(lines?: number): Promise<string>
  [Symbol.asyncDispose](): Promise<void>
}

/** One member of a cluster (or the only one), to be killed or paused without the others. */
export interface BrokerNode extends Pick<
  Broker,
  'url' | 'host' | 'port' | 'pid' | 'kill' | 'halt' | 'restart' | 'pause' | 'resume' | 'healthy' | 'logs'
> {
  /** From 1. */
  readonly id: number
  /** True when this node knows of at least that many living members, itself among them. */
  sees(members: number): Promise<boolean>
}

export interface RabbitMqNode extends BrokerNode {
  /** Runs `rabbitmqctl` against this node; resolves with its output. */
  ctl(...args: readonly string[]): Promise<string>
}

export interface RabbitMqBroker extends Broker {
  readonly name: 'rabbitmq'
  /** The URL of the broker is that of the first one. */
  readonly nodes: readonly RabbitMqNode[]
  /** Base URL of the management API when it was asked for. */
  readonly managementUrl: string | undefined
  /** `rabbitmqctl` against the first node, e.g. `ctl('set_vm_memory_high_watermark', '0')`; resolves with its output. */
  ctl(...args: readonly string[]): Promise<string>
}

export interface NatsNode extends BrokerNode {
  readonly monitorUrl: string | undefined
}

export interface NatsBroker extends Broker {
  readonly name: 'nats'
  /** The URL of the broker names all of them. */
  readonly nodes: readonly NatsNode[]
  /** Monitoring endpoint (`/varz`, `/jsz`, `/connz`) of the first node. */
  readonly monitorUrl: string | undefined
}

export interface RedisBroker extends Broker {
  readonly name: 'redis'
}

export interface PostgresBroker extends Broker {
  readonly name: 'postgres'
}

/** Listeners of a Kafka started with `secure`, as `host:port` of the first node. */
export interface KafkaListeners {
  readonly plaintext: string
  readonly saslPlaintext: string | undefined
  readonly saslSsl: string | undefined
  readonly ssl: string | undefined
}

/** PEM files made for one instance. */
export interface TlsFiles {
  readonly caFile: string
  readonly certFile: string
  readonly keyFile: string
}

export interface KafkaBroker extends Broker {
  readonly name: 'kafka'
  readonly nodes: readonly BrokerNode[]
  readonly listeners: KafkaListeners
  /** Authority and client certificate (`CN=client`), when started with `secure`. */
  readonly tls: TlsFiles | undefined
  /** Runs a Java main class of Kafka, e.g. `tool('org.apache.kafka.tools.TopicCommand', '--list', ...)`; local source only. */
  tool(mainClass: string, ...args: readonly string[]): Promise<string>
}

export interface PrivateOptions {
  /** Default: a free port of 20000–26999, below the range that outgoing connections take, so that a restart finds it free. */
  readonly port?: number
  /** Default: what the machine offers, see `sourceOf`. */
  readonly source?: 'docker' | 'local'
}

/** Of RabbitMQ. `debian`: the package of this system. `4`: 4.x, of this system or of Debian sid. */
export type RabbitMqVersion = 'debian' | '4'

export interface RabbitMqOptions extends PrivateOptions {
  /** Default: `BUSBAR_RABBITMQ_VERSION`, else what the machine offers. */
  readonly version?: RabbitMqVersion
  /** A cluster, when 3. Default: 1. */
  readonly nodes?: 1 | 3
  /** Lines added to `rabbitmq.conf`. */
  readonly conf?: string
  /** Default: false. */
  readonly management?: boolean
  /** Further plugins to enable, by name. */
  readonly plugins?: readonly string[]
}

export interface NatsOptions extends PrivateOptions {
  /** `debian`: the 2.9 of Debian 12, for code that must work with old servers. Default: `current`. */
  readonly version?: 'debian' | 'current'
  /** A cluster, when 3. Default: 1. */
  readonly nodes?: 1 | 3
  /** Text added to the configuration file, e.g. `authorization { token: s3cret }`. */
  readonly config?: string
  /** Default: true. */
  readonly jetStream?: boolean
}

export interface RedisOptions extends PrivateOptions {
  /** Arguments added to the command line; later ones win, e.g. `['--requirepass', 's3cret']`. */
  readonly args?: readonly string[]
}

export interface PostgresOptions extends PrivateOptions {
  /** Server settings, e.g. `{ synchronous_commit: 'off' }`. */
  readonly settings?: Readonly<Record<string, string>>
}

export interface KafkaUser {
  readonly name: string
  readonly password: string
}

export interface KafkaSecurity {
  /** Users of PLAIN and of both SCRAM mechanisms, besides the super user `admin`/`admin-secret`. Default: `alice`/`alice-secret`. */
  readonly users?: readonly KafkaUser[]
  /** ACLs are enforced; the PLAINTEXT listener (`User:ANONYMOUS`) and `admin` stay free. Default: true. */
  readonly acls?: boolean
  /** Re-authentication after this time (`connections.max.reauth.ms`). Default: off. */
  readonly reauthMs?: number
}

export interface KafkaOptions extends PrivateOptions {
  /** Combined broker and controller nodes. Default: 1. */
  readonly nodes?: 1 | 3
  /** Adds SASL_PLAINTEXT, SASL_SSL and SSL (client certificate required) listeners. Default: false. */
  readonly secure?: boolean | KafkaSecurity
  /** Lines of `server.properties`, over ours. */
  readonly properties?: Readonly<Record<string, string>>
  /** Java heap of each node. Default: 512 for one node, 384 for three. */
  readonly heapMb?: number
}

export interface OptionsOf {
  rabbitmq: RabbitMqOptions
  nats: NatsOptions
  redis: RedisOptions
  postgres: PostgresOptions
  kafka: KafkaOptions
}

export interface BrokerOf {
  rabbitmq: RabbitMqBroker
  nats: NatsBroker
  redis: RedisBroker
  postgres: PostgresBroker
  kafka: KafkaBroker
}

/** The brokers that this folder can run. */
export type BrokerName = 'rabbitmq' | 'nats' | 'redis' | 'postgres' | 'kafka'

export const BROKER_NAMES: readonly BrokerName[] = ['rabbitmq', 'nats', 'redis', 'postgres', 'kafka']

/** Where an instance comes from: a URL in the environment, a container, or a process on this machine. */
export type BrokerSource = 'env' | 'docker' | 'local'

/** A running broker. Methods that need control of the process reject with `unsupported` when `source` is `env`. */
export interface Broker {
  readonly name: BrokerName
  readonly source: BrokerSource
  /** The URL for clients, such as `redis://127.0.0.1:27379`. Stable across `kill` and `restart`. */
  readonly url: string
  readonly host: string
  readonly port: number
  /** Process id of the main process; undefined when it runs elsewhere or is down. Changes with every start. */
  readonly pid: number | undefined
  /** Version as reported by the broker's own binary or image; empty when unknown. */
  readonly version: string
  /** Folder for data, configuration and log of the instance; empty for `env`. */
  readonly dataDir: string
  /** True when it answers in the broker's protocol; false when it is down, paused or not a broker of this kind. */
  healthy(): Promise<boolean>
  /** Sends SIGKILL, without any chance to flush. Resolves when the process has ended. Data stays. */
  kill(): Promise<void>
  /** Stops gracefully and keeps port and data; `restart` may follow. */
  halt(): Promise<void>
  /** Starts again on the same port and data (after a graceful stop if it is still running). Resolves when ready. */
  restart(): Promise<void>
  /** Sends SIGSTOP: connections stay open, nothing answers. */
  pause(): Promise<void>
  /** Sends SIGCONT. */
  resume(): Promise<void>
  /** Stops permanently and removes the data. */
  stop(): Promise<void>
  /** The end of the broker's own log. */
  logs(lines?: number): Promise<string>
  [Symbol.asyncDispose](): Promise<void>
}

/** One member of a cluster (or the only one), which can be killed or paused separately. */
export interface BrokerNode extends Pick<
  Broker,
  'url' | 'host' | 'port' | 'pid' | 'kill' | 'halt' | 'restart' | 'pause' | 'resume' | 'healthy' | 'logs'
> {
  /** Number of the node, from 1. */
  readonly id: number
  /** True when this node knows at least that many living members, including itself. */
  sees(members: number): Promise<boolean>
}

export interface RabbitMqNode extends BrokerNode {
  /** Runs `rabbitmqctl` against this node; resolves with its output. */
  ctl(...args: readonly string[]): Promise<string>
}

export interface RabbitMqBroker extends Broker {
  readonly name: 'rabbitmq'
  /** The broker's URL is that of the first node. */
  readonly nodes: readonly RabbitMqNode[]
  /** Base URL of the management API, if requested. */
  readonly managementUrl: string | undefined
  /**
   * Runs `rabbitmqctl` against the first node, such as `ctl('set_vm_memory_high_watermark', '0')`; resolves with its
   * output.
   */
  ctl(...args: readonly string[]): Promise<string>
}

export interface NatsNode extends BrokerNode {
  readonly monitorUrl: string | undefined
}

export interface NatsBroker extends Broker {
  readonly name: 'nats'
  /** The broker's URL names all of them. */
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
  /** CA and client certificate (`CN=client`), when started with `secure`. */
  readonly tls: TlsFiles | undefined
  /**
   * Runs a Java main class of Kafka, such as `tool('org.apache.kafka.tools.TopicCommand', '--list', ...)`; only for a
   * local source.
   */
  tool(mainClass: string, ...args: readonly string[]): Promise<string>
  /** The command line of such a tool, for one that needs input or runs on. */
  toolCommand(mainClass: string, ...args: readonly string[]): readonly string[]
}

export interface PrivateOptions {
  /**
   * Default: a free port of 20000–26999, below the range used for outgoing connections, so that it is still free at a
   * restart.
   */
  readonly port?: number
  /** Default: what the machine has, see `sourceOf`. */
  readonly source?: 'docker' | 'local'
}

/** Version of RabbitMQ. `debian`: the package of this system. `4`: 4.x, from this system or from Debian sid. */
export type RabbitMqVersion = 'debian' | '4'

export interface RabbitMqOptions extends PrivateOptions {
  /** Default: `BUSBAR_RABBITMQ_VERSION`, otherwise what the machine has. */
  readonly version?: RabbitMqVersion
  /** 3 starts a cluster. Default: 1. */
  readonly nodes?: 1 | 3
  /** Lines added to `rabbitmq.conf`. */
  readonly conf?: string
  /** Default: false. */
  readonly management?: boolean
  /** Further plugins to enable, by name. */
  readonly plugins?: readonly string[]
}

/** Programs that can be run directly; those of another Debian switch into it by themselves. */
export interface RabbitMqPrograms {
  readonly server: string
  readonly ctl: string
  /** Erlang's name server. */
  readonly epmd: string
  /** Empty when unknown. */
  readonly version: string
}

export interface NatsOptions extends PrivateOptions {
  /** `debian`: the 2.9 of Debian 12, for code that must work with old servers. Default: `current`. */
  readonly version?: 'debian' | 'current'
  /** 3 starts a cluster. Default: 1. */
  readonly nodes?: 1 | 3
  /** Text added to the configuration file, such as `authorization { token: s3cret }`. */
  readonly config?: string
  /** Default: true. */
  readonly jetStream?: boolean
}

/** `6.2` is the oldest supported line; `8` and `valkey` are those of Debian sid. */
export type RedisVersion = '6.2' | '8' | 'valkey'

export interface RedisOptions extends PrivateOptions {
  /** Default: what the machine has, or Debian's package. */
  readonly version?: RedisVersion
  /** Arguments added to the command line; later ones win. Example: `['--requirepass', 's3cret']`. */
  readonly args?: readonly string[]
}

export interface PostgresOptions extends PrivateOptions {
  /** Server settings, such as `{ synchronous_commit: 'off' }`. */
  readonly settings?: Readonly<Record<string, string>>
}

export interface KafkaUser {
  readonly name: string
  readonly password: string
}

export interface KafkaSecurity {
  /** Users of PLAIN and of both SCRAM mechanisms, besides the super user `admin`/`admin-secret`. Default: `alice`/`alice-secret`. */
  readonly users?: readonly KafkaUser[]
  /** Enforces ACLs; the PLAINTEXT listener (`User:ANONYMOUS`) and `admin` are exempt. Default: true. */
  readonly acls?: boolean
  /** Re-authentication after this time (`connections.max.reauth.ms`). Default: off. */
  readonly reauthMs?: number
}

/**
 * `4`: Apache's current line. `3.9`: the last one before it, without share groups and transactions of version 2. `kfake`:
 * franz-go's own broker, which shares no code with Apache's; all its nodes are one process, and it has no `secure`.
 */
export type KafkaVersion = '4' | '3.9' | 'kfake'

export interface KafkaOptions extends PrivateOptions {
  /** Default: `4`. */
  readonly version?: KafkaVersion
  /** Combined broker and controller nodes. Default: 1. */
  readonly nodes?: 1 | 3
  /** Adds SASL_PLAINTEXT, SASL_SSL and SSL (client certificate required) listeners. Default: false. */
  readonly secure?: boolean | KafkaSecurity
  /** Lines of `server.properties`; they override ours. */
  readonly properties?: Readonly<Record<string, string>>
  /** Java heap of each node, in MB. Default: 512 for one node, 384 for three. */
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

import type { ApacheLine } from './kafka-install.ts'
import type { KafkaSecurity, KafkaUser, TlsFiles } from './types.ts'

export const KAFKA_ADMIN: KafkaUser = { name: 'admin', password: 'admin-secret' }
const ALICE: KafkaUser = { name: 'alice', password: 'alice-secret' }

export interface KafkaNodePorts {
  readonly id: number
  readonly plaintext: number
  readonly controller: number
  readonly saslPlaintext: number
  readonly saslSsl: number
  readonly ssl: number
}

export interface KafkaServer {
  readonly node: KafkaNodePorts
  readonly nodes: readonly KafkaNodePorts[]
  readonly logDir: string
  /** Undefined without security. */
  readonly security: { readonly options: KafkaSecurity; readonly tls: TlsFiles; readonly keyStore: string } | undefined
  readonly line: ApacheLine
  readonly overrides: Readonly<Record<string, string>>
}

type Properties = Record<string, string>

export function kafkaUsers(options: KafkaSecurity): readonly KafkaUser[] {
  return [KAFKA_ADMIN, ...(options.users ?? [ALICE])]
}

export function kafkaProperties(server: KafkaServer): string {
  const all = { ...base(server), ...cluster(server), ...security(server), ...lineOf(server), ...server.overrides }
  return `${Object.entries(all)
    .map(([key, value]) => `${key}=${value}`)
    .join('\n')}\n`
}

function base({ node, nodes, logDir, security }: KafkaServer): Properties {
  const clients = [
    `PLAINTEXT://127.0.0.1:${node.plaintext}`,
    ...(security === undefined
      ? []
      : [
          `SASL_PLAINTEXT://127.0.0.1:${node.saslPlaintext}`,
          `SASL_SSL://127.0.0.1:${node.saslSsl}`,
          `SSL://127.0.0.1:${node.ssl}`,
        ]),
  ].join(',')
  return {
    'process.roles': 'broker,controller',
    'node.id': String(node.id),
    'controller.quorum.voters': nodes.map(({ id, controller }) => `${id}@127.0.0.1:${controller}`).join(','),
    'controller.listener.names': 'CONTROLLER',
    listeners: `${clients},CONTROLLER://127.0.0.1:${node.controller}`,
    'advertised.listeners': clients,
    'listener.security.protocol.map':
      'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL',
    'inter.broker.listener.name': 'PLAINTEXT',
    'log.dirs': logDir,
    // Tests form and leave groups all the time: they should not wait for members that never come.
    'group.initial.rebalance.delay.ms': '0',
    // A node that was killed can't come back before its old registration has expired, 9 s by default.
    'broker.session.timeout.ms': '4000',
    'broker.heartbeat.interval.ms': '500',
    // The default is 128 MB, a quarter of our heap.
    'log.cleaner.dedupe.buffer.size': '2097152',
  }
}

function cluster({ node, nodes }: KafkaServer): Properties {
  const replicas = String(nodes.length)
  const inSync = nodes.length === 1 ? '1' : '2'
  const racks: Properties =
    nodes.length === 1
      ? {}
      : {
          'broker.rack': 'abc'.charAt(node.id - 1),
          'replica.selector.class': 'org.apache.kafka.common.replica.RackAwareReplicaSelector',
          'default.replication.factor': replicas,
          'min.insync.replicas': inSync,
        }
  return {
    'offsets.topic.replication.factor': replicas,
    'offsets.topic.num.partitions': '3',
    'transaction.state.log.replication.factor': replicas,
    'transaction.state.log.min.isr': inSync,
    'transaction.state.log.num.partitions': '3',
    'share.coordinator.state.topic.replication.factor': replicas,
    'share.coordinator.state.topic.min.isr': inSync,
    'share.coordinator.state.topic.num.partitions': '3',
    ...racks,
  }
}

/** What later lines do by default. */
function lineOf({ line }: KafkaServer): Properties {
  return line === '3.9' ? { 'group.coordinator.rebalance.protocols': 'classic,consumer' } : {}
}

const COMMON = 'org.apache.kafka.common.security'

function security({ security: given }: KafkaServer): Properties {
  if (given === undefined) return {}
  const { options, tls, keyStore } = given
  const users = kafkaUsers(options)
    .map(({ name, password }) => ` user_${name}="${password}"`)
    .join('')
  const scram = `${COMMON}.scram.ScramLoginModule required;`
  const mechanisms: Properties = {
    plain: `${COMMON}.plain.PlainLoginModule required${users};`,
    'scram-sha-256': scram,
    'scram-sha-512': scram,
    // Accepts unsigned tokens (alg: none), which a test can create itself.
    oauthbearer: `${COMMON}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
  }
  const jaas = ['sasl_plaintext', 'sasl_ssl'].flatMap((listener) =>
    Object.entries(mechanisms).map(([kind, line]) => [`listener.name.${listener}.${kind}.sasl.jaas.config`, line]),
  )
  return {
    'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER',
    ...(Object.fromEntries(jaas) as Properties),
    'ssl.keystore.type': 'PEM',
    'ssl.keystore.location': keyStore,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': tls.caFile,
    'listener.name.ssl.ssl.client.auth': 'required',
    ...(options.reauthMs === undefined ? {} : { 'connections.max.reauth.ms': String(options.reauthMs) }),
    ...(options.acls === false
      ? {}
      : {
          'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
          'super.users': `User:ANONYMOUS;User:${KAFKA_ADMIN.name}`,
        }),
  }
}

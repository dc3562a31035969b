import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Blueprint, ContainerPlan } from './blueprint.ts'
import { compose } from './docker.ts'
import { BrokerError } from './errors.ts'
import { natsConfig, NATS_MONITOR_PORT } from './nats.ts'
import { REPO_ROOT } from './paths.ts'
import { freePort } from './ports.ts'
import { rabbitMqVersion } from './rabbitmq-install.ts'
import { REDIS_ARGS } from './redis.ts'
import type { BrokerName, KafkaOptions, OptionsOf } from './types.ts'
import { urlOf } from './url.ts'

/** The port inside the container. */
const INNER_PORTS: Readonly<Record<BrokerName, number>> = {
  rabbitmq: 5672,
  nats: 4222,
  redis: 6379,
  postgres: 5432,
  kafka: 9092,
}

export const RABBITMQ_MANAGEMENT_PORT = 27_673

/** The service as in compose.yaml, changed by the options of one instance. JSON is valid YAML. */
interface Override {
  readonly image?: string
  readonly command?: readonly string[]
  readonly environment?: Readonly<Record<string, string>>
  readonly volumes?: readonly string[]
}

/** A container is one node without certificates, and a Kafka of the current line. */
export function dockerCan(options: OptionsOf[BrokerName]): boolean {
  const { nodes, secure, version } = options as KafkaOptions
  return (nodes ?? 1) === 1 && (secure ?? false) === false && version !== '3.9' && version !== 'kfake'
}

export interface DockerRequest<N extends BrokerName> {
  readonly name: N
  readonly dataDir: string
  readonly port: number
  readonly project: string
  readonly exclusive: boolean
  readonly options: OptionsOf[N]
}

export async function dockerBlueprint<N extends BrokerName>(request: DockerRequest<N>): Promise<Blueprint> {
  const { name, dataDir, project, exclusive, options } = request
  if (!dockerCan(options)) {
    throw new BrokerError(
      'unsupported',
      name,
      'nodes, secure and other versions of Kafka need the local source: omit source, or set it to local',
    )
  }
  const override = await overrideFor(name, dataDir, options)
  const overrideFile = join(dataDir, 'compose.override.json')
  await writeFile(overrideFile, JSON.stringify({ services: { [name]: override } }))
  const files = [join(REPO_ROOT, 'compose.yaml'), ...(Object.keys(override).length > 0 ? [overrideFile] : [])]
  const host = '127.0.0.1'
  const draft: ContainerPlan = { project, exclusive, service: name, files, env: {} }
  const port = (await publishedPort(draft, INNER_PORTS[name])) ?? request.port
  const sidePort = await sidePortOf(draft)
  const side = sidePort === undefined ? {} : { [sidePort.variable]: String(sidePort.port) }
  const container = { ...draft, env: { [`BUSBAR_${name.toUpperCase()}_PORT`]: String(port), ...side } }
  return {
    name,
    source: 'docker',
    version: '',
    url: urlOf(name, host, port),
    host,
    port,
    dataDir,
    readyTimeoutMs: 180_000,
    processes: [],
    container,
    details: {
      ...(name === 'nats' && sidePort !== undefined ? { monitorUrl: `http://${host}:${sidePort.port}` } : {}),
      ...(name === 'rabbitmq' && sidePort !== undefined
        ? { managementUrl: `http://guest:guest@${host}:${sidePort.port}` }
        : {}),
    },
  }
}

/** The port of a container already started in this project (`docker compose up`), which is then used. */
async function publishedPort(plan: ContainerPlan, inner: number): Promise<number | undefined> {
  const { code, stdout } = await compose(plan, 'port', plan.service, String(inner))
  const port = Number(stdout.trim().split(':').at(-1))
  return code === 0 && port > 0 ? port : undefined
}

interface SidePort {
  readonly variable: string
  readonly port: number
}

async function sidePortOf(plan: ContainerPlan): Promise<SidePort | undefined> {
  const known: Partial<Record<BrokerName, readonly [string, number, number]>> = {
    nats: ['BUSBAR_NATS_MONITOR_PORT', 8222, NATS_MONITOR_PORT],
    rabbitmq: ['BUSBAR_RABBITMQ_MANAGEMENT_PORT', 15_672, RABBITMQ_MANAGEMENT_PORT],
  }
  const side = known[plan.service]
  if (side === undefined) return undefined
  const [variable, inner, preferred] = side
  return { variable, port: (await publishedPort(plan, inner)) ?? (await freePort(preferred)) }
}

async function overrideFor(name: BrokerName, dataDir: string, options: OptionsOf[BrokerName]): Promise<Override> {
  switch (name) {
    case 'redis': {
      const { args = [], version } = options as OptionsOf['redis']
      const images = { '6.2': 'redis:6.2', '8': 'redis:8', valkey: 'valkey/valkey:9' } as const
      const image = version === undefined ? {} : { image: images[version] }
      return args.length === 0 ? image : { ...image, command: ['redis-server', ...REDIS_ARGS, ...args] }
    }
    case 'nats': {
      const natsOptions = options as OptionsOf['nats']
      const { version, config, jetStream } = natsOptions
      const image = version === 'debian' ? { image: 'nats:2.9' } : {}
      if (config === undefined && jetStream !== false) return image
      const file = join(dataDir, 'nats.conf')
      const place = { host: '0.0.0.0', port: 4222, monitorPort: 8222, storeDir: '/data' }
      await writeFile(file, natsConfig(place, natsOptions))
      return { ...image, volumes: [`${file}:/etc/nats/busbar.conf:ro`], command: ['-c', '/etc/nats/busbar.conf'] }
    }
    case 'postgres': {
      const settings = Object.entries((options as OptionsOf['postgres']).settings ?? {})
      if (settings.length === 0) return {}
      return {
        command: [
          'postgres',
          '-c',
          'max_connections=200',
          ...settings.flatMap(([key, value]) => ['-c', `${key}=${value}`]),
        ],
      }
    }
    case 'rabbitmq': {
      const { conf, version } = options as OptionsOf['rabbitmq']
      const image = rabbitMqVersion(version) === 'debian' ? { image: 'rabbitmq:3.10-management' } : {}
      if (conf === undefined) return image
      const file = join(dataDir, 'rabbitmq.conf')
      await writeFile(file, `${conf}\n`)
      return { ...image, volumes: [`${file}:/etc/rabbitmq/conf.d/90-busbar.conf:ro`] }
    }
    case 'kafka': {
      const properties = Object.entries((options as KafkaOptions).properties ?? {})
      if (properties.length === 0) return {}
      return { environment: Object.fromEntries(properties.map(([key, value]) => [environmentName(key), value])) }
    }
  }
}

/** How the image maps variables to properties: `_` is a dot, `__` an underscore, `___` a dash. */
function environmentName(property: string): string {
  return `KAFKA_${property.replaceAll('_', '__').replaceAll('-', '___').replaceAll('.', '_').toUpperCase()}`
}

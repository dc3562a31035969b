import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Blueprint, ProcessPlan } from './blueprint.ts'
import { LOCAL } from './local-blueprint.ts'
import { natsBinary } from './nats-install.ts'
import { DEFAULT_PORTS, freePort } from './ports.ts'
import type { NatsOptions } from './types.ts'

export const NATS_MONITOR_PORT = 27_223

const HOST = LOCAL.host

interface NodePorts {
  readonly id: number
  readonly port: number
  readonly monitorPort: number
  readonly routePort: number
}

export async function natsBlueprint(dataDir: string, port: number, options: NatsOptions): Promise<Blueprint> {
  const { file, version } = await natsBinary(options.version)
  const nodes: NodePorts[] = []
  for (let id = 1; id <= (options.nodes ?? 1); id++) nodes.push(await nodePorts(id, id === 1 ? port : await freePort()))
  return {
    ...LOCAL,
    name: 'nats',
    version,
    url: `nats://${nodes.map((node) => `${HOST}:${node.port}`).join(',')}`,
    port,
    dataDir,
    // A cluster first elects the leader of JetStream.
    readyTimeoutMs: nodes.length === 1 ? 15_000 : 30_000,
    processes: await Promise.all(nodes.map((node) => nodePlan(file, dataDir, node, nodes, options))),
  }
}

async function nodePorts(id: number, port: number): Promise<NodePorts> {
  // A private instance must not take the port of the shared one, or of another that will need it for a restart.
  const monitorPort = await freePort(port === DEFAULT_PORTS.nats ? NATS_MONITOR_PORT : undefined)
  return { id, port, monitorPort, routePort: await freePort() }
}

async function nodePlan(
  file: string,
  dataDir: string,
  { id, port, monitorPort, routePort }: NodePorts,
  nodes: readonly NodePorts[],
  options: NatsOptions,
): Promise<ProcessPlan> {
  const dir = join(dataDir, `node-${id}`)
  await mkdir(dir)
  const config = join(dir, 'nats.conf')
  const cluster = nodes.length === 1 ? undefined : { listen: routePort, routes: nodes.map((node) => node.routePort) }
  const place = { host: HOST, port, monitorPort, storeDir: join(dir, 'jetstream'), cluster }
  await writeFile(config, natsConfig(place, options))
  const env = { PATH: process.env['PATH'] ?? '' }
  return {
    id,
    port,
    command: { file, args: ['-c', config], env, cwd: dir, logFile: join(dir, 'nats.log') },
    stopSignal: 'SIGTERM',
    details: { monitorUrl: `http://${HOST}:${monitorPort}` },
  }
}

export interface NatsPlace {
  readonly host: string
  readonly port: number
  readonly monitorPort: number
  readonly storeDir: string
  /** Ports of the routes between the nodes of a cluster: ours, and those of all nodes. */
  readonly cluster?: { readonly listen: number; readonly routes: readonly number[] } | undefined
}

export function natsServerName(port: number): string {
  return `busbar-${port}`
}

export function natsConfig(place: NatsPlace, options: NatsOptions): string {
  return [
    `server_name: ${natsServerName(place.port)}`,
    `listen: "${place.host}:${place.port}"`,
    `http: "${place.host}:${place.monitorPort}"`,
    options.jetStream === false ? '' : `jetstream { store_dir: ${JSON.stringify(place.storeDir)} }`,
    place.cluster === undefined ? '' : clusterConfig(place.host, place.cluster),
    options.config ?? '',
    '',
  ].join('\n')
}

function clusterConfig(host: string, { listen, routes }: NonNullable<NatsPlace['cluster']>): string {
  const list = routes.map((port) => `"nats-route://${host}:${port}"`).join(', ')
  return `cluster { name: busbar, listen: "${host}:${listen}", routes: [${list}] }`
}

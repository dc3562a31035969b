import { randomBytes } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Blueprint, ProcessPlan } from './blueprint.ts'
import { LOCAL } from './local-blueprint.ts'
import { freePort } from './ports.ts'
import { rabbitMqPrograms } from './rabbitmq-install.ts'
import type { RabbitMqOptions, RabbitMqPrograms } from './types.ts'
import { urlOf } from './url.ts'

const HOST = LOCAL.host

interface NodePorts {
  readonly id: number
  readonly port: number
  readonly distPort: number
  readonly managementPort: number | undefined
}

export async function rabbitMqBlueprint(dataDir: string, port: number, options: RabbitMqOptions): Promise<Blueprint> {
  const programs = await rabbitMqPrograms(options.version, dataDir)
  // Before the first start: nodes that start in parallel would each create one.
  await writeFile(join(dataDir, '.erlang.cookie'), randomBytes(16).toString('hex'), { mode: 0o400 })
  const epmdPort = await freePort()
  const nodes: NodePorts[] = []
  for (let id = 1; id <= (options.nodes ?? 1); id++)
    nodes.push(await nodePorts(id, id === 1 ? port : await freePort(), options))
  const plans = await Promise.all(nodes.map((node) => nodePlan(node, nodes, { programs, dataDir, epmdPort }, options)))
  return {
    ...LOCAL,
    name: 'rabbitmq',
    version: programs.version,
    url: urlOf('rabbitmq', HOST, port),
    port,
    dataDir,
    readyTimeoutMs: nodes.length === 1 ? 90_000 : 180_000,
    processes: [nameServer(programs, dataDir, epmdPort), ...plans],
    details: { ctl: programs.ctl },
  }
}

async function nodePorts(id: number, port: number, { management }: RabbitMqOptions): Promise<NodePorts> {
  return { id, port, distPort: await freePort(), managementPort: management === true ? await freePort() : undefined }
}

/** A separate name server, one for all nodes: the nodes of a cluster find each other through it. */
function nameServer({ epmd }: RabbitMqPrograms, dataDir: string, port: number): ProcessPlan {
  const command = {
    file: epmd,
    args: ['-address', HOST, '-port', String(port)],
    env: { PATH: process.env['PATH'] ?? '' },
    cwd: dataDir,
    logFile: join(dataDir, 'epmd.log'),
  }
  return { id: 0, role: 'helper', port, command, stopSignal: 'SIGTERM' }
}

interface Surroundings {
  readonly programs: RabbitMqPrograms
  readonly dataDir: string
  readonly epmdPort: number
}

async function nodePlan(
  node: NodePorts,
  nodes: readonly NodePorts[],
  { programs, dataDir, epmdPort }: Surroundings,
  { conf = '', plugins = [] }: RabbitMqOptions,
): Promise<ProcessPlan> {
  const { id, port, managementPort } = node
  const dir = join(dataDir, `node-${id}`)
  await mkdir(join(dir, 'log'), { recursive: true })
  const lines = [
    `listeners.tcp.default = ${HOST}:${port}`,
    ...(managementPort === undefined ? [] : [`management.tcp.ip = ${HOST}`, `management.tcp.port = ${managementPort}`]),
    ...(nodes.length === 1 ? [] : formation(nodes)),
    conf,
    '',
  ]
  await writeFile(join(dir, 'rabbitmq.conf'), lines.join('\n'))
  const enabled = managementPort === undefined ? plugins : ['rabbitmq_management', ...plugins]
  await writeFile(join(dir, 'enabled_plugins'), `[${enabled.join(',')}].\n`)
  return {
    id,
    port,
    command: {
      file: programs.server,
      args: [],
      env: environment(dataDir, dir, node, epmdPort),
      cwd: dir,
      logFile: join(dir, 'rabbitmq.log'),
    },
    stopSignal: 'SIGTERM',
    // The end of "Starting broker... completed with 0 plugins.", in the middle of which 4.x may print other lines. The
    // port opens before the boot is complete, and a stop in that moment makes the boot fail.
    readyLog: 'completed with ',
    details: managementPort === undefined ? {} : { managementUrl: `http://guest:guest@${HOST}:${managementPort}` },
  }
}

/** On their first start the nodes of this list form a cluster; later they know each other. */
function formation(nodes: readonly NodePorts[]): readonly string[] {
  return [
    'cluster_formation.peer_discovery_backend = classic_config',
    ...nodes.map((node) => `cluster_formation.classic_config.nodes.${node.id} = ${nodeName(node)}`),
  ]
}

function nodeName({ port }: NodePorts): string {
  return `busbar-${port}@localhost`
}

/** Complete: no RABBITMQ_* variable leaks in from outside (an empty RABBITMQ_FEATURE_FLAGS would disable all of them). */
function environment(
  dataDir: string,
  dir: string,
  node: NodePorts,
  epmdPort: number,
): Readonly<Record<string, string>> {
  return {
    PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`,
    LANG: 'C.UTF-8',
    // Location of the cookie that all nodes share.
    HOME: dataDir,
    ERL_EPMD_ADDRESS: HOST,
    ERL_EPMD_PORT: String(epmdPort),
    // Otherwise a command that finds no name server starts one that never ends.
    RABBITMQ_CTL_ERL_ARGS: '-start_epmd false',
    RABBITMQ_NODENAME: nodeName(node),
    RABBITMQ_DIST_PORT: String(node.distPort),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    RABBITMQ_MNESIA_BASE: join(dir, 'mnesia'),
    RABBITMQ_LOG_BASE: join(dir, 'log'),
    RABBITMQ_PID_FILE: join(dir, 'rabbitmq.pid'),
    RABBITMQ_CONFIG_FILE: join(dir, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dir, 'enabled_plugins'),
    // Makes the script become the server instead of waiting for it as a child: the pid is the server's.
    RUNNING_UNDER_SYSTEMD: 'true',
  }
}

import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { aptInstall } from './apt.ts'
import type { Blueprint } from './blueprint.ts'
import { BrokerError, howToGet } from './errors.ts'
import { exec, which } from './exec.ts'
import { freePort } from './ports.ts'
import type { RabbitMqOptions } from './types.ts'

// Debian's program on the PATH forces its own user and data folder; the script below it does as it is told.
const SCRIPT_DIRS: readonly string[] = ['/usr/lib/rabbitmq/bin']

export function rabbitMqPackages(): readonly string[] {
  return which('rabbitmq-server', SCRIPT_DIRS) === undefined ? ['rabbitmq-server'] : []
}

export async function rabbitMqBlueprint(dataDir: string, port: number, options: RabbitMqOptions): Promise<Blueprint> {
  const missing = rabbitMqPackages()
  if (missing.length > 0) await aptInstall('rabbitmq', missing)
  const server = which('rabbitmq-server', SCRIPT_DIRS)
  const epmd = which('epmd', ['/usr/lib/erlang/bin'])
  if (server === undefined || epmd === undefined) {
    throw new BrokerError('missing', 'rabbitmq', `no rabbitmq-server or no epmd found: ${howToGet('rabbitmq')}`)
  }
  const host = '127.0.0.1'
  const [epmdPort, distPort, managementPort] = [await freePort(), await freePort(), await freePort()]
  const management = options.management === true
  const listeners = [
    `listeners.tcp.default = ${host}:${port}`,
    ...(management ? [`management.tcp.ip = ${host}`, `management.tcp.port = ${managementPort}`] : []),
  ]
  await mkdir(join(dataDir, 'log'))
  await writeFile(join(dataDir, 'rabbitmq.conf'), [...listeners, options.conf ?? '', ''].join('\n'))
  await writeFile(join(dataDir, 'enabled_plugins'), management ? '[rabbitmq_management].\n' : '[].\n')
  const env = environment(dataDir, { port, epmdPort, distPort })
  const version = (await exec(join(server, '..', 'rabbitmqctl'), ['version'], { env })).stdout.trim()
  // One tree of processes: its own name server (epmd), which a kill takes along, and the server itself as the main process.
  const script = '"$1" -address 127.0.0.1 -port "$2" & exec "$3"'
  const command = {
    file: '/bin/sh',
    args: ['-c', script, 'sh', epmd, String(epmdPort), server],
    env,
    cwd: dataDir,
    logFile: join(dataDir, 'rabbitmq.log'),
  }
  return {
    name: 'rabbitmq',
    source: 'local',
    version,
    url: `amqp://guest:guest@${host}:${port}`,
    host,
    port,
    dataDir,
    readyTimeoutMs: 90_000,
    // The port opens while the boot goes on, and a stop in that moment makes the boot fail.
    processes: [{ id: 1, port, command, stopSignal: 'SIGTERM', readyLog: 'Starting broker... completed' }],
    container: undefined,
    details: {
      ctl: join(server, '..', 'rabbitmqctl'),
      ...(management ? { managementUrl: `http://guest:guest@${host}:${managementPort}` } : {}),
    },
  }
}

interface Ports {
  readonly port: number
  readonly epmdPort: number
  readonly distPort: number
}

/** Complete: nothing of RABBITMQ_* leaks in from outside (an empty RABBITMQ_FEATURE_FLAGS would disable all of them). */
function environment(dataDir: string, { port, epmdPort, distPort }: Ports): Readonly<Record<string, string>> {
  return {
    PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/usr/bin:/sbin:/bin`,
    LANG: 'C.UTF-8',
    HOME: dataDir,
    ERL_EPMD_ADDRESS: '127.0.0.1',
    ERL_EPMD_PORT: String(epmdPort),
    RABBITMQ_NODENAME: `busbar-${port}@localhost`,
    RABBITMQ_DIST_PORT: String(distPort),
    RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: '-kernel inet_dist_use_interface {127,0,0,1}',
    RABBITMQ_MNESIA_BASE: join(dataDir, 'mnesia'),
    RABBITMQ_LOG_BASE: join(dataDir, 'log'),
    RABBITMQ_PID_FILE: join(dataDir, 'rabbitmq.pid'),
    RABBITMQ_CONFIG_FILE: join(dataDir, 'rabbitmq.conf'),
    RABBITMQ_CONF_ENV_FILE: '/dev/null',
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dataDir, 'enabled_plugins'),
    // Makes the script become the server instead of waiting for it as a child: the pid is the server's.
    RUNNING_UNDER_SYSTEMD: 'true',
  }
}

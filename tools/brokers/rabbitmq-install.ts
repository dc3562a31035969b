import { realpathSync } from 'node:fs'
import { join } from 'node:path'
import { aptInstall } from './apt.ts'
import { BrokerError, howToGet } from './errors.ts'
import { which } from './exec.ts'
import { sidRabbitMq } from './rabbitmq-sid.ts'
import type { RabbitMqOptions, RabbitMqPrograms, RabbitMqVersion } from './types.ts'

const VERSION_VARIABLE = 'BUSBAR_RABBITMQ_VERSION'
const VERSIONS: readonly RabbitMqVersion[] = ['debian', '4']

// Debian's program on the PATH forces its own user and data folder; the script below it accepts ours.
const SCRIPT_DIRS: readonly string[] = ['/usr/lib/rabbitmq/bin']

/** The version set by an option or by the environment; undefined: whatever the machine has. */
export function rabbitMqVersion(option: RabbitMqOptions['version']): RabbitMqVersion | undefined {
  const wanted = option ?? (process.env[VERSION_VARIABLE] || undefined)
  if (wanted === undefined) return undefined
  const known = VERSIONS.find((version) => version === wanted)
  if (known !== undefined) return known
  throw new BrokerError(
    'unsupported',
    'rabbitmq',
    `${VERSION_VARIABLE} is "${wanted}"; it can be ${VERSIONS.join(', ')}`,
  )
}

/** False for an instance with a version that the environment does not ask for. An unknown version passes. */
export function suitsRabbitMqVersion(running: string): boolean {
  return rabbitMqVersion(undefined) !== '4' || running === '' || Number(running.split('.')[0]) >= 4
}

export function rabbitMqPackages(): readonly string[] {
  if (rabbitMqVersion(undefined) === '4') return []
  return which('rabbitmq-server', SCRIPT_DIRS) === undefined ? ['rabbitmq-server'] : []
}

/** The programs of the requested version. Those of another Debian see `dataDir` under its own name. */
export async function rabbitMqPrograms(option: RabbitMqOptions['version'], dataDir: string): Promise<RabbitMqPrograms> {
  if (rabbitMqVersion(option) !== '4') return installed()
  const server = which('rabbitmq-server', SCRIPT_DIRS)
  return server !== undefined && versionOf(server).startsWith('4.') ? installed() : sidRabbitMq(dataDir)
}

/** The folder that the package's link points to contains the version: no Erlang has to start for that. */
function versionOf(server: string): string {
  return /rabbitmq(?:_server-|\/)(\d+(?:\.\d+)+)/.exec(realpathSync(server))?.[1] ?? ''
}

async function installed(): Promise<RabbitMqPrograms> {
  if (which('rabbitmq-server', SCRIPT_DIRS) === undefined) await aptInstall('rabbitmq', ['rabbitmq-server'])
  const server = which('rabbitmq-server', SCRIPT_DIRS)
  const epmd = which('epmd', ['/usr/lib/erlang/bin'])
  if (server === undefined || epmd === undefined) {
    throw new BrokerError('missing', 'rabbitmq', `no rabbitmq-server or no epmd found: ${howToGet('rabbitmq')}`)
  }
  return { server, ctl: join(server, '..', 'rabbitmqctl'), epmd, version: versionOf(server) }
}

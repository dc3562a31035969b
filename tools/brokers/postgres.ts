import { chown, mkdir, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { aptInstall } from './apt.ts'
import type { Blueprint } from './blueprint.ts'
import { BrokerError, howToGet } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import { LOCAL } from './local-blueprint.ts'
import type { PostgresOptions } from './types.ts'

export async function postgresPackages(): Promise<readonly string[]> {
  return (await binDir()) === undefined ? ['postgresql'] : []
}

export async function postgresBlueprint(dataDir: string, port: number, options: PostgresOptions): Promise<Blueprint> {
  const missing = await postgresPackages()
  if (missing.length > 0) await aptInstall('postgres', missing)
  const bin = await binDir()
  if (bin === undefined)
    throw new BrokerError('missing', 'postgres', `no postgres program found: ${howToGet('postgres')}`)
  const owner = await unprivilegedOwner()
  const cluster = join(dataDir, 'data')
  await mkdir(cluster, { mode: 0o700 })
  if (owner !== undefined) await chown(cluster, owner.uid, owner.gid)
  const prefix = owner?.prefix ?? []
  const initdb = [
    join(bin, 'initdb'),
    '-D',
    cluster,
    '-U',
    'postgres',
    '--auth=trust',
    '-E',
    'UTF8',
    '--locale=C',
    '--no-sync',
  ]
  await run([...prefix, ...initdb])
  const { host } = LOCAL
  const settings = {
    listen_addresses: host,
    unix_socket_directories: '',
    max_connections: '200',
    ...options.settings,
  }
  const server = [join(bin, 'postgres'), '-D', cluster, '-p', String(port)]
  const flags = Object.entries(settings).flatMap(([key, value]) => ['-c', `${key}=${value}`])
  const [file = '', ...args] = [...prefix, ...server, ...flags]
  const env = { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' }
  const version = /(\d+[\d.]*)/.exec((await exec(join(bin, 'postgres'), ['--version'])).stdout)?.[1] ?? ''
  return {
    ...LOCAL,
    name: 'postgres',
    version,
    url: `postgres://postgres@${host}:${port}/postgres`,
    port,
    dataDir,
    readyTimeoutMs: 30_000,
    // SIGINT: a fast shutdown, which does not wait for clients to disconnect.
    processes: [
      {
        id: 1,
        port,
        command: { file, args, env, cwd: '/', logFile: join(dataDir, 'postgres.log') },
        stopSignal: 'SIGINT',
      },
    ],
  }
}

/** Debian keeps each major version in its own folder, which is not on the PATH; the newest wins. */
async function binDir(): Promise<string | undefined> {
  const base = '/usr/lib/postgresql'
  const versions = await readdir(base).catch(() => [])
  const sorted = versions.toSorted((a, b) => Number(b) - Number(a)).map((version) => join(base, version, 'bin'))
  const postgres = which('postgres', sorted)
  return postgres === undefined ? undefined : join(postgres, '..')
}

interface Owner {
  readonly uid: number
  readonly gid: number
  readonly prefix: readonly string[]
}

/** PostgreSQL refuses to run as root; it then runs as the user that its package created, or as nobody. */
async function unprivilegedOwner(): Promise<Owner | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const setpriv = which('setpriv')
  if (setpriv === undefined) {
    throw new BrokerError('missing', 'postgres', 'root needs setpriv (package util-linux) to start it as another user')
  }
  for (const user of ['postgres', 'nobody']) {
    const [uid, gid] = await Promise.all([exec('id', ['-u', user]), exec('id', ['-g', user])])
    if (uid.code !== 0 || gid.code !== 0) continue
    const ids = { uid: Number(uid.stdout), gid: Number(gid.stdout) }
    return { ...ids, prefix: [setpriv, `--reuid=${ids.uid}`, `--regid=${ids.gid}`, '--clear-groups', '--'] }
  }
  throw new BrokerError('missing', 'postgres', 'root needs a user postgres or nobody to start it as')
}

async function run([file = '', ...args]: readonly string[]): Promise<void> {
  const result = await exec(file, args, { cwd: '/', env: { PATH: process.env['PATH'] ?? '', LC_ALL: 'C' } })
  if (result.code === 0) return
  const hint = /permission denied/i.test(result.stderr)
    ? '\nas root it runs as another user, who must be able to pass through the folders above (chmod o+x)'
    : ''
  throw new BrokerError('start-failed', 'postgres', `initdb failed:\n${tail(result.stderr)}${hint}`)
}

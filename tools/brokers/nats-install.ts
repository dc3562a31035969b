import { mkdtemp, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { aptInstall } from './apt.ts'
import { BrokerError, howToGet } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import { installedGo } from './go.ts'
import { withLock } from './lock.ts'
import { notice } from './notice.ts'
import { cacheDir } from './paths.ts'
import type { NatsOptions } from './types.ts'

export interface NatsBinary {
  readonly file: string
  readonly version: string
}

const MODULE = 'github.com/nats-io/nats-server/v2@latest'
const PROGRAM = 'nats-server'
// Debian 12 packages 2.9, the oldest line that Busbar supports; 2.10 brought most of what "current" means.
const CURRENT_MINOR = 10

export function natsPackages(): readonly string[] {
  return which(PROGRAM, [builtDir()]) === undefined && installedGo() === undefined ? [PROGRAM] : []
}

/** A server of the requested version; by default the newest available. */
export async function natsBinary(version: NatsOptions['version']): Promise<NatsBinary> {
  if (version === 'debian') return debian()
  const current = (await installed([builtDir()])) ?? (await build(version === 'current'))
  return current ?? (await withVersion(which(PROGRAM))) ?? debian()
}

function builtDir(): string {
  return cacheDir('nats-server')
}

async function withVersion(file: string | undefined): Promise<NatsBinary | undefined> {
  if (file === undefined) return undefined
  const { stdout } = await exec(file, ['--version'])
  return { file, version: /v?(\d+\.\d+\.\d+)/.exec(stdout)?.[1] ?? '' }
}

async function installed(first: readonly string[]): Promise<NatsBinary | undefined> {
  const found = await withVersion(which(PROGRAM, first))
  const [major = 0, minor = 0] = (found?.version ?? '').split('.').map(Number)
  return major > 2 || (major === 2 && minor >= CURRENT_MINOR) ? found : undefined
}

/**
 * Builds the current server with Go. Without `strict` a failure only prints a notice: Debian's server is the next
 * choice.
 */
async function build(strict: boolean): Promise<NatsBinary | undefined> {
  const go = installedGo()
  if (go === undefined) {
    if (strict) throw new BrokerError('missing', 'nats', `the current server needs Go to build it: ${howToGet('nats')}`)
    return undefined
  }
  return withLock('nats-server', async () => {
    const already = await installed([builtDir()])
    if (already !== undefined) return already
    notice(`building ${MODULE}`)
    const target = await mkdtemp(join(builtDir(), 'build-'))
    try {
      const result = await exec(go, ['install', MODULE], {
        env: { ...process.env, GOBIN: target, CGO_ENABLED: '0' },
        timeoutMs: 10 * 60_000,
      })
      if (result.code === 0) {
        await rename(join(target, PROGRAM), join(builtDir(), PROGRAM))
        return await installed([builtDir()])
      }
      const message = `go install ${MODULE} failed: ${tail(result.stderr, 5)}`
      if (strict) throw new BrokerError('install-failed', 'nats', `${message}\n${howToGet('nats')}`)
      notice(`nats: ${message}`)
      return undefined
    } finally {
      await rm(target, { recursive: true, force: true })
    }
  })
}

async function debian(): Promise<NatsBinary> {
  const place = ['/usr/sbin', '/usr/bin']
  const isPackaged = async (): Promise<NatsBinary | undefined> => {
    const file = which(PROGRAM, place)
    return file !== undefined && place.some((dir) => file.startsWith(`${dir}/`)) ? withVersion(file) : undefined
  }
  const found = await isPackaged()
  if (found !== undefined) return found
  await aptInstall('nats', [PROGRAM])
  const now = await isPackaged()
  if (now === undefined) throw new BrokerError('missing', 'nats', `no packaged nats-server: ${howToGet('nats')}`)
  return now
}

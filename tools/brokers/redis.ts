import { join } from 'node:path'
import type { Blueprint } from './blueprint.ts'
import { exec } from './exec.ts'
import { LOCAL } from './local-blueprint.ts'
import { redisProgram } from './redis-install.ts'
import type { RedisOptions } from './types.ts'

/** Durable by default, as a message broker must be: what was confirmed survives SIGKILL. */
export const REDIS_ARGS: readonly string[] = ['--appendonly', 'yes', '--appendfsync', 'everysec', '--save', '']

export async function redisBlueprint(dataDir: string, port: number, options: RedisOptions): Promise<Blueprint> {
  const file = await redisProgram(options.version, dataDir)
  const version = /v=(\S+)/.exec((await exec(file, ['--version'])).stdout)?.[1] ?? ''
  const { host } = LOCAL
  const place = ['--port', String(port), '--bind', host, '--dir', dataDir, '--daemonize', 'no']
  const args = [...place, ...REDIS_ARGS, ...(options.args ?? [])]
  const command = {
    file,
    args,
    env: { PATH: process.env['PATH'] ?? '' },
    cwd: dataDir,
    logFile: join(dataDir, 'redis.log'),
  }
  return {
    ...LOCAL,
    name: 'redis',
    version,
    url: `redis://${host}:${port}`,
    port,
    dataDir,
    readyTimeoutMs: 15_000,
    processes: [{ id: 1, port, command, stopSignal: 'SIGTERM' }],
  }
}

import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Blueprint } from './blueprint.ts'
import { BrokerError } from './errors.ts'
import { goBuild } from './go.ts'
import { LOCAL } from './local-blueprint.ts'
import { freePort } from './ports.ts'
import type { KafkaOptions } from './types.ts'

const SOURCE = join(import.meta.dirname, 'kfake')
const HOST = LOCAL.host

/** Built with Go, once. */
export function kfakeProgram(): Promise<string> {
  return goBuild('kafka', SOURCE, 'kfake')
}

/** franz-go's Kafka: one process, whatever the number of nodes. It writes everything to its data folder at once. */
export async function kfakeBlueprint(dataDir: string, port: number, options: KafkaOptions): Promise<Blueprint> {
  if (options.secure !== undefined && options.secure !== false) {
    throw new BrokerError('unsupported', 'kafka', 'kfake has no secure listeners here: use another version')
  }
  const program = await kfakeProgram()
  const ports = [port]
  while (ports.length < (options.nodes ?? 1)) ports.push(await freePort())
  const dir = join(dataDir, 'kfake')
  await mkdir(dir)
  const configs = Object.entries(options.properties ?? {}).flatMap(([key, value]) => ['-config', `${key}=${value}`])
  return {
    ...LOCAL,
    name: 'kafka',
    version: await kfakeVersion(),
    url: `kafka://${ports.map((each) => `${HOST}:${each}`).join(',')}`,
    port,
    dataDir,
    readyTimeoutMs: 30_000,
    processes: [
      {
        id: 1,
        port,
        stopSignal: 'SIGTERM',
        command: {
          file: program,
          args: ['-ports', ports.join(','), '-data-dir', join(dir, 'state'), ...configs],
          env: { PATH: process.env['PATH'] ?? '' },
          cwd: dir,
          logFile: join(dir, 'kfake.log'),
        },
      },
    ],
  }
}

async function kfakeVersion(): Promise<string> {
  const text = await readFile(join(SOURCE, 'go.mod'), 'utf8')
  return `kfake ${/franz-go\/pkg\/kfake v?(\S+)/.exec(text)?.[1] ?? ''}`.trimEnd()
}

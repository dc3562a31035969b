import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Blueprint } from './blueprint.ts'
import { natsBinary } from './nats-install.ts'
import { DEFAULT_PORTS, freePort } from './ports.ts'
import type { NatsOptions } from './types.ts'

export const NATS_MONITOR_PORT = 27_223

export async function natsBlueprint(dataDir: string, port: number, options: NatsOptions): Promise<Blueprint> {
  const { file, version } = await natsBinary(options.version)
  const host = '127.0.0.1'
  // A private one must not take the port of the shared one, or of another whose restart will want it.
  const monitorPort = await freePort(port === DEFAULT_PORTS.nats ? NATS_MONITOR_PORT : undefined)
  const config = join(dataDir, 'nats.conf')
  await writeFile(config, natsConfig({ host, port, monitorPort, storeDir: join(dataDir, 'jetstream') }, options))
  const command = {
    file,
    args: ['-c', config],
    env: { PATH: process.env['PATH'] ?? '' },
    cwd: dataDir,
    logFile: join(dataDir, 'nats.log'),
  }
  return {
    name: 'nats',
    source: 'local',
    version,
    url: `nats://${host}:${port}`,
    host,
    port,
    dataDir,
    readyTimeoutMs: 15_000,
    processes: [{ id: 1, port, command, stopSignal: 'SIGTERM' }],
    container: undefined,
    details: { monitorUrl: `http://${host}:${monitorPort}` },
  }
}

export interface NatsPlace {
  readonly host: string
  readonly port: number
  readonly monitorPort: number
  readonly storeDir: string
}

export function natsConfig(place: NatsPlace, options: NatsOptions): string {
  return [
    `server_name: busbar-${place.port}`,
    `listen: "${place.host}:${place.port}"`,
    `http: "${place.host}:${place.monitorPort}"`,
    options.jetStream === false ? '' : `jetstream { store_dir: ${JSON.stringify(place.storeDir)} }`,
    options.config ?? '',
    '',
  ].join('\n')
}

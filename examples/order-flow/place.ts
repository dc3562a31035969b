import { join } from 'node:path'
import type { Transport } from 'busbar'
import { memory, memoryBroker } from 'busbar/memory'
import { transportFromUrl } from 'busbar/url'
import { inProcess } from './in-process.ts'
import { workerProcesses } from './worker-processes.ts'
import type { Workers } from './workers.ts'

/** How long the messages of a killed worker stay leased to it. The default of 30 s is too long for a demo. */
const LEASE_MS = 5_000

/** Where the services run, and a separate transport to their broker. */
export interface Place {
  readonly transport: Transport
  readonly workers: Workers
  /** Maximum time until the messages of a killed worker go to another one; 0 if the lost connection returns them. */
  readonly leaseMs: number
}

export interface PlaceOptions {
  readonly folder: string
  readonly stateDir: string
  readonly run: string
}

/** Uses worker processes, except for the broker that processes can't share. Rejects with `ConfigurationError`. */
export async function choosePlace(url: string | undefined, { folder, stateDir, run }: PlaceOptions): Promise<Place> {
  const chosen = url ?? `sqlite:${encodeURIComponent(join(folder, 'broker.db'))}?leaseMs=${LEASE_MS}`
  const transport = await transportFromUrl(chosen)
  if (transport.system !== 'memory')
    return { transport, workers: workerProcesses({ url: chosen, stateDir, run }), leaseMs: leaseOf(transport, chosen) }
  const broker = memoryBroker()
  const connect = (): Transport => memory({ broker })
  return { transport: connect(), workers: inProcess({ connect, stateDir, run }), leaseMs: 0 }
}

/** The option that says how long a dead worker keeps its messages, and its default, of each transport that has one. */
const LEASES: Readonly<Record<string, { readonly option: string; readonly defaultMs: number }>> = {
  sqlite: { option: 'leaseMs', defaultMs: 30_000 },
  nats: { option: 'leaseMs', defaultMs: 10_000 },
  redis: { option: 'leaseMs', defaultMs: 10_000 },
  kafka: { option: 'sessionTimeoutMs', defaultMs: 45_000 },
}

function leaseOf({ system }: Transport, url: string): number {
  const lease = LEASES[system]
  if (lease === undefined) return 0
  return Number(new URLSearchParams(url.split('?')[1]).get(lease.option) ?? lease.defaultMs)
}

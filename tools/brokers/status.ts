import { givenBroker, givenUrl } from './given.ts'
import { isAlive } from './process.ts'
import { sharedBroker } from './shared.ts'
import { readState } from './state.ts'
import type { BrokerName, BrokerSource } from './types.ts'

/**
 * - `healthy`: answers in its own protocol.
 * - `unhealthy`: its process lives, or runs elsewhere, but does not answer.
 * - `dead`: it was started and its process has ended; `up` restores it with its data.
 * - `down`: not started.
 */
export type BrokerState = 'healthy' | 'unhealthy' | 'dead' | 'down'

export interface BrokerStatus {
  readonly name: BrokerName
  readonly state: BrokerState
  readonly source: BrokerSource | undefined
  readonly version: string | undefined
  readonly url: string | undefined
  readonly pid: number | undefined
  readonly uptimeMs: number | undefined
  readonly dataDir: string | undefined
}

export async function brokerStatus(name: BrokerName): Promise<BrokerStatus> {
  const nothing = {
    name,
    source: undefined,
    version: undefined,
    url: undefined,
    pid: undefined,
    uptimeMs: undefined,
    dataDir: undefined,
  }
  const given = givenUrl(name)
  if (given !== undefined) {
    const state = (await givenBroker(name, given).healthy()) ? 'healthy' : 'unhealthy'
    return { ...nothing, state, source: 'env', url: hideSecrets(given) }
  }
  const record = readState(name)
  const broker = sharedBroker(name)
  if (record === undefined || broker === undefined) return { ...nothing, state: 'down' }
  const dead = record.refs.length > 0 && !record.refs.some((ref) => ref !== null && isAlive(ref))
  const answers = !dead && (await broker.healthy())
  return {
    name,
    state: dead ? 'dead' : answers ? 'healthy' : 'unhealthy',
    source: broker.source,
    version: broker.version,
    url: broker.url,
    pid: broker.pid,
    uptimeMs: dead ? undefined : Date.now() - record.startedAt,
    dataDir: broker.dataDir,
  }
}

/** A given URL may contain a real password; those of our own instances are all public. */
function hideSecrets(url: string): string {
  return url.replace(/\/\/[^@/]*@/, '//***@')
}

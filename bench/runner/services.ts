import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import type { Broker } from '../../tools/brokers/index.ts'
import type { ServiceName } from '../suites/suite.ts'

/** Brokers of this run alone, so that no other data or load is in the figures. */
export interface Services extends AsyncDisposable {
  /** `BUSBAR_TEST_REDIS_URL` and so on, for the cases. */
  readonly env: Readonly<Record<string, string>>
  /** Why a service can't be had, by its name. */
  readonly missing: ReadonlyMap<ServiceName, string>
  /** `redis 7.0.15`, for the report. */
  readonly versions: readonly string[]
}

/**
 * Redis rewrites its append-only file whenever it has grown enough, in a second process that takes a core for seconds: that
 * would distort what happens to be measured then.
 */
const REDIS = { args: ['--auto-aof-rewrite-percentage', '0'] } as const

function variableOf(name: ServiceName): string {
  return `BUSBAR_TEST_${name.toUpperCase()}_URL`
}

export async function startServices(names: ReadonlySet<ServiceName>): Promise<Services> {
  const env: Record<string, string> = {}
  const missing = new Map<ServiceName, string>()
  const versions: string[] = []
  const started: Broker[] = []
  const starts = [...names].map(async (name) => {
    const given = process.env[variableOf(name)]
    if (given !== undefined) {
      env[variableOf(name)] = given
      versions.push(`${name} (given by URL)`)
      return
    }
    try {
      const broker = await startPrivate(name, name === 'redis' ? REDIS : {})
      started.push(broker)
      env[variableOf(name)] = broker.url
      versions.push(`${name} ${broker.version}`)
    } catch (error) {
      if (!(error instanceof BrokerError)) throw error
      missing.set(name, error.message)
    }
  })
  const stop = async (): Promise<void> => {
    await Promise.all(started.map((broker) => broker.stop()))
  }
  const results = await Promise.allSettled(starts)
  const failed = results.find((result) => result.status === 'rejected')
  if (failed !== undefined) {
    await stop()
    throw failed.reason
  }
  return { env, missing, versions: versions.toSorted(), [Symbol.asyncDispose]: stop }
}

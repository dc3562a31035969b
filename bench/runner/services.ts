import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import type { Broker, KafkaBroker } from '../../tools/brokers/index.ts'
import type { ServiceName, SuiteName } from '../suites/suite.ts'
import { BENCH_FOLDER } from './folders.ts'

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
/** What its packages give it. */
const KAFKA = { heapMb: 1_024 } as const

function variableOf(name: ServiceName): string {
  return `BUSBAR_TEST_${name.toUpperCase()}_URL`
}

function start(name: ServiceName) {
  if (name === 'redis') return startPrivate(name, REDIS)
  if (name === 'kafka') return startPrivate(name, KAFKA)
  return startPrivate(name, {})
}

/** Fills the topics that the suite of the client reads. */
async function fillTopics(broker: KafkaBroker): Promise<void> {
  const program = join(BENCH_FOLDER, 'kafka/fill-topics.ts')
  const options = ['--conditions=busbar-source', '--disable-warning=ExperimentalWarning']
  await promisify(execFile)(process.execPath, [...options, program, broker.listeners.plaintext])
}

/** The command of Java, to which a main class of Kafka's tools is added. */
function javaCommand(broker: KafkaBroker): readonly string[] {
  // Tools of tests start sooner with the simple compiler; here they are measured.
  return broker.toolCommand('').filter((arg) => arg !== '' && !arg.startsWith('-XX:TieredStopAtLevel'))
}

/** `suites`: what will be measured; some of them need data. */
export async function startServices(names: ReadonlySet<ServiceName>, suites: readonly SuiteName[]): Promise<Services> {
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
      const broker = await start(name)
      started.push(broker)
      if (broker.name === 'kafka') env['BUSBAR_BENCH_KAFKA_JAVA'] = JSON.stringify(javaCommand(broker))
      if (broker.name === 'kafka' && suites.includes('kafka')) await fillTopics(broker)
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

import { createHash } from 'node:crypto'
import { mkdir, rm } from 'node:fs/promises'
import { join } from 'node:path'
import type { InstanceRecord } from './blueprint.ts'
import { BrokerError } from './errors.ts'
import { installTogether } from './install.ts'
import { givenBroker, givenUrl, urlVariable } from './given.ts'
import { withLock } from './lock.ts'
import { notice } from './notice.ts'
import { runDir } from './paths.ts'
import { DEFAULT_PORTS, freePort } from './ports.ts'
import { suitsRabbitMqVersion } from './rabbitmq-install.ts'
import { openInstance, prepare } from './source.ts'
import type { Opened } from './source.ts'
import { readState, removeState, writeState } from './state.ts'
import type { Broker, BrokerName } from './types.ts'
import { waitFor } from './wait.ts'

/** How long a live instance may take to answer before it counts as stuck. */
const PATIENCE_MS = 10_000

/** The shared instance: the one that the environment names, the running one, or a new one. */
export async function ensureShared(name: BrokerName): Promise<Broker> {
  const given = givenUrl(name)
  if (given !== undefined) return checkGiven(name, given)
  return withLock(`broker-${name}`, async () => {
    const known = findShared(name)
    if (known !== undefined && (await bringBack(known))) return checkVersion(known.broker)
    await known?.broker.stop()
    const begun = performance.now()
    const broker = await startShared(name)
    const took = ((performance.now() - begun) / 1000).toFixed(1)
    notice(`${name} ${broker.version} is ready after ${took} s (${broker.source})`)
    return broker
  })
}

export interface BroughtUp {
  readonly up: readonly Broker[]
  readonly failed: readonly BrokerError[]
}

/**
 * Starts what is not running, in parallel; one that can't be started does not prevent the others. `others` are installed, and
 * not started.
 */
export async function bringUp(names: readonly BrokerName[], others: readonly BrokerName[] = []): Promise<BroughtUp> {
  await installTogether([...new Set([...names, ...others])])
  const results = await Promise.allSettled(names.map(ensureShared))
  const up = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []))
  const failed = results.flatMap((result, index) =>
    result.status === 'rejected' ? [asBrokerError(names[index] ?? 'kafka', result.reason)] : [],
  )
  return { up, failed }
}

function asBrokerError(name: BrokerName, reason: unknown): BrokerError {
  if (reason instanceof BrokerError) return reason
  const text = reason instanceof Error ? reason.message : String(reason)
  return new BrokerError('start-failed', name, text, reason)
}

/** The shared instance as it is, without starting anything; undefined when there is none. */
export function sharedBroker(name: BrokerName): Broker | undefined {
  const given = givenUrl(name)
  return given === undefined ? findShared(name)?.broker : givenBroker(name, given)
}

/** Stops the shared instance and removes its data; false when there was none. Leaves a given one alone. */
export async function stopShared(name: BrokerName): Promise<boolean> {
  return withLock(`broker-${name}`, async () => {
    const known = findShared(name)
    await known?.broker.stop()
    return known !== undefined
  })
}

async function checkGiven(name: BrokerName, url: string): Promise<Broker> {
  const broker = givenBroker(name, url)
  if (await broker.healthy()) return broker
  const place = `${broker.host}:${broker.port}`
  throw new BrokerError(
    'unreachable',
    name,
    `nothing of this kind answers at ${place}, which ${urlVariable(name)} names`,
  )
}

/** Uses a running instance, but not with a version that was not asked for. */
function checkVersion(broker: Broker): Broker {
  if (broker.name !== 'rabbitmq' || suitsRabbitMqVersion(broker.version)) return broker
  const what = `BUSBAR_RABBITMQ_VERSION asks for another version than the ${broker.version} that runs`
  throw new BrokerError('unsupported', 'rabbitmq', `${what}; stop that one first: npm run brokers -- down rabbitmq`)
}

function findShared(name: BrokerName): Opened<BrokerName> | undefined {
  const record = readState(name)
  return record === undefined ? undefined : open(record)
}

function open(record: InstanceRecord): Opened<BrokerName> {
  const { blueprint } = record
  const { name } = blueprint
  return openInstance(
    name,
    record,
    (refs) => writeState({ blueprint, refs, startedAt: Date.now() }),
    () => removeState(name),
  )
}

/** True when it is healthy, or healthy again: a crashed one is restarted on its own port and data. */
async function bringBack({ broker, runtime }: Opened<BrokerName>): Promise<boolean> {
  if (await broker.healthy()) return true
  await runtime.resume().catch(() => undefined)
  try {
    if (broker.pid === undefined) {
      await runtime.start()
      return true
    }
    return (await waitFor(() => broker.healthy(), { timeoutMs: PATIENCE_MS })) === true
  } catch {
    return false
  }
}

async function startShared(name: BrokerName): Promise<Broker> {
  const dataDir = join(runDir('shared'), name)
  await rm(dataDir, { recursive: true, force: true })
  await mkdir(dataDir, { mode: 0o711 })
  const port = await freePort(DEFAULT_PORTS[name])
  const blueprint = await prepare({ name, dataDir, port, project: projectName(), exclusive: false, options: {} })
  const record: InstanceRecord = { blueprint, refs: [], startedAt: Date.now() }
  const { broker, runtime } = open(record)
  try {
    await runtime.start()
    // For a container there is no process of ours whose start would have written this.
    if (blueprint.container !== undefined) writeState(record)
    return broker
  } catch (error) {
    await runtime.kill().catch(() => undefined)
    removeState(name)
    throw error
  }
}

/** The name in compose.yaml, so that containers of `docker compose up` are used; other sets get another name. */
function projectName(): string {
  const own = process.env['BUSBAR_BROKERS_DIR']
  return own ? `busbar-${createHash('sha256').update(own).digest('hex').slice(0, 8)}` : 'busbar'
}

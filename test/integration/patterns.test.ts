import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { brokerUrl, startPrivate } from '../../tools/brokers/index.ts'
import type { BrokerName, KafkaBroker } from '../../tools/brokers/index.ts'
import { skipIfMissing } from './broker-helpers.ts'

const examples = join(import.meta.dirname, '../../examples/patterns')
const folder = mkdtempSync(join(tmpdir(), 'busbar-patterns-test-'))
afterAll(async () => {
  rmSync(folder, { recursive: true, force: true })
  await (await kafkaBroker)?.stop()
})

let kafkaBroker: Promise<KafkaBroker> | undefined

/** One of this file's own: its sessions may be as short as a test wants. */
async function kafkaUrl(): Promise<string> {
  kafkaBroker ??= startPrivate('kafka', { properties: { 'group.min.session.timeout.ms': '1000' } })
  return (await kafkaBroker).url
}

/** Runs a pattern; resolves with the lines that it printed. Whatever is on stderr is a failure. */
function run(file: string, url: string): Promise<readonly string[]> {
  const child = spawn(process.execPath, ['--conditions=busbar-source', join(examples, file)], {
    cwd: folder,
    env: { ...process.env, BUS_URL: url },
  })
  let [output, errors] = ['', '']
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text))
  child.stderr.setEncoding('utf8').on('data', (text: string) => (errors += text))
  const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>()
  child.on('error', reject)
  child.on('close', (code, signal) => {
    if (code === 0 && errors === '') resolve(output.trim().split('\n'))
    else reject(new Error(`${file} ended with ${code ?? signal}: ${output}${errors}`))
  })
  return promise
}

interface Where {
  readonly name: string
  /** With short leases: what the killed worker held comes back after that. */
  readonly parameters: string
  readonly broker?: BrokerName
}

const EVERYWHERE: readonly Where[] = [
  { name: 'memory', parameters: '' },
  { name: 'sqlite', parameters: '?leaseMs=1000' },
  { name: 'rabbitmq', parameters: '', broker: 'rabbitmq' },
  { name: 'nats', parameters: '?leaseMs=3000', broker: 'nats' },
  { name: 'redis', parameters: '?retention.maxMessages=100000&leaseMs=3000', broker: 'redis' },
  {
    name: 'kafka',
    parameters: '?sessionTimeoutMs=3000&rebalanceTimeoutMs=6000&partitions=3',
    broker: 'kafka',
  },
]

describe.each(EVERYWHERE)('the patterns on $name', ({ name, parameters, broker }) => {
  const url = async (context: Parameters<typeof skipIfMissing>[0]): Promise<string> => {
    if (name === 'memory') return 'memory:'
    if (broker === undefined) return `sqlite:./patterns.db${parameters}`
    const started = broker === 'kafka' ? kafkaUrl() : brokerUrl(broker)
    return `${await skipIfMissing(context, started)}${parameters}`
  }

  it('producer and consumer', { timeout: 60_000 }, async (context) => {
    expect(await run('producer-consumer.ts', await url(context))).toEqual(['received Hello, world!'])
  })

  it('fan-out', { timeout: 60_000 }, async (context) => {
    const lines = await run('fan-out.ts', await url(context))
    expect(lines.toSorted()).toEqual(
      ['cache', 'mail', 'search'].map((receiver) => `${receiver} received { sku: 'MUG-BLUE', cents: 1290 }`),
    )
  })

  it.skipIf(name === 'memory')('work queue, with a worker killed', { timeout: 60_000 }, async (context) => {
    const lines = await run('work-queue.ts', await url(context))
    expect(lines.filter((line) => line.endsWith('is killed'))).toHaveLength(1)
    const done = lines.filter((line) => line.endsWith('is done'))
    expect([...new Set(done)].toSorted()).toEqual('A B C D E F G H'.split(' ').map((job) => `${job} is done`))
  })

  it('routing', { timeout: 60_000 }, async (context) => {
    const lines = await run('routing.ts', await url(context))
    expect(lines.toSorted()).toEqual([
      'direct: patterns.logs.error: disk full',
      'fanout: patterns.logs.error: disk full',
      'fanout: patterns.logs.info: started',
      'headers: patterns.logs.error: disk full',
      'topic: patterns.logs.error: disk full',
      'topic: patterns.logs.info: started',
    ])
  })

  it('consumer group: topic, partition, position and key', { timeout: 60_000 }, async (context) => {
    const lines = await run('consumer-group.ts', await url(context))
    const seen = lines.map((line) => /^patterns\.readings (\S+) (\{.*\}) (sensor-\d) (\d)$/.exec(line) ?? [])
    expect(new Set(seen.map(([, , , , number]) => number))).toEqual(new Set(['1', '2', '3', '4', '5', '6']))
    expect(seen).toHaveLength(6)
    for (const [, partition, , key, number] of seen) {
      expect(key).toBe(`sensor-${Number(number) % 3}`)
      if (broker !== undefined) expect(partition).not.toBe('-')
    }
  })
})

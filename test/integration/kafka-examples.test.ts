import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { ensurePeers, oldestNode } from '../peers/ensure-peers.ts'
import { useKafka } from './kafka-broker.ts'
import { QUICK_GROUPS } from './kafka-consumer-setup.ts'

const examples = join(import.meta.dirname, '../../examples/kafka')

const kafka = useKafka({
  secure: true,
  properties: {
    ...QUICK_GROUPS.properties,
    'group.share.min.heartbeat.interval.ms': '500',
    'group.share.heartbeat.interval.ms': '500',
  },
})

interface RunOptions {
  /** @default the running one */
  readonly node?: string
  readonly env?: NodeJS.ProcessEnv
  /** It is told to stop when it has printed this. */
  readonly interruptAt?: string
}

/** Runs an example; resolves with what it printed. */
function run(
  broker: KafkaBroker,
  name: string,
  { node = process.execPath, env = {}, interruptAt }: RunOptions = {},
): Promise<string> {
  const child = spawn(node, ['--conditions=busbar-source', join(examples, `${name}.ts`)], {
    env: { ...process.env, KAFKA_BROKERS: broker.listeners.plaintext, ...env },
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let [output, errors, isInterrupted] = ['', '', false]
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    if (isInterrupted || interruptAt === undefined || !output.includes(interruptAt)) return
    isInterrupted = child.kill('SIGINT')
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const { promise, resolve, reject } = Promise.withResolvers<string>()
  child.on('error', reject)
  child.on('close', (code, signal) => {
    if (code === 0 && errors === '') resolve(output)
    else reject(new Error(`${name} ended with ${code ?? signal}: ${output}${errors}`))
  })
  return promise
}

// In their order: each builds on what the one before has left.
describe('the examples of the Kafka client', { timeout: 60_000 }, () => {
  test('quick start', async (context) => {
    expect(await run(kafka.of(context), 'quick-start')).toBe('ada: Hello, Ada!\n')
  })

  test('administer', async (context) => {
    expect(await run(kafka.of(context), 'admin')).toBe(
      [
        'topics: greetings',
        'reports continues at orders[0] 0',
        'reports continues at orders[1] 0',
        'reports continues at orders[2] 0',
        '',
      ].join('\n'),
    )
  })

  test('produce', async (context) => {
    expect(await run(kafka.of(context), 'produce')).toMatch(/^ord-1 is at orders\[\d\], offset 0\n$/)
  })

  test('consume, record by record', async (context) => {
    const output = await run(kafka.of(context), 'consume', { interruptAt: 'for ord-3' })
    expect(output).toMatch(/^orders\[\d\] \d: charged 9 for ord-3$/m)
  })

  test('consume, batch by batch', async (context) => {
    expect(await run(kafka.of(context), 'batches', { interruptAt: ' of orders[' })).toMatch(/^\d of orders\[\d\]$/m)
  })

  test('transactions', async (context) => {
    expect(await run(kafka.of(context), 'transactions', { interruptAt: ' invoices' })).toMatch(/^\d invoices$/m)
  })

  test('a share group', async (context) => {
    const output = await run(kafka.of(context), 'share-group', { interruptAt: 'mail for ord-1' })
    expect(output).toMatch(/^mail for ord-1, delivery 1$/m)
  })

  test('look at groups', async (context) => {
    const output = await run(kafka.of(context), 'groups')
    expect(output).toMatch(/^invoicing: \w+, members: \d+\n( {2}orders\[\d\] is at \d+, \d+ behind\n)+/m)
    expect(output).not.toContain('stop the consumers')
  })

  test('hooks', async (context) => {
    const output = await run(kafka.of(context), 'hooks')
    expect(output).toMatch(/^connected: broker unknown, bootstrap$/m)
    expect(output).toMatch(/^batch of 1 for orders: confirmed$/m)
  })

  test('security', async (context) => {
    const broker = kafka.of(context)
    const env = {
      KAFKA_BROKERS: broker.listeners.saslSsl,
      KAFKA_CA: broker.tls?.caFile,
      KAFKA_USERNAME: 'admin',
      KAFKA_PASSWORD: 'admin-secret',
    }
    expect(await run(broker, 'security', { env })).toBe('authenticated; 1 broker(s)\n')
  })
  test('quick start, on the oldest Node', { timeout: 600_000 }, async (context) => {
    const broker = kafka.of(context)
    await ensurePeers()
    const node = oldestNode()
    if (node === undefined) return context.skip('npm has no Node 22.18 for this machine')
    // Node 22 says that stripping types is an experiment.
    expect(await run(broker, 'quick-start', { node, env: { NODE_NO_WARNINGS: '1' } })).toBe('ada: Hello, Ada!\n')
  })
})

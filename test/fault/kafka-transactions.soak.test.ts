// A soak: processes and brokers that are killed while transactions run. BUSBAR_CHAIN gives the number of messages of T14.
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Bus } from 'busbar'
import { kafka } from 'busbar/kafka'
import { createClient } from 'busbar/kafka/client'
import type { KafkaClient } from 'busbar/kafka/client'
import { childProgram, seededRandom, uniqueName, waitUntil } from 'busbar/testing'
import type { Child } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { QUICK, QUICK_PROPERTIES } from '../conformance/kafka-suite.ts'
import { pause } from './flow.ts'
import { nodeOf } from './kafka-nodes.ts'
import type { TransactionsArgument } from './kafka-transactions-child.ts'

const CHAIN = Number(process.env['BUSBAR_CHAIN'] ?? 20_000)
const STEP = 1_000
const MEMBERS = 3
const LONGEST_STALL_MS = 10_000
const LETTERS = 300
const FROZEN_MS = 20_000

let broker: KafkaBroker
let client: KafkaClient
let bus: Bus
const children = new Set<Child>()

beforeAll(async () => {
  broker = await startPrivate('kafka', { nodes: 3, properties: QUICK_PROPERTIES })
  client = createClient({ brokers: broker.nodes.map(({ host, port }) => `${host}:${port}`), clientId: 'test' })
  const transport = kafka({ ...QUICK, url: broker.url, replicationFactor: 3 })
  bus = createBus({ service: 'publisher', logger: false, transport })
  await bus.start()
}, 300_000)

afterAll(async () => {
  for (const child of children) await child[Symbol.asyncDispose]()
  await bus.close({ timeoutMs: 5_000 })
  await client.close()
  await broker.stop()
})

async function member(argument: TransactionsArgument, transactions = true): Promise<Child> {
  const child = await childProgram({
    module: new URL('./kafka-transactions-child.ts', import.meta.url),
    program: new URL('./kafka-transactions-child.ts', import.meta.url),
    argument,
    env: { BUSBAR_TEST_KAFKA: broker.url, BUSBAR_TEST_TRANSACTIONS: String(transactions) },
  })
  children.add(child)
  return child
}

async function kill(child: Child): Promise<void> {
  children.delete(child)
  await child.kill()
}

/** Counts values of a topic as a reader of committed messages sees them, in the background. */
class Counter {
  readonly counts = new Map<string, number>()
  lastAt = performance.now()
  longestStallMs = 0
  readonly #consumer

  constructor(topic: string, partition?: number) {
    this.#consumer = client.consumer({ topics: [topic], onReset: 'earliest', autoCommit: false })
    void this.#read(partition)
  }

  async #read(partition: number | undefined): Promise<void> {
    for await (const batch of this.#consumer) {
      if (partition === undefined || batch.partition === partition) {
        for (const { valueText } of batch.records)
          this.counts.set(valueText ?? '', (this.counts.get(valueText ?? '') ?? 0) + 1)
        this.#progressed()
      }
      batch.done()
    }
  }

  #progressed(): void {
    const now = performance.now()
    this.longestStallMs = Math.max(this.longestStallMs, now - this.lastAt)
    this.lastAt = now
  }

  get repeated(): string[] {
    return [...this.counts].filter(([, count]) => count > 1).map(([value]) => value)
  }

  async close(): Promise<void> {
    await this.#consumer.close()
  }
}

async function publish(topic: string, from: number, count: number): Promise<void> {
  await bus.publishMany(
    topic,
    Array.from({ length: count }, (_, at) => ({ data: from + at, key: `k${(from + at) % 500}` })),
  )
}

describe('transactions of a group whose members die', () => {
  it(
    `T14: a chain of three exactly-once consumers counts each of ${CHAIN} messages once`,
    { timeout: 600_000 + CHAIN * 5 },
    async () => {
      const random = seededRandom('T14')
      const name = uniqueName('chain')
      const topics = [0, 1, 2, 3].map((at) => `${name}.${at}`)
      for (const topic of topics) await bus.admin().ensureTopic(topic)
      const argument = { topics, group: name, failing: false }
      let members = await Promise.all(Array.from({ length: MEMBERS }, () => member(argument)))
      const output = new Counter(topics.at(-1) as string)
      let kills = 0
      for (let from = 0; from < CHAIN; from += STEP) {
        await publish(topics[0] as string, from, Math.min(STEP, CHAIN - from))
        const victim = random.pick(members)
        await kill(victim)
        kills++
        members = [...members.filter((each) => each !== victim), await member(argument)]
        // A leader and coordinator dies in the middle.
        if (from === STEP * Math.floor(CHAIN / STEP / 2)) {
          const node = nodeOf(broker, 1)
          await node.kill()
          await pause(2_000)
          await node.restart()
        }
      }
      await waitUntil(() => output.counts.size === CHAIN, {
        timeoutMs: 300_000,
        describe: () => `${output.counts.size} of ${CHAIN}, ${output.repeated.length} twice`,
      })
      await output.close()
      console.log(
        `T14: ${CHAIN} messages, ${kills} processes killed, 1 broker; longest stall ${Math.round(output.longestStallMs)} ms`,
      )
      expect(output.repeated).toEqual([])
      expect(output.longestStallMs).toBeLessThan(LONGEST_STALL_MS)
      for (const child of members) await kill(child)
    },
  )

  it.each([true, false])(
    'T13: with transactions: %s, letters and commits agree although the leader of the letters freezes, and members die',
    { timeout: 300_000 },
    async (transactions) => {
      const topic = uniqueName('letters')
      const group = uniqueName('group')
      const letterTopic = `${topic}.${group}.dlq`
      await bus.admin().ensureTopic(topic)
      await bus.admin().ensureTopic(letterTopic)
      const argument = { topics: [topic], group, failing: true }
      const letters = new Counter(letterTopic, 0)
      let child = await member(argument, transactions)
      await publish(topic, 0, LETTERS)
      await waitUntil(() => letters.counts.size > 0, { timeoutMs: 60_000 })
      const [described] = await client.admin().topics.describe([letterTopic])
      const leader = nodeOf(broker, described?.partitions[0]?.leader ?? -1)
      await leader.pause()
      const frozenAt = performance.now()
      while (performance.now() - frozenAt < FROZEN_MS) {
        await pause(3_000)
        await kill(child)
        await publish(topic, LETTERS + Math.round(performance.now() - frozenAt) * 10, 20)
        child = await member(argument, transactions)
      }
      await leader.resume()
      const lag = async (): Promise<number | undefined> =>
        (await bus.admin().groups(topic, group)).find((each) => each.group === group)?.lag
      await waitUntil(async () => (await lag()) === 0, { timeoutMs: 120_000, describe: lag })
      // What is committed has its letter: by id.
      const sources = new Set<string>()
      const source = new Counter(topic)
      await waitUntil(() => source.counts.size >= LETTERS && letters.counts.size >= source.counts.size, {
        timeoutMs: 60_000,
        describe: () => [source.counts.size, letters.counts.size],
      })
      for (const value of source.counts.keys()) sources.add(value)
      expect([...letters.counts.keys()].toSorted()).toEqual([...sources].toSorted())
      if (transactions) expect(letters.repeated).toEqual([])
      console.log(`T13 ${transactions}: ${sources.size} messages, ${letters.repeated.length} with a second letter`)
      await Promise.all([letters.close(), source.close()])
      await kill(child)
    },
  )
})

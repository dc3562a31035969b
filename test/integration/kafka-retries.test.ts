import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, ConsumeOptions, Handler } from 'busbar'
import { kafka } from 'busbar/kafka'
import { createClient } from 'busbar/kafka/client'
import type { KafkaClient } from 'busbar/kafka/client'
import { uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { QUICK, QUICK_PROPERTIES } from '../conformance/kafka-suite.ts'

const GROUP = 'retried'

let broker: KafkaBroker
let client: KafkaClient
const cleanUps: (() => Promise<void>)[] = []

beforeAll(async () => {
  broker = await startPrivate('kafka', { properties: QUICK_PROPERTIES })
  client = createClient({ brokers: [`${broker.host}:${broker.port}`], clientId: 'test' })
})

afterAll(async () => {
  for (const cleanUp of cleanUps.toReversed()) await cleanUp()
  await client.close()
  await broker.stop()
})

interface Member {
  readonly bus: Bus
  readonly problems: unknown[]
}

async function start(topic: string, handler: Handler, options: ConsumeOptions = {}, partitions = 1): Promise<Member> {
  const bus = createBus({
    service: 'shop',
    logger: false,
    transport: kafka({ ...QUICK, partitions, url: broker.url, retryTopics: true }),
  })
  const problems: unknown[] = []
  bus.events.on('error', ({ error }) => problems.push(error))
  bus.events.on('warning', ({ code }) => problems.push(code))
  cleanUps.push(() => bus.close({ timeoutMs: 2_000 }))
  bus.consume(topic, handler, { group: GROUP, order: 'none', concurrency: 200, prefetch: 1_000, ...options })
  await bus.start()
  return { bus, problems }
}

async function until(condition: () => boolean | Promise<boolean>, describeState: () => unknown): Promise<void> {
  await waitUntil(condition, { timeoutMs: 40_000, describe: describeState })
}

function unkeyed(count: number): { readonly data: number }[] {
  return Array.from({ length: count }, (_, data) => ({ data }))
}

async function lagOf({ bus }: Member, topic: string): Promise<number> {
  const [info] = await bus.admin().groups(topic, GROUP)
  return info?.lag ?? -1
}

const names = () => client.admin().topics.list()

describe('the retry topic', () => {
  it('takes retries that wait, counts them as lag, and gives them to the next owner of their partition', async () => {
    const topic = uniqueName('retries')
    const handled = new Map<number, number[]>()
    const handler: Handler = async ({ data }, { attempt }) => {
      handled.set(data as number, [...(handled.get(data as number) ?? []), attempt])
      if (attempt === 1) throw new Error('not yet')
    }
    const retry = { attempts: 3, backoff: 'fixed', baseMs: 8_000, maxMs: 8_000 } as const
    const first = await start(topic, handler, { retry })
    await first.bus.publishMany(topic, unkeyed(1_000))
    await until(
      () => handled.size === 1_000,
      () => handled.size,
    )
    const retries = `${topic}.${GROUP}.retry`
    await until(async () => (await names()).includes(retries), names)
    // Markers of transactions have offsets, too.
    await until(
      async () => (await lagOf(first, topic)) >= 1_000,
      () => lagOf(first, topic),
    )
    // What comes behind them goes on.
    await first.bus.publishMany(topic, [{ data: 5_000 }])
    await until(
      () => handled.has(5_000),
      () => handled.size,
    )
    expect([...handled.values()].every((attempts) => attempts.length === 1)).toBe(true)
    await first.bus.close()
    const second = await start(topic, handler, { retry })
    await until(
      () => [...handled.values()].every(({ length }) => length === 2),
      () => handled.size,
    )
    expect([...handled.values()].every((attempts) => attempts.join() === '1,2')).toBe(true)
    await until(
      async () => (await lagOf(second, topic)) === 0,
      () => lagOf(second, topic),
    )
    expect([first.problems, second.problems]).toEqual([[], []])
    await second.bus.close()
    const admin = await start(uniqueName('other'), async () => {})
    await admin.bus.admin().deleteGroup(topic, GROUP)
    await until(async () => !(await names()).includes(retries), names)
  })

  it('T12: delayed messages come in time and once each, while members come and go', async () => {
    const topic = uniqueName('delayed')
    const count = 2_000
    const handled = new Map<number, number[]>()
    const handler: Handler = async ({ data }) => {
      handled.set(data as number, [...(handled.get(data as number) ?? []), Date.now()])
    }
    const first = await start(topic, handler, {}, 2)
    const dueAt = Array.from({ length: count }, (_, at) => Date.now() + 2_000 + ((at * 7_919) % 10_000))
    await first.bus.publishMany(
      topic,
      dueAt.map((time, data) => ({ data, key: `k${data % 50}`, deliverAt: new Date(time) })),
    )
    const second = await start(topic, handler, {}, 2)
    await until(
      () => handled.size > count / 4,
      () => handled.size,
    )
    await first.bus.close()
    await until(
      () => handled.size === count,
      () => handled.size,
    )
    const early = [...handled].filter(([data, times]) => times.some((time) => time < (dueAt[data] as number)))
    expect(early).toEqual([])
    expect([...handled.values()].filter(({ length }) => length > 1)).toEqual([])
    expect([first.problems, second.problems]).toEqual([[], []])
    await second.bus.close()
  })

  it('T09: always-failing messages are tried as often as they may be, and each is dead-lettered once', async () => {
    const topic = uniqueName('failing')
    let runs = 0
    const handler: Handler = async () => {
      runs++
      throw new Error('never')
    }
    const retry = { attempts: 3, backoff: 'fixed', baseMs: 1_500, maxMs: 1_500 } as const
    const { bus } = await start(topic, handler, { retry })
    const count = 300
    await bus.publishMany(topic, unkeyed(count))
    const letters = async (): Promise<number> => (await bus.deadLetters(topic, GROUP).list()).length
    await until(
      async () => runs >= 3 * count && (await letters()) === count,
      () => runs,
    )
    expect(runs).toBe(3 * count)
    await bus.close()
  })

  it('is not read by patterns', async () => {
    const prefix = uniqueName('all')
    const seen = new Set<string>()
    const retry = { attempts: 2, backoff: 'fixed', baseMs: 1_500, maxMs: 1_500 } as const
    const { bus } = await start(
      `${prefix}.orders`,
      async (_message, { attempt }) => {
        if (attempt === 1) throw new Error('not yet')
      },
      { retry },
    )
    const watcher = await start(`${prefix}.>`, async ({ topic }) => void seen.add(topic), { group: 'watcher' })
    await bus.publishMany(`${prefix}.orders`, unkeyed(400))
    await until(async () => (await names()).includes(`${prefix}.orders.${GROUP}.retry`), names)
    await watcher.bus.publish(`${prefix}.later`, 1)
    await until(
      () => seen.has(`${prefix}.later`),
      () => [...seen],
    )
    expect([...seen].toSorted()).toEqual([`${prefix}.later`, `${prefix}.orders`])
    await Promise.all([bus.close(), watcher.bus.close()])
  })
})

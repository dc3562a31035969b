import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, ConsumeOptions, Handler, Position } from 'busbar'
import { kafka } from 'busbar/kafka'
import type { KafkaOptions } from 'busbar/kafka'
import { createClient } from 'busbar/kafka/client'
import type { KafkaClient } from 'busbar/kafka/client'
import { recorder, uniqueName, waitUntil } from 'busbar/testing'
import type { Recorder } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { KafkaBroker } from '../../tools/brokers/index.ts'
import { decodeRecord, encodeRecord } from '../../src/transports/kafka/partitions/commit-record.ts'
import { QUICK, QUICK_PROPERTIES } from '../conformance/kafka-suite.ts'

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

interface Running {
  readonly bus: Bus
  readonly record: Recorder
}

async function start(
  topic: string,
  handler: Handler,
  options: ConsumeOptions = {},
  transport: KafkaOptions = {},
): Promise<Running> {
  const bus = createBus({
    service: 'shop',
    logger: false,
    transport: kafka({ ...QUICK, partitions: 1, url: broker.url, ...transport }),
  })
  cleanUps.push(() => bus.close({ timeoutMs: 2_000 }))
  const record = recorder(bus)
  bus.consume(topic, handler, { group: `${topic}-g`, ...options })
  await bus.start()
  return { bus, record }
}

/** What the group has committed for the first partition. */
async function committed(topic: string): Promise<{ readonly offset: number; readonly metadata: string } | undefined> {
  const [found] = (await client.admin().offsets.list(`${topic}-g`)).filter((each) => each.topic === topic)
  return found
}

async function until(condition: () => boolean | Promise<boolean>, describe: () => unknown): Promise<void> {
  await waitUntil(condition, { timeoutMs: 15_000, describe })
}

function numbered(count: number): { readonly data: number; readonly key: string }[] {
  return Array.from({ length: count }, (_, at) => ({ data: at, key: `k${at}` }))
}

describe('what is committed', () => {
  it('T01: a stuck message holds up the offset, not the others, and a crash repeats it alone', async () => {
    const topic = uniqueName('stuck')
    const gate = Promise.withResolvers<void>()
    const seen: unknown[] = []
    const { bus } = await start(
      topic,
      async ({ data }) => {
        seen.push(data)
        if (data === 0) await gate.promise
      },
      { concurrency: 20, prefetch: 100 },
    )
    await bus.publishMany(topic, numbered(2_000))
    const isDone = async (): Promise<boolean> => {
      const found = await committed(topic)
      const record = found === undefined ? undefined : decodeRecord(found.metadata, found.offset)
      return record?.to === 2_000 && record.open.length === 1
    }
    await until(isDone, () => committed(topic))
    const { offset = -1, metadata = '' } = (await committed(topic)) ?? {}
    expect([offset, metadata.length < 100]).toEqual([0, true])
    expect(decodeRecord(metadata, offset)).toMatchObject({ open: [[0, 0]], free: false })
    gate.resolve()
    await until(
      async () => (await committed(topic))?.offset === 2_000,
      () => committed(topic),
    )
    expect(seen).toHaveLength(2_000)
  })

  it('T02: a record that knows more than the log has is not believed, once said, and nothing is skipped', async () => {
    const topic = uniqueName('liar')
    await client.admin().topics.create([{ name: topic, partitions: 1 }])
    await client.producer().sendMany(
      topic,
      numbered(5).map(({ data, key }) => ({ key, value: String(data) })),
    )
    const record = { floor: 1, topic: 0, owner: '', free: true, moved: 0, partitions: 1, notes: [] }
    const metadata = encodeRecord({ ...record, to: 2_000_000_000, claim: 2_000_000_000, open: [[1, 1]] })
    await client.admin().offsets.alter(`${topic}-g`, [{ topic, partition: 0, offset: 1, metadata }])
    const seen: Position[] = []
    const { record: events } = await start(topic, (_message, { position }) => void seen.push(position))
    await until(
      () => seen.length === 4,
      () => seen,
    )
    expect(seen.map(({ offset }) => offset)).toEqual([1, 2, 3, 4])
    expect(events.count('warning', ({ code }) => code === 'foreign-commit')).toBe(1)
  })

  it.each([
    ['Kafka Streams', 'AQAAAYFYe6Wg'],
    ['4,096 characters', 'x'.repeat(4_096)],
    ['a later version', `bb2.${'A'.repeat(40)}`],
  ])('T03: a commit of %s counts with its offset, exactly', async (_name, metadata) => {
    const topic = uniqueName('foreign')
    await client.admin().topics.create([{ name: topic, partitions: 1 }])
    await client.producer().sendMany(
      topic,
      numbered(5).map(({ data, key }) => ({ key, value: String(data) })),
    )
    await client.admin().offsets.alter(`${topic}-g`, [{ topic, partition: 0, offset: 3, metadata }])
    const seen: Position[] = []
    const { record } = await start(topic, (_message, { position }) => void seen.push(position))
    await until(
      () => seen.length === 2,
      () => seen,
    )
    expect(seen.map(({ offset }) => offset)).toEqual([3, 4])
    expect(record.count('warning', ({ code }) => code === 'foreign-commit')).toBe(1)
  })

  it('carries out a move of a running group once, also after somebody else has set its offset', async () => {
    const topic = uniqueName('moved')
    const seen: unknown[] = []
    const first = await start(topic, ({ data }) => void seen.push(data))
    await first.bus.publishMany(topic, numbered(5))
    const handled = async (count: number): Promise<void> => {
      await until(
        async () => seen.length === count && (await committed(topic))?.offset === 5,
        async () => ({ seen, committed: await committed(topic) }),
      )
    }
    await handled(5)
    await first.bus.admin().seek(topic, `${topic}-g`, { position: { partition: 0, offset: 2 } })
    await handled(8)
    await first.bus.close()
    // As the console tool does, which leaves no record of ours.
    await client.admin().offsets.alter(`${topic}-g`, [{ topic, partition: 0, offset: 4 }])
    const second = await start(topic, ({ data }) => void seen.push(data))
    await second.bus.publish(topic, 5, { key: 'k5' })
    await until(
      async () => (await committed(topic))?.offset === 6,
      () => committed(topic),
    )
    expect(seen).toEqual([0, 1, 2, 3, 4, 2, 3, 4, 4, 5])
    await second.bus.admin().seek(topic, `${topic}-g`, { position: { partition: 0, offset: 5 } })
    await until(
      () => seen.length === 11,
      () => seen,
    )
    expect(seen.at(-1)).toBe(5)
  })

  it('T09: many that always fail are tried as often as they may be, each, and all are dead letters', async () => {
    const topic = uniqueName('failing')
    let runs = 0
    const { bus } = await start(
      topic,
      () => {
        runs++
        throw new Error('no')
      },
      { concurrency: 50, retry: { attempts: 3, baseMs: 1, maxMs: 5 } },
    )
    await bus.publishMany(topic, numbered(50))
    const letters = async (): Promise<number> =>
      (await bus.deadLetters(topic, `${topic}-g`).list({ limit: 100 })).length
    await until(async () => (await letters()) === 50, letters)
    expect(runs).toBe(150)
    await until(
      async () => (await committed(topic))?.offset === 50,
      () => committed(topic),
    )
  })
})

describe('what others see', () => {
  it('publishes events of CloudEvents, and consumes what has no envelope', async () => {
    const topic = uniqueName('others')
    const seen: unknown[] = []
    const { bus } = await start(topic, ({ data, key }) => void seen.push([key, data]), {}, { envelope: 'cloudevents' })
    await bus.publish(topic, { total: 42 }, { key: 'ord-1' })
    const { records } = await client.admin().records.read({ topic, partition: 0, offset: 0 })
    const [record] = records
    expect([record?.keyText, record?.valueText]).toEqual(['ord-1', '{"total":42}'])
    const headers = Object.fromEntries((record?.headers ?? []).map(({ key, value }) => [key, String(value)]))
    expect(headers).toMatchObject({ ce_specversion: '1.0', ce_source: 'shop', ce_partitionkey: 'ord-1' })
    await client.producer().send({
      topic,
      key: 'ord-2',
      value: '{"total":43}',
      headers: [{ key: 'content-type', value: 'application/json' }],
    })
    await until(
      () => seen.length === 2,
      () => seen,
    )
    expect(seen).toEqual([
      ['ord-1', { total: 42 }],
      ['ord-2', { total: 43 }],
    ])
  })

  it('T17: a partition that is added later is read from its start, and what retention has passed is reported', async () => {
    const topic = uniqueName('grown')
    const seen: unknown[] = []
    const { bus, record } = await start(topic, ({ data }) => void seen.push(data), { from: 'latest' })
    await client.admin().topics.addPartitions({ [topic]: 3 })
    await client
      .producer()
      .send({ topic, partition: 2, value: '"new"', headers: [{ key: 'content-type', value: 'application/json' }] })
    await until(
      () => seen.includes('new'),
      () => seen,
    )

    await bus.close()
    await client.producer().sendMany(
      topic,
      [0, 1, 2, 3].map((n) => ({
        partition: 0,
        value: String(n),
        headers: [{ key: 'content-type', value: 'application/json' }],
      })),
    )
    await client.admin().records.deleteBefore(topic, { 0: 3 })
    const again: unknown[] = []
    const { record: later } = await start(topic, ({ data }) => void again.push(data))
    await until(
      () => again.includes(3),
      () => again,
    )
    expect(again).toEqual([3])
    expect(later.of('loss').map(({ count }) => count)).toEqual([3])
    expect(record.count('loss')).toBe(0)
  })
})

it.each(['classic', 'consumer'] as const)('reads a topic that is made again from its start (%s)', async (protocol) => {
  const topic = uniqueName('again')
  const seen: unknown[] = []
  const { bus, record } = await start(topic, ({ data }) => void seen.push(data), {}, { protocol })
  await bus.publishMany(topic, numbered(5))
  await until(
    () => seen.length === 5,
    () => seen,
  )
  await client.admin().topics.delete([topic])
  await until(
    async () => !(await client.admin().topics.list()).includes(topic),
    () => 'the topic to be deleted',
  )
  await client.admin().topics.create([{ name: topic, partitions: 1 }])
  const publish = async (): Promise<boolean> => {
    const results = await bus.publishMany(topic, [{ data: 'new' }], { allowFailures: true })
    return results.every(({ error }) => error === undefined)
  }
  await until(publish, () => 'publishing to work again')
  await until(
    () => seen.includes('new'),
    () => seen,
  )
  expect(record.count('warning', ({ code }) => code === 'topic-recreated')).toBe(1)
})

it('refuses strict order on a topic with several partitions, by name, and keeps it on one', async () => {
  const topic = uniqueName('strict')
  await client.admin().topics.create([{ name: topic, partitions: 3 }])
  await expect(start(topic, () => undefined, { order: 'strict' })).rejects.toThrow(
    "order: 'strict' needs a topic with one partition",
  )
  const one = uniqueName('strict-one')
  const seen: unknown[] = []
  const { bus } = await start(one, ({ data }) => void seen.push(data), { order: 'strict', concurrency: 16 })
  await bus.publishMany(one, numbered(100))
  await until(
    () => seen.length === 100,
    () => seen.length,
  )
  expect(seen).toEqual(Array.from({ length: 100 }, (_, at) => at))
})

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { TestContext } from 'vitest'
import { systemClock } from '../../src/core/clock.ts'
import type { TransportAdmin, TransportHost } from '../../src/core/transport.ts'
import { createClient } from '../../src/kafka/index.ts'
import type { KafkaClient } from '../../src/kafka/index.ts'
import { uniqueName } from '../../src/testing/unique-name.ts'
import { kafkaAdmin } from '../../src/transports/kafka/admin/admin.ts'
import type { KafkaContext } from '../../src/transports/kafka/context.ts'
import { encodeRecord } from '../../src/transports/kafka/partitions/commit-record.ts'
import { Mapping } from '../../src/transports/kafka/wire/mapping.ts'
import { addressesOf, useKafka } from './kafka-broker.ts'

const kafka = useKafka()
let client: KafkaClient | undefined

beforeAll(() => {
  if (kafka.started !== undefined) client = createClient({ brokers: addressesOf(kafka.started), clientId: 'test' })
})

afterAll(() => client?.close())

interface Setup {
  readonly client: KafkaClient
  readonly admin: TransportAdmin
  readonly topic: string
}

/** A topic, and the admin side of a transport whose groups are named as they are. */
async function setUp(context: TestContext, partitions: number, suffix = ''): Promise<Setup> {
  kafka.of(context)
  const connected = client as KafkaClient
  const topic = uniqueName('topic') + suffix
  await connected.admin().topics.create([{ name: topic, partitions }])
  const parts = {
    client: connected,
    mapping: new Mapping(),
    topics: { ensure: async () => {} },
    host: { clock: systemClock } as TransportHost,
    groupId: (group: string) => group,
    groupOf: (groupId: string) => groupId,
  }
  return { client: connected, topic, admin: kafkaAdmin(() => parts as unknown as KafkaContext) }
}

/** Publishes, one after the other, so that offsets are in the order of the list. */
async function send({ client: connected, topic }: Setup, records: readonly (readonly [number, number, string])[]) {
  await using producer = connected.producer()
  for (const [partition, timestamp, value] of records) await producer.send({ topic, partition, timestamp, value })
}

function textOf(stored: Awaited<ReturnType<TransportAdmin['read']>>): string[] {
  return stored.map(({ message }) => Buffer.from(message.body ?? []).toString())
}

describe('the admin side of the Kafka transport', () => {
  test('reads partitions in the order of time, page by page, each in its own order', async (context) => {
    const setup = await setUp(context, 3)
    // A clock that went backwards: "c" follows "b" in its partition, so it comes after everything before "b".
    await send(setup, [
      [0, 1_000, 'a'],
      [1, 2_000, 'b'],
      [1, 500, 'c'],
      [0, 2_000, 'd'],
      [2, 2_000, 'e'],
      [2, 3_000, 'f'],
      [0, 3_000, 'g'],
    ])
    const expected = ['a', 'd', 'b', 'c', 'e', 'g', 'f']
    expect(textOf(await setup.admin.read(setup.topic, { limit: 100 }))).toEqual(expected)
    for (const limit of [1, 2, 3]) {
      const read: string[] = []
      for (let after = undefined as Parameters<TransportAdmin['read']>[1]['after']; ;) {
        const page = await setup.admin.read(setup.topic, { after, limit })
        read.push(...textOf(page))
        if (page.length < limit) break
        after = page.at(-1)?.position
      }
      expect(read).toEqual(expected)
    }
  })

  test('removes dead letters from the middle and the start, and reads the others', async (context) => {
    const setup = await setUp(context, 2, '.g.dlq')
    const { admin, topic } = setup
    await send(
      setup,
      ['a', 'b', 'c', 'd', 'e'].map((value, index) => [0, 1_000 + index, value]),
    )
    const all = await admin.read(topic, { limit: 10 })
    const [a, b, c, d, e] = all.map(({ position }) => position) as [object, object, object, object, object]
    expect(await admin.remove(topic, [c, d] as never)).toBe(2)
    expect(textOf(await admin.read(topic, { limit: 2 }))).toEqual(['a', 'b'])
    expect(textOf(await admin.read(topic, { after: b as never, limit: 10 }))).toEqual(['e'])
    expect(await admin.remove(topic, [c] as never)).toBe(0)
    expect((await admin.topics()).find((each) => each.topic === topic)?.messages).toBe(3)
    const start = async (partition: number) =>
      (await setup.client.admin().records.offsets(topic, 'earliest')).find((each) => each.partition === partition)
        ?.offset
    expect(await start(0)).toBe(0)
    expect(await admin.remove(topic, [a, b] as never)).toBe(2)
    // All before "e" is removed: it is deleted, with what said so.
    expect([await start(0), await start(1)]).toEqual([4, 1])
    expect(textOf(await admin.read(topic, { limit: 10 }))).toEqual(['e'])
    expect(await admin.purge(topic)).toBe(1)
    expect(await admin.remove(topic, [e] as never)).toBe(0)
    expect(await admin.read(topic, { limit: 10 })).toEqual([])
  })

  test('refuses to remove single messages of a topic, and holds nothing of one that does not exist', async (context) => {
    const { admin, topic } = await setUp(context, 1)
    await expect(admin.remove(topic, [{ partition: 0, offset: 0 }])).rejects.toThrow(/purge the topic/)
    expect(await admin.read('missing.g.dlq', { limit: 10 })).toEqual([])
    expect(await admin.remove('missing.g.dlq', [{ partition: 0, offset: 0 }])).toBe(0)
    expect(await admin.purge('missing')).toBe(0)
    expect(await admin.groups('missing')).toEqual([])
  })

  test('counts what a group has left, without markers of transactions and what is finished ahead', async (context) => {
    const setup = await setUp(context, 2)
    const { admin, topic, client: connected } = setup
    const group = uniqueName('group')
    await using producer = connected.producer({ transactionalId: uniqueName('tx') })
    for (let at = 0; at < 3; at++) {
      await producer.transaction((tx) => tx.send({ topic, partition: 0, value: `v${at}`, timestamp: 1_000 + at }))
    }
    await send(
      setup,
      Array.from({ length: 10 }, (_, at) => [1, 5_000 + at, `w${at}`] as const),
    )
    const record = { topic: 0, owner: '', free: true, claim: 2, moved: 0, partitions: 2, notes: [] }
    const metadata = encodeRecord({ ...record, floor: 2, to: 8, open: [[2, 3]] })
    // Offsets of the first partition: v0, marker, v1, marker, v2, marker.
    const at = (first: number) => [
      { topic, partition: 0, offset: first },
      { topic, partition: 1, offset: 2, metadata },
    ]
    const { offsets } = connected.admin()
    await offsets.alter(group, at(4))
    const [behind, ...others] = await admin.groups(topic, group)
    expect(others).toEqual([])
    expect(behind?.partitions?.map(({ inFlight }) => inFlight)).toEqual([0, 0])
    expect(await admin.groups(topic, 'none')).toEqual([])
    expect(behind).toMatchObject({ topic, group, members: 0, oldestUnackedAt: 1_002 })
    // w2, w3, w8 and w9: w4 to w7 are finished ahead.
    expect(behind?.partitions?.map(({ lag }) => lag)).toEqual([2, 4])
    await offsets.alter(group, at(5))
    const [first] = (await admin.groups(topic))[0]?.partitions ?? []
    expect(first).toMatchObject({ partition: `${topic}/0`, lag: 0, oldestUnackedAt: undefined })
    expect(first?.position).toEqual(first?.head)
  })

  test('moves a group without members to a place, and to that time in the other partitions', async (context) => {
    const setup = await setUp(context, 2)
    const { admin, topic, client: connected } = setup
    const group = uniqueName('group')
    await send(
      setup,
      [0, 1, 2, 3].flatMap((at) => [[0, 1_000 + at * 10, `a${at}`] as const, [1, 1_005 + at * 10, `b${at}`] as const]),
    )
    const positions = async () =>
      (await connected.admin().offsets.list(group)).map(({ partition, offset }) => [partition, offset])
    await admin.seek(topic, group, { position: { partition: 0, offset: 2 } })
    expect(await positions()).toEqual([
      [0, 2],
      [1, 2],
    ])
    await admin.seek(topic, group, { timeMs: 1_031 })
    expect(await positions()).toEqual([
      [0, 4],
      [1, 3],
    ])
    await admin.seek(topic, group, 'earliest')
    expect((await admin.groups(topic))[0]).toMatchObject({ group, lag: 8, oldestUnackedAt: 1_000 })
    await admin.deleteGroup(topic, group)
    expect(await admin.groups(topic)).toEqual([])
    await admin.deleteGroup(topic, group)
    await expect(admin.seek(topic, group, { position: { id: '7-0' } })).rejects.toThrow('partition and an offset')
  })

  test('describes topics: how much, how old, how long', async (context) => {
    const setup = await setUp(context, 2)
    const { admin, topic } = setup
    await setup.client.admin().configs.alter({ type: 'topic', name: topic }, { set: { 'retention.ms': '60000' } })
    // Older records than retention allows could be deleted at any time.
    const now = Date.now()
    await send(setup, [
      [0, now, 'a'],
      [1, now + 1, 'b'],
    ])
    const info = (await admin.topics()).find((each) => each.topic === topic)
    expect(info).toMatchObject({ messages: 2, oldestAt: now, retention: { maxAgeMs: 60_000 } })
    expect(info?.bytes).toBeGreaterThan(0)
    expect(await admin.purge(topic)).toBe(2)
    expect(await admin.read(topic, { limit: 10 })).toEqual([])
  })
})

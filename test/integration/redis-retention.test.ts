import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import type { Bus } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import type { RedisOptions } from 'busbar/redis'
import { compareIds } from '../../src/transports/redis/topology/compare-ids.ts'
import { redisHarness, streamOf } from './redis-harness.ts'

const QUICK = { leaseMs: 1_000, pollIntervalMs: 50, partitions: 1, checkServer: false } as const

const { client, bus } = await redisHarness('retention', QUICK)

describe('Redis: retention', () => {
  async function started(options: Partial<RedisOptions>): Promise<Bus> {
    const made = bus(options)
    await made.start()
    return made
  }
  async function publish(bus: Bus, topic: string, count: number): Promise<void> {
    for (let from = 0; from < count; from += 200) {
      const items = Array.from({ length: 200 }, (_, at) => ({ data: from + at }))
      for (const { error } of await bus.publishMany(topic, items, { allowFailures: true }))
        assert.equal(error, undefined)
    }
  }
  const lengthOf = (topic: string): Promise<number> => client.xLen(streamOf(topic))

  test('maxMessages: what everybody has acked goes, whole nodes at a time', async () => {
    const bus = await started({ retention: { maxMessages: 500 } })
    const topic = uniqueName('r')
    let handled = 0
    await bus.consume(topic, () => void handled++).ready
    await publish(bus, topic, 3_000)
    await waitUntil(() => handled === 3_000, { timeoutMs: 10_000 })
    await publish(bus, topic, 200)
    await waitUntil(async () => (await lengthOf(topic)) <= 700, {
      timeoutMs: 15_000,
      describe: async () => `${await lengthOf(topic)} entries`,
    })
    await waitUntil(() => handled === 3_200, { timeoutMs: 5_000 })
    assert.ok((await lengthOf(topic)) >= 400, 'and no more than that')
  })

  test('the position of a group keeps its place when what was settled is removed', async () => {
    const bus = await started({ retention: { maxAgeMs: 3_600_000 } })
    const topic = uniqueName('r')
    const last = Promise.withResolvers<void>()
    const consumer = bus.consume(topic, ({ data }) => (data === 2 ? last.promise : undefined), { group: 'g' })
    await consumer.ready
    for (const data of [0, 1, 2]) await bus.publish(topic, data)
    const partition = async () => (await bus.admin().groups(topic))[0]?.partitions?.[0]
    await waitUntil(async () => (await partition())?.lag === 1)
    const ids = ((await client.xRange(streamOf(topic), '-', '+')) ?? []).map(({ id }) => ({ partition: 0, id }))
    const before = await partition()
    assert.deepEqual([before?.start, before?.position, before?.head], ids)

    await client.xTrim(streamOf(topic), 'MAXLEN', 1)
    const after = await partition()
    assert.deepEqual([after?.start, after?.head], [ids[2], ids[2]])
    const place = String(after?.position?.['id'])
    assert.ok(compareIds(place, ids[1]!.id) >= 0 && compareIds(place, ids[2]!.id) < 0, place)
    assert.deepEqual((await bus.admin().topics()).find((info) => info.topic === topic)?.retention, {
      maxAgeMs: 3_600_000,
      maxMessages: undefined,
    })
    last.resolve()
    await waitUntil(async () => (await partition())?.lag === 0)
    assert.deepEqual((await partition())?.position, ids[2])
    await bus.admin().purge(topic)
    const empty = await partition()
    assert.deepEqual([empty?.start, empty?.position, empty?.head], [undefined, ids[2], undefined])
  })

  test('what a group has not acked stays, above the limit if need be, and a warning names the group', async () => {
    const bus = await started({ retention: { maxMessages: 300 } })
    const topic = uniqueName('r')
    const warnings: string[] = []
    const losses: unknown[] = []
    bus.events.on('warning', ({ code, detail }) => warnings.push(`${code}: ${detail}`))
    bus.events.on('loss', (event) => losses.push(event))
    const slow = bus.consume(topic, () => {}, { group: 'slow' })
    await slow.ready
    await slow.close()
    await publish(bus, topic, 2_000)
    await waitUntil(() => warnings.some((text) => text.includes('redis-retention')), { timeoutMs: 15_000 })
    assert.match(warnings.join('\n'), /"slow"/)
    assert.equal(await lengthOf(topic), 2_000)
    let handled = 0
    await bus.consume(topic, () => void handled++, { group: 'slow' }).ready
    await waitUntil(() => handled === 2_000, { timeoutMs: 10_000, describe: () => `${handled} of 2000` })
    assert.deepEqual(losses, [])
  })

  test('keepUnacked: false: the limit holds, and every message that a group lost is counted', async () => {
    const bus = await started({ retention: { maxMessages: 300, keepUnacked: false } })
    const topic = uniqueName('r')
    let lost = 0
    bus.events.on('loss', ({ topic: of, group, count }) => {
      assert.deepEqual([of, group], [topic, 'slow'])
      lost += count ?? 0
    })
    const slow = bus.consume(topic, () => {}, { group: 'slow' })
    await slow.ready
    await slow.close()
    await publish(bus, topic, 2_000)
    await waitUntil(async () => (await lengthOf(topic)) <= 500, {
      timeoutMs: 15_000,
      describe: async () => `${await lengthOf(topic)} entries`,
    })
    let handled = 0
    await bus.consume(topic, () => void handled++, { group: 'slow' }).ready
    await waitUntil(() => handled + lost >= 2_000, { timeoutMs: 10_000, describe: () => `${handled} + ${lost}` })
    assert.equal(handled + lost, 2_000, `${handled} handled, ${lost} lost`)
    assert.ok(lost > 1_000)
  })

  test(
    'what a group of another program held goes when that has acked it, without a new message',
    { timeout: 40_000 },
    async () => {
      const bus = await started({ retention: { maxMessages: 500 } })
      const topic = uniqueName('r')
      let handled = 0
      await bus.consume(topic, () => void handled++).ready
      await client.xGroupCreate(streamOf(topic), 'foreign', '0')
      let warned = false
      bus.events.on('warning', ({ code }) => (warned ||= code === 'redis-retention'))
      await publish(bus, topic, 2_000)
      await waitUntil(() => handled === 2_000 && warned, { timeoutMs: 10_000 })
      // What was published has been looked at, so nothing but the acks is new.
      const looked = performance.now() + 7_000
      await waitUntil(() => performance.now() > looked, { timeoutMs: 10_000 })
      for (;;) {
        const read = await client.xReadGroup('foreign', 'one', { key: streamOf(topic), id: '>' }, { COUNT: 500 })
        const [stream] = (read ?? []) as unknown as readonly { readonly messages: readonly { readonly id: string }[] }[]
        if (stream === undefined) break
        await client.xAck(
          streamOf(topic),
          'foreign',
          stream.messages.map(({ id }) => id),
        )
      }
      await waitUntil(async () => (await lengthOf(topic)) <= 700, {
        timeoutMs: 15_000,
        describe: async () => `${await lengthOf(topic)} entries`,
      })
    },
  )

  test('maxAgeMs: old messages go', async () => {
    const bus = await started({ retention: { maxAgeMs: 500 } })
    const topic = uniqueName('r')
    await publish(bus, topic, 1_000)
    await waitUntil(async () => (await lengthOf(topic)) < 200, {
      timeoutMs: 15_000,
      describe: async () => `${await lengthOf(topic)} entries`,
    })
  })

  test('dead letters are never trimmed', async () => {
    const bus = await started({ retention: { maxMessages: 10 } })
    const topic = uniqueName('r')
    const fail = (): never => {
      throw new Error('always')
    }
    await bus.consume(topic, fail, { retry: false, order: 'none' }).ready
    await publish(bus, topic, 400)
    const letters = bus.deadLetters(topic, 'retention')
    await waitUntil(async () => (await letters.list()).length === 400, { timeoutMs: 15_000 })
  })

  test('entries that are deleted while a group has them pending are reported as loss', async () => {
    const [bus, other] = [
      await started({ retention: { maxMessages: 10_000 } }),
      await started({ retention: { maxMessages: 10_000 } }),
    ]
    const topic = uniqueName('r')
    let lost = 0
    for (const one of [bus, other]) one.events.on('loss', ({ count }) => (lost += count ?? 0))
    const first = bus.consume(topic, () => new Promise(() => {}), { order: 'none', abandonAfterMs: 10 })
    await first.ready
    await publish(bus, topic, 200)
    await waitUntil(() => first.stats().received === 200, { timeoutMs: 5_000 })
    const entries = (await client.xRange(streamOf(topic), '-', '+', { COUNT: 3 })) ?? []
    assert.equal(
      await client.xDel(
        streamOf(topic),
        entries.map(({ id }) => id),
      ),
      3,
    )
    await bus.close({ timeoutMs: 1 })
    let handled = 0
    await other.consume(topic, () => void handled++, { order: 'none' }).ready
    await waitUntil(() => handled === 197 && lost === 3, {
      timeoutMs: 10_000,
      describe: () => `${handled} of 197 handled, ${lost} of 3 lost`,
    })
  })

  test('entries that a foreign program trims before a group has read them are reported as loss', async () => {
    const bus = await started({ retention: { maxMessages: 10_000 } })
    const topic = uniqueName('r')
    const losses: number[] = []
    bus.events.on('loss', ({ count }) => losses.push(count ?? 0))
    const handle = bus.consume(topic, () => {}, { concurrency: 1, prefetch: 10 })
    await handle.ready
    handle.pause()
    await publish(bus, topic, 400)
    await client.xTrim(streamOf(topic), 'MAXLEN', 100)
    await waitUntil(() => losses.length > 0, { timeoutMs: 10_000 })
    assert.deepEqual(losses, [300])
  })

  test('maxAgeMs holds for more streams than a process used to remember', { timeout: 120_000 }, async () => {
    const bus = await started({ retention: { maxAgeMs: 3_000 }, partitions: 64 })
    const topic = uniqueName('r')
    await publish(bus, topic, 200)
    const base = uniqueName('r')
    // A publisher watches all partitions of each topic: 10,304 streams with that of before.
    const topics = Array.from({ length: 160 }, (_, at) => `${base}.t${at}`)
    for (let from = 0; from < topics.length; from += 40)
      await Promise.all(topics.slice(from, from + 40).map((one) => bus.publish(one, 1)))
    const left = async (): Promise<number> => {
      let total = 0
      for (let partition = 0; partition < 64; partition++)
        total += await client.xLen(`busbar:{${topic}${partition === 0 ? '' : `/${partition}`}}`)
      return total
    }
    await waitUntil(async () => (await left()) === 0, {
      timeoutMs: 60_000,
      describe: async () => `${await left()} of 200 are left`,
    })
  })
})

import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import type { SendManyError } from '../../../../src/kafka/producer/deliveries.ts'
import { Producer } from '../../../../src/kafka/producer/producer.ts'
import type { BatchEvent } from '../../../../src/kafka/producer/producer-hooks.ts'
import { CODECS } from '../../../../src/kafka/records/batch-format.ts'
import { partitionOfKey } from '../../../../src/kafka/records/murmur2.ts'
import { readRecords } from '../../../../src/kafka/records/read-records.ts'
import { nothingLeft, setUp, TIME, valuesOf, watch } from './producer-setup.ts'

const produced = (sim: ReturnType<typeof setUp>['sim']) => sim.requests.filter(({ api }) => api === 'Produce')
const numbers = (count: number, from = 0) => Array.from({ length: count }, (_, index) => String(from + index))
const values = (count: number, from = 0) => numbers(count, from).map((value) => ({ value }))

describe('a producer', () => {
  it('writes a record, says where it is, and leaves nothing behind', async () => {
    const parts = setUp()
    const { sim, producer } = parts
    const record = { topic: 't', key: 'k', value: 'v', headers: [{ key: 'h', value: 'x' }], timestamp: 5 }
    expect(await sim.run(producer.send(record))).toEqual({ topic: 't', partition: 0, offset: 0, logAppendTimeMs: -1 })
    const second = await sim.run(producer.send({ topic: 't', value: null }))
    expect(second.offset).toBe(1)
    const [first, next] = await Promise.all(sim.log('t').batches.map(async (batch) => readRecords(batch)))
    expect(first?.[0]).toMatchObject({ keyText: 'k', valueText: 'v', timestamp: 5 })
    expect(first?.[0]?.headers).toEqual([{ key: 'h', value: Buffer.from('x') }])
    expect(next?.[0]).toMatchObject({ key: null, value: null, timestamp: TIME })
    expect(producer.bufferedBytes).toBe(0)
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })

  it('sends the calls of a turn together, and each gets its own offset', async () => {
    const { sim, producer } = setUp()
    await sim.run(producer.send({ topic: 't', value: 'warm' }))
    const sent = await sim.run(Promise.all(numbers(100).map((value) => producer.send({ topic: 't', value }))))
    expect(sent.map(({ offset }) => offset)).toEqual(Array.from({ length: 100 }, (_, index) => index + 1))
    expect(produced(sim)).toHaveLength(2)
  })

  it('gives an array one promise, with ranges', async () => {
    const { sim, producer } = setUp({ batchBytes: 1_024 })
    const ranges = await sim.run(producer.sendMany('t', values(500)))
    expect(ranges.reduce((sum, { count }) => sum + count, 0)).toBe(500)
    expect(ranges.map(({ baseOffset }) => baseOffset)).toEqual(
      ranges.map(({ baseOffset }) => baseOffset).toSorted((a, b) => a - b),
    )
    expect(await valuesOf(sim)).toEqual(numbers(500))
    expect(await sim.run(producer.sendMany('t', []))).toEqual([])
  })

  it('waits for its linger, unless a batch is full or flushed', async () => {
    const { sim, producer } = setUp({ lingerMs: 50, batchBytes: 1_024 })
    await sim.run(producer.send({ topic: 't', value: 'warm' }))
    const before = produced(sim).length
    const first = watch(sim, producer.send({ topic: 't', value: 'a' }))
    await sim.advance(40)
    const second = watch(sim, producer.send({ topic: 't', value: 'b' }))
    expect(produced(sim).length).toBe(before)
    await sim.advance(15)
    expect([first.value, second.value]).toMatchObject([{ offset: 1 }, { offset: 2 }])
    const full = watch(sim, producer.sendMany('t', values(500)))
    await sim.advance(10)
    expect(full.settledAt).toBeUndefined()
    expect((await valuesOf(sim)).length).toBeGreaterThan(50)
    await sim.run(producer.flush())
    expect(full.error).toBeUndefined()
    expect(full.settledAt).toBe(sim.clock.now())
  })

  it('keeps keys on the partition that Java gives them, and uses every partition without', async () => {
    const { sim, producer } = setUp({}, { partitions: 6 })
    for (const key of ['a', 'käse', Buffer.from('binary'), 'x'.repeat(2_000)]) {
      const { partition } = await sim.run(producer.send({ topic: 't', key, value: 'v' }))
      expect(partition).toBe(partitionOfKey(Buffer.from(key), 6))
    }
    const seen = new Set<number>()
    for (let round = 0; round < 60; round++) {
      for (const { partition } of await sim.run(producer.sendMany('t', [{ value: 'x'.repeat(66_000) }])))
        seen.add(partition)
    }
    expect(seen.size).toBe(6)
  })

  it('takes the partition of a record, or of an own partitioner', async () => {
    const { sim, producer } = setUp({ partitioner: ({ key }) => (key === 'first' ? 0 : undefined) }, { partitions: 3 })
    const at = async (record: { readonly key?: string; readonly partition?: number }) =>
      (await sim.run(producer.send({ topic: 't', value: 'v', ...record }))).partition
    expect(await at({ partition: 2 })).toBe(2)
    expect(await at({ key: 'first' })).toBe(0)
    expect(await at({ key: 'b' })).toBe(partitionOfKey(Buffer.from('b'), 3))
    await expect(producer.send({ topic: 't', value: 'v', partition: 3 })).rejects.toMatchObject({
      code: 'INVALID_PARTITION',
      outcome: 'not-sent',
    })
  })

  for (const compression of CODECS) {
    it(`compresses with ${compression}`, async () => {
      const { sim, producer } = setUp({ compression })
      const text = (index: number) => `{"id":${index},"name":"order"}`.padEnd(100)
      await sim.run(
        producer.sendMany(
          't',
          Array.from({ length: 400 }, (_, index) => ({ value: text(index) })),
        ),
      )
      await sim.run(producer.sendMany('t', [{ value: 'x' }]))
      expect((await valuesOf(sim)).slice(0, 400)).toEqual(Array.from({ length: 400 }, (_, index) => text(index)))
      // What does not become smaller stays as it is.
      expect(sim.log('t').batches.map(({ codec }) => codec)).toEqual([compression, 'none'])
    })
  }

  it('refuses what can not be written, and it alone', async () => {
    const { sim, producer } = setUp({ maxBufferedBytes: 100_000, batchBytes: 10_000 })
    const outcome = watch(
      sim,
      producer.sendMany('t', [
        { value: 'a' },
        { value: 'b', timestamp: 0.5 },
        { value: undefined as never },
        { value: 'c' },
      ]),
    )
    await sim.advance(1_000)
    const failed = outcome.error as SendManyError
    expect(failed).toMatchObject({ code: 'UNENCODABLE', outcome: 'not-sent', sent: [{ partition: 0, count: 2 }] })
    expect(failed.failures.map(({ index }) => index)).toEqual([1, 2])
    await expect(sim.run(producer.send({ topic: 't', value: 'x'.repeat(200_000) }))).rejects.toMatchObject({
      code: 'RECORD_TOO_LARGE',
      outcome: 'not-sent',
    })
  })

  it('keeps no batch and no memory for a record with a bad timestamp', async () => {
    const { sim, producer } = setUp({ deliveryTimeoutMs: 20_000, maxBufferedBytes: 65_536, batchBytes: 65_000 })
    await sim.run(producer.send({ topic: 't', value: 'a' }))
    const bad = producer.send({ topic: 't', value: 'b', timestamp: new Date() as never })
    await expect(sim.run(bad)).rejects.toMatchObject({ code: 'UNENCODABLE', outcome: 'not-sent' })
    expect(producer.bufferedBytes).toBe(0)
    // Longer than the delivery timeout: a batch that was opened for the bad record would be over.
    await sim.advance(30_000)
    await sim.run(producer.send({ topic: 't', value: 'c' }))
    expect(await valuesOf(sim)).toEqual(['a', 'c'])
  })

  it('refuses what can not be written before it looks for the topic', async () => {
    const { sim, producer } = setUp()
    const alone = watch(sim, producer.send({ topic: 'missing', value: { total: 42 } as never }))
    const all = watch(sim, producer.sendMany('missing', [{ value: 'a', timestamp: 0.5 }, { value: 5 as never }]))
    const some = watch(sim, producer.sendMany('later', [{ value: 'a' }, { value: 5 as never }, { value: 'c' }]))
    await sim.advance(1)
    expect(alone.error).toMatchObject({ code: 'UNENCODABLE', outcome: 'not-sent' })
    expect(all.error).toMatchObject({ code: 'UNENCODABLE', outcome: 'not-sent' })
    sim.createTopic('later')
    await sim.advance(3_000)
    const { failures, sent } = some.error as SendManyError
    expect(failures).toMatchObject([{ index: 1, error: { code: 'UNENCODABLE' } }])
    expect(sent).toMatchObject([{ count: 2 }])
    const mixed = watch(sim, producer.sendMany('missing', [{ value: 'a' }, { value: 5 as never }]))
    await sim.advance(12_000)
    expect((mixed.error as SendManyError).failures).toMatchObject([
      { index: 0, error: { code: 'NOT_FOUND' } },
      { index: 1, error: { code: 'UNENCODABLE' } },
    ])
  })

  it('fails records of a topic that does not exist after ten seconds, and looks again then', async () => {
    const { sim, producer } = setUp()
    const lost = watch(sim, producer.send({ topic: 'later', value: 'a' }))
    await sim.advance(12_000)
    expect(lost.error).toMatchObject({ outcome: 'not-sent' })
    const found = watch(sim, producer.send({ topic: 'later', value: 'b' }))
    await sim.advance(2_000)
    sim.createTopic('later')
    await sim.advance(3_000)
    expect(found.value).toMatchObject({ topic: 'later', offset: 0 })
  })

  it('keeps the order of calls that came before the topic was known', async () => {
    const { sim, producer } = setUp()
    const sent = numbers(50).map((value) => producer.send({ topic: 't', value }))
    await sim.run(sent[0] ?? Promise.reject(new Error('none')))
    await sim.run(Promise.all([...sent, ...numbers(50, 50).map((value) => producer.send({ topic: 't', value }))]))
    expect(await valuesOf(sim)).toEqual(numbers(100))
  })

  it('acks 0 and 1: confirms when it is written, and when the leader has it', async () => {
    for (const acks of [0, 1] as const) {
      const parts = setUp({ acks })
      const { sim, producer } = parts
      const sent = await sim.run(Promise.all(numbers(10).map((value) => producer.send({ topic: 't', value }))))
      expect(sent.map(({ offset }) => offset)).toEqual(numbers(10).map((text) => (acks === 0 ? -1 : Number(text))))
      await sim.advance(10)
      expect(await valuesOf(sim)).toEqual(numbers(10))
      expect(sim.requests.some(({ api }) => api === 'InitProducerId')).toBe(false)
      expect(await nothingLeft(parts)).toEqual([0, 0])
    }
  })

  it('reports each batch, whatever the hook does', async () => {
    const events: BatchEvent[] = []
    const { sim, context } = setUp()
    const onBatch = (event: BatchEvent) => {
      events.push(event)
      throw new Error('the hook')
    }
    const producer = new Producer({}, { ...context, onBatch })
    await sim.run(producer.sendMany('t', values(7)))
    expect(events).toMatchObject([{ topic: 't', partition: 0, records: 7, error: undefined }])
  })

  it('refuses options that make no sense, all at once', () => {
    expect(() => setUp({ acks: 2 as never, lingerMs: -1, batchBytes: 5, transactionalId: '' })).toThrow(
      /acks is 2.*lingerMs is -1.*batchBytes is 5.*transactionalId is empty/,
    )
  })
})

describe('memory', () => {
  it('C09: is bounded while the broker is down; those that wait keep their order, and the aborted take none', async () => {
    const maxBufferedBytes = 4 * 1024 * 1024
    const parts = setUp({ maxBufferedBytes, batchBytes: 65_536 }, { sim: { brokers: 1 } })
    const { sim, producer } = parts
    await sim.run(producer.send({ topic: 't', value: 'warm' }))
    sim.kill(1)
    const controller = new AbortController()
    const padding = 'x'.repeat(1_000)
    const sent = Array.from({ length: 20_000 }, (_, index) => {
      const options = index % 7 === 3 ? { signal: controller.signal } : {}
      return watch(sim, producer.send({ topic: 't', value: `${index}:${padding}` }, options))
    })
    await sim.advance(100)
    expect(producer.bufferedBytes).toBeLessThanOrEqual(maxBufferedBytes)
    const aborted = sent.filter((_, index) => index > 10_000 && index % 7 === 3)
    controller.abort()
    await sim.advance(1)
    expect(new Set(aborted.map(({ error }) => error?.code))).toEqual(new Set(['ABORTED']))
    sim.start(1)
    await sim.advance(30_000)
    expect(sent.filter(({ settledAt }) => settledAt === undefined)).toEqual([])
    const order = (await valuesOf(sim)).slice(1).map((value) => Number.parseInt(value ?? '', 10))
    expect(order).toEqual(order.toSorted((a, b) => a - b))
    expect(order.length).toBe(sent.filter(({ error }) => error === undefined).length)
    expect(order.filter((index) => sent[index]?.error !== undefined)).toEqual([])
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })

  it('keeps nothing of a record that is settled', async () => {
    const { sim, producer } = setUp()
    setFlagsFromString('--expose-gc')
    const collect = runInNewContext('gc') as () => void
    const sendOne = async () => {
      const sending = producer.send({ topic: 't', value: 'v' })
      await sim.run(sending)
      return new WeakRef(sending)
    }
    const settled = await sendOne()
    // A reference that was just made is kept until the end of the turn.
    await new Promise(setImmediate)
    collect()
    expect(settled.deref()).toBeUndefined()
    await sim.run(producer.close())
  })

  it('forgets the metadata of topics that get nothing for long, and not where their numbers are', async () => {
    const { sim, producer } = setUp()
    const once = Array.from({ length: 20 }, (_, index) => `once-${index}`)
    for (const topic of once) sim.createTopic(topic)
    await sim.run(Promise.all(once.map((topic) => producer.send({ topic, value: 'first' }))))
    for (let minute = 0; minute < 16; minute++) {
      await sim.run(producer.send({ topic: 't', value: String(minute) }))
      await sim.advance(60_000)
    }
    const asked = sim.requests.findLast(({ api }) => api === 'Metadata')?.body as {
      readonly topics: readonly { readonly name: string }[]
    }
    expect(asked.topics.map(({ name }) => name)).toEqual(['t'])
    await sim.run(producer.send({ topic: 'once-3', value: 'second' }))
    expect(await valuesOf(sim, 0, 'once-3')).toEqual(['first', 'second'])
    await sim.run(producer.close())
  })

  it('does not wait for the linger of other batches when there is no room', async () => {
    const { sim, producer } = setUp(
      { maxBufferedBytes: 65_536, batchBytes: 16_384, lingerMs: 60_000 },
      { partitions: 4 },
    )
    const sends = [0, 1, 2, 3, 0, 1].map((partition) =>
      producer.sendMany('t', [
        { value: 'x'.repeat(12_000), partition },
        { value: 'y'.repeat(12_000), partition },
      ]),
    )
    const outcomes = sends.map((promise) => watch(sim, promise))
    await sim.advance(1_000)
    expect(outcomes.slice(0, 4).every(({ settledAt }) => settledAt !== undefined)).toBe(true)
  })
})

describe('close', () => {
  it('sends what it has, and then takes nothing more', async () => {
    const parts = setUp({ lingerMs: 10_000 })
    const { sim, producer } = parts
    const sent = watch(sim, producer.sendMany('t', values(5)))
    await sim.run(producer.close())
    expect(sent.value).toMatchObject([{ baseOffset: 0, count: 5 }])
    await expect(producer.send({ topic: 't', value: 'late' })).rejects.toMatchObject({
      code: 'CLOSED',
      outcome: 'not-sent',
    })
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })

  it('C04: ends at its deadline, and settles every promise with what is true of it', async () => {
    const parts = setUp({}, { sim: { brokers: 1 } })
    const { sim, producer } = parts
    await sim.run(producer.send({ topic: 't', value: 'warm' }))
    sim.script.on('Produce', 1, { do: 'dropAnswer' }, { times: 100 })
    const inFlight = watch(sim, producer.sendMany('t', values(5)))
    await sim.advance(100)
    const behind = watch(sim, producer.sendMany('t', [{ value: 'x', partition: 0 }]))
    const unknown = watch(sim, producer.send({ topic: 'nowhere', value: 'x' }))
    const start = sim.clock.now()
    await sim.run(producer.close({ deadlineMs: 3_000 }))
    expect(sim.clock.now() - start).toBeLessThan(3_500)
    await sim.advance(0)
    expect([inFlight, behind, unknown].map(({ error }) => [error?.code, error?.outcome])).toEqual([
      ['CLOSED', 'unknown'],
      ['CLOSED', 'unknown'],
      ['CLOSED', 'not-sent'],
    ])
    expect(await nothingLeft(parts)).toEqual([0, 0])
  })
})

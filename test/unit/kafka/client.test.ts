import { inspect } from 'node:util'
import { describe, expect, it, vi } from 'vitest'
import { createClient } from '../../../src/kafka/index.ts'
import type { ClientHooks, KafkaClient } from '../../../src/kafka/index.ts'
import { systemClock } from '../../../src/kafka/network/clock.ts'
import { partitionOfKey } from '../../../src/kafka/records/murmur2.ts'
import { partitionForKey } from '../../../src/kafka/index.ts'
import { SimCluster } from './sim/sim-cluster.ts'
import type { SimOptions } from './sim/sim-cluster.ts'

interface Parts {
  readonly sim: SimCluster
  readonly kafka: KafkaClient
}

function setUp(hooks: ClientHooks = {}, options: SimOptions = {}): Parts {
  const sim = new SimCluster(options)
  sim.createTopic('t', 2)
  return { sim, kafka: createClient({ ...sim.clientOptions(), hooks }) }
}

/** Sockets and timers of the client. */
async function left({ sim }: Parts): Promise<readonly [number, number]> {
  await sim.advance(1_000)
  return [sim.network.open, sim.clientClock.timers]
}

describe('a client', () => {
  it('makes no connection before it is used', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    kafka.producer()
    kafka.consumer({ topics: ['t'] })
    kafka.admin()
    await sim.advance(10_000)
    expect(sim.network.dialled).toEqual([])
    await sim.run(kafka.close())
    expect(await left(parts)).toEqual([0, 0])
  })

  it('sends, reads and manages, and leaves nothing when it is closed', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    const producer = kafka.producer()
    const consumer = kafka.consumer({ topics: ['t'], group: 'g' })
    const values: string[] = []
    const running = consumer.run({ handler: (record) => values.push(record.valueText ?? '') as never })
    await sim.run(
      producer.sendMany('t', [
        { value: 'a', partition: 0 },
        { value: 'b', partition: 1 },
      ]),
    )
    expect(await sim.run(kafka.admin().topics.list())).toEqual(['t'])
    await sim.advance(5_000)
    expect(values.toSorted()).toEqual(['a', 'b'])
    await sim.run(kafka.close())
    await sim.run(running)
    expect(sim.groups.offsets('g').get('t', 0)?.offset).toBe(1)
    expect(await left(parts)).toEqual([0, 0])
  })

  it('closes consumers before producers, so that handlers that run can still send', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    const producer = kafka.producer()
    await sim.run(producer.send({ topic: 't', value: 'in', partition: 0 }))
    const consumer = kafka.consumer({ topics: ['t'], group: 'g' })
    const started = Promise.withResolvers<void>()
    const running = consumer.run({
      handler: async (record) => {
        if (record.valueText !== 'in') return
        started.resolve()
        await new Promise<void>((resolve) => sim.clientClock.setTimer(resolve, 3_000))
        await producer.send({ topic: 't', value: 'out', partition: 1 })
      },
    })
    await sim.run(started.promise)
    await sim.run(kafka.close())
    await sim.run(running)
    expect(sim.log('t', 1).batches.length).toBe(1)
    expect(await left(parts)).toEqual([0, 0])
  })

  it('closes by its deadline though brokers hang, a handler too, and everything settles', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    const producer = kafka.producer()
    const consumer = kafka.consumer({ topics: ['t'], group: 'g' })
    await sim.run(producer.send({ topic: 't', value: 'a', partition: 0 }))
    const never = Promise.withResolvers<void>()
    const started = Promise.withResolvers<void>()
    const running = consumer.run({
      handler: () => {
        started.resolve()
        return never.promise
      },
    })
    await sim.run(started.promise)
    for (const id of [1, 2, 3]) sim.broker(id).freeze()
    const outcomes: string[] = []
    for (let index = 0; index < 100; index++) {
      producer.send({ topic: 't', value: `${index}` }).then(
        () => outcomes.push('confirmed'),
        (error: unknown) => outcomes.push((error as { outcome: string }).outcome),
      )
    }
    const start = sim.clock.now()
    await sim.run(kafka.close({ deadlineMs: 3_000 }))
    expect(sim.clock.now() - start).toBeLessThanOrEqual(3_500)
    await sim.advance(1)
    expect(outcomes.length).toBe(100)
    never.resolve()
    await sim.run(running)
    expect(await left(parts)).toEqual([0, 0])
  })

  it('closes by its deadline though its consumer and its producer are being closed with more time', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    const producer = kafka.producer()
    const consumer = kafka.consumer({ topics: ['t'], group: 'g' })
    await sim.run(producer.send({ topic: 't', value: 'a', partition: 0 }))
    // A batch that is never done.
    await sim.run(consumer.next())
    for (const id of [1, 2, 3]) sim.broker(id).freeze()
    const sent = producer.send({ topic: 't', value: 'b', partition: 0 }).catch((error: unknown) => error)
    const closing = Promise.all([consumer.close(), producer.close()])
    const start = sim.clock.now()
    await sim.run(kafka.close({ deadlineMs: 1_000 }))
    expect(sim.clock.now() - start).toBeLessThanOrEqual(1_000)
    await sim.run(closing)
    expect(sim.clock.now() - start).toBeLessThanOrEqual(1_000)
    expect(await sim.run(sent)).toMatchObject({ code: 'CLOSED' })
    expect(await left(parts)).toEqual([0, 0])
  })

  it('sends what a producer has though a handler uses up the time', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    const producer = kafka.producer({ lingerMs: 60_000 })
    const sending = producer.send({ topic: 't', value: 'a', partition: 0 })
    await sim.run(producer.flush())
    await sim.run(sending)
    const consumer = kafka.consumer({ topics: ['t'], group: 'g' })
    const started = Promise.withResolvers<void>()
    const running = consumer.run({
      handler: async () => {
        started.resolve()
        await sim.clock.wait(60_000)
      },
    })
    await sim.run(started.promise)
    const last = producer.send({ topic: 't', value: 'last', partition: 1 })
    const start = sim.clock.now()
    await sim.run(kafka.close({ deadlineMs: 10_000 }))
    expect(sim.clock.now() - start).toBeLessThanOrEqual(10_000)
    expect(await sim.run(last)).toMatchObject({ partition: 1, offset: 0 })
    await sim.run(running)
    expect(await left(parts)).toEqual([0, 0])
  })

  it('closes though a listener and a hook close again', async () => {
    let calls = 0
    // Bounded, so that a loop fails instead of using up the stack.
    const again = (close: () => Promise<void>): void => void (++calls < 50 && void close())
    const parts: Parts = setUp({ onRebalance: ({ type }) => type === 'revoking' && again(() => parts.kafka.close()) })
    const { sim, kafka } = parts
    const consumer = kafka.consumer({ topics: ['t'], group: 'g' })
    consumer.on('revoking', () => again(() => consumer.close()))
    const next = consumer.next()
    await sim.advance(5_000)
    await sim.run(consumer.close())
    await sim.run(Promise.all([kafka.close(), next]))
    // Once each.
    expect(calls).toBe(2)
    expect(await left(parts)).toEqual([0, 0])
  })

  it('sets no timer when what is closed is closed again with less time', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    const closables = [
      kafka.producer(),
      kafka.consumer({ topics: ['t'], group: 'g' }),
      kafka.shareConsumer({ topics: ['t'], group: 's' }),
    ]
    for (const closable of closables) {
      await sim.run(closable.close({ deadlineMs: 60_000 }))
      await sim.run(closable.close({ deadlineMs: 10_000 }))
    }
    await sim.run(kafka.close())
    expect(await left(parts)).toEqual([0, 0])
  })

  it('has no limit with deadlineMs Infinity', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    const producer = kafka.producer()
    await sim.run(producer.send({ topic: 't', value: 'a', partition: 0 }))
    for (const id of [1, 2, 3]) void sim.freeze(id, 100_000)
    const sent = producer.send({ topic: 't', value: 'b', partition: 0 })
    await sim.run(kafka.close({ deadlineMs: Infinity }))
    expect(await sim.run(sent)).toMatchObject({ offset: 1 })
    expect(await left(parts)).toEqual([0, 0])
  })

  it.each([{ deadlineMs: Number.NaN }, { deadlineMs: -1 }, { deadlineMs: '5' }, { timeoutMs: 5 }, 5])(
    'refuses to close with %o, and closes nothing',
    async (options) => {
      const { sim, kafka } = setUp()
      const refused = expect.objectContaining({ code: 'INVALID_OPTIONS' })
      const producer = kafka.producer()
      const parts = [
        kafka,
        producer,
        kafka.consumer({ topics: ['t'] }),
        kafka.shareConsumer({ topics: ['t'], group: 'g' }),
      ]
      for (const part of parts) await expect(part.close(options as never)).rejects.toEqual(refused)
      await sim.run(producer.send({ topic: 't', value: 'a' }))
      await sim.run(kafka.close())
    },
  )

  it('refuses to make anything once it is closed, and may be closed again', async () => {
    const { sim, kafka } = setUp()
    await sim.run(Promise.all([kafka.close(), kafka.close()]))
    const closed = expect.objectContaining({ code: 'CLOSED' })
    expect(() => kafka.producer()).toThrow(closed)
    expect(() => kafka.consumer({ topics: ['t'] })).toThrow(closed)
    expect(() => kafka.shareConsumer({ topics: ['t'], group: 'g' })).toThrow(closed)
    expect(() => kafka.admin()).toThrow(closed)
  })

  it('keeps nothing of producers and consumers that were closed before', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    for (let index = 0; index < 20; index++) {
      const producer = kafka.producer()
      await sim.run(producer.send({ topic: 't', value: 'a' }))
      await sim.run(producer.close())
    }
    const consumer = kafka.consumer({ topics: ['t'] })
    await sim.run(consumer.next())
    await sim.run(consumer.close())
    await sim.advance(1_000)
    // Those that all parts share: one to each broker, one for bootstrapping.
    expect(sim.network.open).toBeLessThanOrEqual(4)
    await sim.run(kafka.close())
    expect(await left(parts)).toEqual([0, 0])
  })

  it('is closed at the end of a block that owns it', async () => {
    const parts = setUp()
    const { sim, kafka } = parts
    const producer = kafka.producer()
    await sim.run(producer.send({ topic: 't', value: 'a' }))
    await sim.run(producer[Symbol.asyncDispose]())
    await sim.run(kafka[Symbol.asyncDispose]())
    expect(await left(parts)).toEqual([0, 0])
  })
})

describe('hooks', () => {
  it('report connections, requests, batches, rebalances and losses, and disturb nothing by throwing', async () => {
    const seen: string[] = []
    const report = (text: string): void => {
      seen.push(text)
      throw new Error('a hook')
    }
    const parts = setUp({
      onConnection: ({ type, purpose }) => report(`connection ${type} ${purpose}`),
      onRequest: ({ api, error }) => report(`request ${api} ${error?.code ?? 'answered'}`),
      onBatch: ({ topic, partition, records, error }) =>
        report(`batch ${topic}[${partition}] ${records} ${error?.code}`),
      onRebalance: ({ type, group, partitions }) => report(`rebalance ${type} ${group} ${partitions.length}`),
      onLoss: ({ type, partition, from, to }) => report(`loss ${type} ${partition.partition} ${from} ${to}`),
    })
    const { sim, kafka } = parts
    const producer = kafka.producer()
    await sim.run(
      producer.sendMany('t', [
        { value: 'a', partition: 0 },
        { value: 'b', partition: 0 },
      ]),
    )
    const consumer = kafka.consumer({ topics: ['t'], group: 'g' })
    const { value: batch } = await sim.run(consumer.next())
    batch?.done()
    consumer.seek({ topic: 't', partition: 0, offset: 50 })
    await sim.run(consumer.next())
    await sim.run(kafka.close())
    expect(seen).toEqual(
      expect.arrayContaining([
        'connection connected data',
        'request Produce answered',
        'batch t[0] 2 undefined',
        'rebalance assigned g 2',
        'loss reset 0 50 0',
        'rebalance revoking g 2',
        'connection closed data',
      ]),
    )
    expect(await left(parts)).toEqual([0, 0])
  })
})

it('partitionForKey says where a key goes', () => {
  expect(partitionForKey('ord-1', 12)).toBe(partitionOfKey(Buffer.from('ord-1'), 12))
  expect(partitionForKey(Buffer.from('ord-1'), 12)).toBe(partitionForKey('ord-1', 12))
})

it('the clock of the system waits forever for Infinity, and not 1 ms for what is longer than Node can wait', () => {
  vi.useFakeTimers()
  try {
    let calls = 0
    for (const delayMs of [Infinity, 2 ** 31]) systemClock.setTimer(() => calls++, delayMs)
    vi.advanceTimersByTime(60_000)
    expect(calls).toBe(0)
  } finally {
    vi.useRealTimers()
  }
})

describe('what logs show', () => {
  it('of records and batches is what they are', async () => {
    const { sim, kafka } = setUp()
    const headers = [{ key: 'h', value: Buffer.from([0xff]) }]
    await sim.run(
      kafka.producer().send({ topic: 't', key: 'k', value: '{"a":1}', headers, timestamp: 5, partition: 1 }),
    )
    const consumer = kafka.consumer({ topics: ['t'] })
    const { value: batch } = await sim.run(consumer.next())
    const [record] = batch?.records ?? []
    const shown = { offset: 0, timestamp: 5, key: 'k', value: '{"a":1}', headers: [{ key: 'h', value: 'base64:/w==' }] }
    expect(JSON.parse(JSON.stringify(record))).toEqual(shown)
    expect(inspect(record)).toBe(`KafkaRecord ${inspect(shown)}`)
    expect(inspect({ a: { b: { record } } })).toContain('[KafkaRecord]')
    const place = { topic: 't', partition: 1, count: 1, nextOffset: 1, leaderEpoch: 0, isLost: false }
    expect(JSON.parse(JSON.stringify(batch))).toEqual(place)
    expect(inspect(batch)).toBe(`ConsumerBatch ${inspect(place)}`)
    await sim.run(kafka.close())
  })

  it('of the first connection is not that the client was closed', async () => {
    const closed: string[] = []
    const { sim, kafka } = setUp({
      onConnection: (event) => {
        if (event.type === 'closed') closed.push(`${event.purpose} ${event.error.code} ${event.error.message}`)
      },
    })
    await sim.run(kafka.producer().send({ topic: 't', value: 'a' }))
    expect(closed).toEqual([
      'bootstrap CONNECTION_CLOSED the question for metadata is answered: this connection is not needed any more',
    ])
    await sim.run(kafka.close())
    expect(closed.slice(1).every((line) => line.includes('the Kafka client was closed'))).toBe(true)
  })
})

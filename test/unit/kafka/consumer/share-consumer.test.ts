import { describe, expect, it, vi } from 'vitest'
import type { ShareConsumer } from '../../../../src/kafka/consumer/share/share-consumer.ts'
import type { ShareRecord } from '../../../../src/kafka/consumer/share/share-record.ts'
import { ConsumerSim, numbers } from './sim-consumer.ts'

interface Seen {
  readonly value: string
  readonly count: number
  readonly at: number
}

function setUp(partitions = 1) {
  const sim = new ConsumerSim({ brokers: 3 })
  const { id } = sim.createTopic('t', partitions)
  const stateOf = (offset: number, partition = 0) =>
    sim.shares.group('g').partition(id, partition).stateOf(offset, sim.clock.now())
  return { sim, stateOf }
}

/** Runs a member; what its handler was given. */
function run(
  sim: ConsumerSim,
  consumer: ShareConsumer,
  handler: (record: ShareRecord) => void | Promise<void>,
): Seen[] {
  const seen: Seen[] = []
  void consumer.run({
    concurrency: 1_000,
    handler: (record) => {
      seen.push({ value: record.record.valueText ?? '', count: record.deliveryCount, at: sim.clock.now() })
      return handler(record)
    },
    onError: () => {},
  })
  return seen
}

/** No verdict was sent with the request that makes a session, which the broker would refuse. */
function expectNothingSaidOnEpoch0(sim: ConsumerSim): void {
  for (const { api, body } of sim.requests) {
    const { shareSessionEpoch, topics } = body as {
      readonly shareSessionEpoch: number
      readonly topics: readonly {
        readonly partitions: readonly { readonly acknowledgementBatches: readonly unknown[] }[]
      }[]
    }
    if (api === 'ShareAcknowledge') expect(shareSessionEpoch).not.toBe(0)
    if (api !== 'ShareFetch' || shareSessionEpoch !== 0) continue
    for (const { partitions } of topics) for (const each of partitions) expect(each.acknowledgementBatches).toEqual([])
  }
}

async function end(sim: ConsumerSim, ...consumers: readonly ShareConsumer[]): Promise<void> {
  await sim.run(Promise.all(consumers.map((each) => each.close())))
  sim.closeClients()
  await sim.advance(1_000)
  expect(sim.clientClock.timers).toBe(0)
  expectNothingSaidOnEpoch0(sim)
}

describe('verdicts of a share group (KIP-932)', () => {
  it('end a record, or bring it again with a higher count', async () => {
    const { sim, stateOf } = setUp()
    sim.append('t', 0, ['accepted', 'released', 'rejected', 'failed'])
    const consumer = sim.shareConsumer()
    const seen = run(sim, consumer, (record) => {
      if (record.record.valueText === 'rejected') record.reject()
      if (record.deliveryCount > 1) return
      if (record.record.valueText === 'released') record.release()
      if (record.record.valueText === 'failed') throw new Error('mine')
    })
    await sim.advance(5_000)
    expect(seen.map(({ value, count }) => `${value} ${count}`)).toEqual([
      'accepted 1',
      'released 1',
      'rejected 1',
      'failed 1',
      'released 2',
      'failed 2',
    ])
    expect([0, 1, 2, 3].map((offset) => stateOf(offset))).toEqual([
      'acknowledged',
      'acknowledged',
      'archived',
      'acknowledged',
    ])
    await end(sim, consumer)
  })

  it('are given until the limit of deliveries, then the broker drops the record', async () => {
    const { sim, stateOf } = setUp()
    sim.append('t', 0, ['a'])
    const consumer = sim.shareConsumer()
    const seen = run(sim, consumer, (record) => void record.release())
    await sim.advance(30_000)
    expect(seen.map(({ count }) => count)).toEqual([1, 2, 3, 4, 5])
    expect(stateOf(0)).toBe('archived')
    await end(sim, consumer)
  })

  it('of several members are about different records, each once', async () => {
    const { sim } = setUp(2)
    for (let round = 0; round < 20; round++)
      for (const p of [0, 1]) sim.append('t', p, numbers(20, 100 * p + 20 * round))
    const consumers = [1, 2, 3].map(() => sim.shareConsumer({ maxUndecided: 30 }))
    const seen = consumers.map((each) => run(sim, each, () => sim.clock.wait(sim.random.below(200))))
    await sim.advance(60_000)
    expect(seen.flat().length).toBe(800)
    expect(seen.filter((each) => each.length > 0).length).toBe(3)
    await end(sim, ...consumers)
  })
})

describe('a handler that throws', () => {
  it('without onError, ends the run with its error when the others have ended; its record comes again', async () => {
    const { sim, stateOf } = setUp()
    sim.append('t', 0, ['a', 'b', 'c'])
    const consumer = sim.shareConsumer()
    const ended: string[] = []
    const running = consumer.run({
      concurrency: 2,
      handler: async ({ record }) => {
        if (record.valueText === 'b') throw new Error('mine')
        await new Promise<void>((resolve) => sim.clientClock.setTimer(resolve, 1_000))
        ended.push(record.valueText ?? '')
      },
    })
    await expect(sim.run(running)).rejects.toThrow('mine')
    expect(ended).toEqual(['a'])
    await end(sim, consumer)
    expect([0, 1, 2].map((offset) => stateOf(offset))).toEqual(['acknowledged', 'available', 'available'])
  })

  it('ends the run also when nothing comes any more', async () => {
    const { sim } = setUp()
    sim.append('t', 0, ['a'])
    const consumer = sim.shareConsumer()
    const running = consumer.run({
      handler: async (record) => {
        await sim.clock.wait(100)
        record.reject()
        throw new Error('mine')
      },
    })
    await expect(sim.run(running)).rejects.toThrow('mine')
    await end(sim, consumer)
  })
})

describe('what is acquired ahead', () => {
  it('of a run that has failed waits for the next run, with no delivery more', async () => {
    const { sim, stateOf } = setUp()
    sim.append('t', 0, numbers(10))
    const consumer = sim.shareConsumer()
    const seen: string[] = []
    const run = () =>
      consumer.run({
        handler: async ({ record, deliveryCount }) => {
          seen.push(`${record.valueText} ${deliveryCount}`)
          await sim.clock.wait(1_000)
          if (record.offset === 2 && deliveryCount === 1) throw new Error('mine')
        },
      })
    await expect(sim.run(run())).rejects.toThrow('mine')
    const again = run()
    await sim.advance(60_000)
    expect(seen.toSorted()).toEqual([...numbers(10).map((each) => `${each} 1`), '2 2'].toSorted())
    expect(numbers(10).every((offset) => stateOf(Number(offset)) === 'acknowledged')).toBe(true)
    await end(sim, consumer)
    await again
  })

  it('is free when the member closes, but its delivery has been counted', async () => {
    const { sim, stateOf } = setUp()
    sim.append('t', 0, numbers(10))
    const [first, second] = [sim.shareConsumer(), sim.shareConsumer()]
    const began: string[] = []
    const running = first.run({
      handler: async ({ record }) => {
        began.push(record.valueText ?? '')
        await sim.clock.wait(1_000)
      },
    })
    await sim.advance(500)
    await sim.run(first.close())
    await running
    expect(began).toEqual(['0'])
    expect([0, 1, 9].map((offset) => stateOf(offset))).toEqual(['acknowledged', 'available', 'available'])
    const seen = run(sim, second, () => {})
    await sim.advance(5_000)
    expect(seen.map(({ value, count }) => `${value} ${count}`)).toEqual(numbers(9, 1).map((each) => `${each} 2`))
    await end(sim, second)
  })
})

describe('a share consumer that is busy for long', () => {
  it('keeps one timer for its locks, and renews no more often, however often it has had nothing to do', async () => {
    const { sim } = setUp()
    const consumer = sim.shareConsumer({ maxWaitMs: 50 })
    const seen = run(sim, consumer, ({ record }) => (record.valueText === 'long' ? sim.clock.wait(95_000) : undefined))
    await sim.advance(1_000)
    const before = sim.clientClock.timers
    for (let round = 0; round < 100; round++) {
      sim.append('t', 0, ['short'])
      await sim.advance(60)
    }
    expect(sim.clientClock.timers).toBeLessThanOrEqual(before + 3)
    sim.append('t', 0, ['long'])
    await sim.advance(90_000)
    expect(seen.length).toBe(101)
    const renewals = sim.requests.filter(
      ({ api, body }) => api === 'ShareAcknowledge' && (body as { readonly isRenewAck?: boolean }).isRenewAck === true,
    )
    // A third of a lock of 30 s.
    expect(renewals.length).toBeGreaterThanOrEqual(8)
    expect(renewals.length).toBeLessThanOrEqual(10)
    await sim.advance(10_000)
    await end(sim, consumer)
  })

  it('does not race its handlers: each race would leave something at one that goes on for long', async () => {
    const { sim } = setUp()
    sim.append('t', 0, ['long', ...numbers(50)])
    const consumer = sim.shareConsumer()
    const race = vi.spyOn(Promise, 'race')
    const ended: string[] = []
    const running = consumer.run({
      concurrency: 2,
      handler: async ({ record }) => {
        await sim.clock.wait(record.valueText === 'long' ? 20_000 : 10)
        ended.push(record.valueText ?? '')
      },
    })
    await sim.advance(10_000)
    expect(ended).toEqual(numbers(50))
    expect(race).not.toHaveBeenCalled()
    race.mockRestore()
    await end(sim, consumer)
    await running
    expect(ended.at(-1)).toBe('long')
  })

  it('K13: reports an error that stays once, until somebody takes it', async () => {
    const { sim } = setUp()
    sim.append('t', 0, ['a'])
    const consumer = sim.shareConsumer()
    await sim.run(consumer.next())
    // TOPIC_AUTHORIZATION_FAILED.
    sim.script.on('ShareFetch', 1, { do: 'error', code: 29 }, { times: 1_000_000 })
    sim.append('t', 0, ['b'])
    await sim.advance(60_000)
    await expect(sim.run(consumer.next())).rejects.toThrow('TOPIC_AUTHORIZATION_FAILED')
    sim.script.clear()
    const { value: records = [] } = await sim.run(consumer.next())
    expect(records.length).toBeGreaterThan(0)
    await end(sim, consumer)
  })
})

describe('locks of a share group', () => {
  it('are renewed while a handler runs, for longer than they last', async () => {
    const { sim, stateOf } = setUp()
    sim.append('t', 0, ['a'])
    const [first, second] = [sim.shareConsumer(), sim.shareConsumer()]
    const seen = [first, second].map((each) => run(sim, each, () => sim.clock.wait(100_000)))
    await sim.advance(95_000)
    expect(seen.flat().length).toBe(1)
    await sim.advance(10_000)
    expect(stateOf(0)).toBe('acknowledged')
    await end(sim, first, second)
  })

  it('C27: of a lost session count no more: its verdicts are reported, the records come again', async () => {
    const { sim, stateOf } = setUp()
    sim.append('t', 0, numbers(500))
    const consumer = sim.shareConsumer()
    const stale: ShareRecord[] = []
    consumer.onStale((records) => void stale.push(...records))
    const seen = run(sim, consumer, () => sim.clock.wait(sim.random.between(100, 4_000)))
    await sim.advance(1_000)
    sim.shares.evictSessions()
    await sim.advance(2_000)
    sim.moveLeader('t', 0, 1 + ((sim.partition('t', 0).leader ?? 0) % 3))
    await sim.advance(30_000)
    expect(new Set(seen.map(({ value }) => value)).size).toBe(500)
    expect(stale.length).toBeGreaterThan(0)
    expect(numbers(500).every((offset) => stateOf(Number(offset)) === 'acknowledged')).toBe(true)
    await end(sim, consumer)
  })

  it('C27: that have ended make a verdict come too late, and say so', async () => {
    const { sim } = setUp()
    sim.append('t', 0, ['a'])
    const consumer = sim.shareConsumer()
    const { value: [record] = [] } = await sim.run(consumer.next())
    // Its renewals don't arrive, and nobody takes over.
    sim.failoverMs = 1_000_000
    void sim.freeze(sim.partition('t', 0).leader ?? 0, 40_000)
    await sim.advance(41_000)
    expect(record?.accept()).toBe(false)
    const { value: [again] = [] } = await sim.run(consumer.next())
    expect([again?.record.valueText, again?.accept()]).toEqual(['a', true])
    await end(sim, consumer)
  })

  it('of a member that has gone are free at once', async () => {
    const { sim } = setUp()
    sim.append('t', 0, ['a'])
    const [first, second] = [sim.shareConsumer(), sim.shareConsumer()]
    await sim.run(first.next())
    const closing = first.close()
    const seen = run(sim, second, () => {})
    await sim.run(closing)
    await sim.advance(5_000)
    expect(seen.map(({ value }) => value)).toEqual(['a'])
    await end(sim, second)
  })
})

describe('what became of verdicts', () => {
  it('is reported once the broker has answered: with an error if its session was lost', async () => {
    const { sim } = setUp()
    sim.append('t', 0, numbers(4))
    const consumer = sim.shareConsumer()
    const answers: string[] = []
    consumer.onAnswered((records, error) => {
      for (const record of records) answers.push(`${record.offset} ${record.verdict} ${error?.code}`)
    })
    const { value: records = [] } = await sim.run(consumer.next())
    const [first, second, third, fourth] = records as [ShareRecord, ShareRecord, ShareRecord, ShareRecord]
    first.accept()
    second.reject()
    expect(answers).toEqual([])
    await sim.advance(1_000)
    expect(answers).toEqual(['0 accept undefined', '1 reject undefined'])
    third.accept()
    sim.shares.evictSessions()
    await sim.advance(2_000)
    expect(answers.slice(2)).toEqual(['2 accept SHARE_SESSION_NOT_FOUND'])
    // It was lost without a verdict.
    expect(fourth.accept()).toBe(false)
    await end(sim, consumer)
  })

  it('is reported at the latest when it closes', async () => {
    const { sim } = setUp()
    sim.append('t', 0, numbers(1))
    const consumer = sim.shareConsumer()
    const answers: (string | undefined)[] = []
    consumer.onAnswered((_records, error) => answers.push(error?.code))
    const { value: [record] = [] } = await sim.run(consumer.next())
    for (const id of [1, 2, 3]) sim.kill(id)
    record?.accept()
    await sim.run(consumer.close({ deadlineMs: 100 }))
    expect(answers).toHaveLength(1)
    expect(answers[0]).toBeDefined()
    sim.closeClients()
  })
})

describe('the limit of records without a verdict', () => {
  it('can change: with 0, nothing more is acquired', async () => {
    const { sim, stateOf } = setUp()
    for (const value of numbers(10)) sim.append('t', 0, [value])
    const consumer = sim.shareConsumer({ maxUndecided: 3, acquireMode: 'record_limit' })
    consumer.limit(0)
    const next = consumer.next()
    await sim.advance(3_000)
    expect(stateOf(0)).toBe('available')
    consumer.limit(2)
    const { value: records = [] } = await sim.run(next)
    expect(records.map(({ offset }) => offset)).toEqual([0, 1])
    consumer.limit(0)
    for (const record of records) record.accept()
    await sim.advance(3_000)
    expect(numbers(3).map((offset) => stateOf(Number(offset)))).toEqual(['acknowledged', 'acknowledged', 'available'])
    expect(() => consumer.limit(-1)).toThrow('shareConsumer.limit')
    await end(sim, consumer)
  })

  it('is shared by brokers that are asked side by side', async () => {
    const { sim } = setUp(3)
    for (const partition of [0, 1, 2]) sim.append('t', partition, numbers(100))
    const consumer = sim.shareConsumer({ maxUndecided: 30, acquireMode: 'record_limit' })
    let acquired = 0
    void consumer.run({ concurrency: 1_000, handler: () => (acquired++, new Promise(() => {})) })
    await sim.advance(5_000)
    // Each was asked for its share of what was left then.
    expect(acquired).toBeGreaterThanOrEqual(30)
    expect(acquired).toBeLessThan(60)
  })
})

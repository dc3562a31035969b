import { describe, expect, it } from 'vitest'
import type { ConsumerBatch } from '../../../../src/kafka/consumer/consumer-batch.ts'
import type { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import { batchOf } from '../sim/batch.ts'
import { ConsumerSim, numbers, read } from './sim-consumer.ts'

/** Collects what handlers are given, in the background. */
function collect(consumer: Consumer): string[] {
  const values: string[] = []
  void collectInto(consumer, values)
  return values
}

/** Until an error, which it swallows: the test looks at the values. */
async function collectInto(consumer: Consumer, values: string[]): Promise<void> {
  const handler = (record: { readonly valueText: string | null }, { partition }: { readonly partition: number }) =>
    void values.push(`${partition}:${record.valueText}`)
  await consumer.run({ handler }).catch(() => undefined)
}

async function nextOf(sim: ConsumerSim, consumer: Consumer): Promise<ConsumerBatch> {
  const { value } = await sim.run(consumer.next())
  if (value === undefined) throw new Error('the consumer has ended')
  return value
}

describe('C10: a topic is deleted and made again', () => {
  it.each(['classic', 'consumer'] as const)(
    '%s: nothing of the former one counts for the new one',
    async (protocol) => {
      const sim = new ConsumerSim({ brokers: 1 })
      sim.createTopic('t', 1)
      sim.createTopic('u', 1)
      sim.append('t', 0, numbers(50))
      const consumer = sim.consumer({ protocol, topics: ['t', 'u'] })
      const lost: string[] = []
      consumer.on('lost', (_, reason) => void lost.push(reason))
      const first = await nextOf(sim, consumer)
      expect(first.count).toBe(50)
      sim.recreateTopic('t')
      sim.append('t', 0, numbers(10))
      const since = sim.clock.now()
      const values = collect(consumer)
      await sim.advance(10_000)
      first.done()
      await sim.advance(5_000)
      expect(values).toEqual(numbers(10).map((n) => `0:${n}`))
      expect(sim.count('Fetch', since)).toBeLessThan(20 * 15)
      await sim.run(consumer.close())
      expect(sim.committed(0)).toBe(10)
      expect(first.isLost).toBe(true)
      if (protocol === 'classic') expect(lost).toEqual(['recreated'])
      sim.closeClients()
    },
  )

  it.each(['classic', 'consumer', undefined] as const)(
    '%s: what was lost is assigned again, and startAt is asked without what was committed',
    async (protocol) => {
      const sim = new ConsumerSim({ brokers: 1 })
      sim.createTopic('t', 2)
      sim.append('t', 0, numbers(50))
      const seen: string[] = []
      const group = protocol === undefined ? { group: undefined } : { protocol }
      const consumer = sim.consumer({
        ...group,
        topics: ['t'],
        commitIntervalMs: 100,
        startAt: ({ topic, partition }, committed) => {
          seen.push(`start ${partition} ${committed?.offset}`)
          return topic === 't' && partition === 0 && committed === undefined ? { offset: 2 } : undefined
        },
      })
      const see = (name: string, partitions: readonly { readonly partition: number }[]) =>
        void seen.push(`${name} ${partitions.map(({ partition }) => partition).join(',')}`)
      consumer.on('lost', (partitions) => see('lost', partitions))
      consumer.on('assigned', (partitions) => see('assigned', partitions))
      const values = collect(consumer)
      await sim.advance(5_000)
      expect(values.length).toBe(48)
      seen.length = values.length = 0
      sim.recreateTopic('t')
      sim.append('t', 0, numbers(10))
      sim.append('t', 1, ['x'])
      await sim.advance(15_000)
      expect(seen).toEqual(['lost 0,1', 'assigned 0,1', 'start 0 undefined', 'start 1 undefined'])
      expect(values.toSorted()).toEqual(['0:2', '0:3', '0:4', '0:5', '0:6', '0:7', '0:8', '0:9', '1:x'])
      await sim.run(consumer.close())
      sim.closeClients()
    },
  )
})

it('C10: what kept a recreated topic from being read does not bring back the former commit', async () => {
  const sim = new ConsumerSim({ brokers: 1 })
  sim.createTopic('t', 1)
  sim.append('t', 0, numbers(50))
  let isRefused = false
  const consumer = sim.consumer({
    protocol: 'classic',
    commitIntervalMs: 100,
    startAt: () => {
      if (isRefused) throw new Error('not now')
      return undefined
    },
  })
  const values = collect(consumer)
  await sim.advance(5_000)
  expect(values.length).toBe(50)
  values.length = 0
  isRefused = true
  sim.recreateTopic('t')
  // The coordinator was away when the former topic was deleted.
  sim.groups.offsets('g').commit('t', 0, { offset: 50, leaderEpoch: -1, metadata: '' })
  sim.append('t', 0, numbers(60))
  await sim.advance(5_000)
  expect(values.length).toBe(0)
  isRefused = false
  consumer.resume()
  void collectInto(consumer, values)
  await sim.advance(5_000)
  expect(values.length).toBe(60)
  await sim.run(consumer.close())
  sim.closeClients()
})

describe('C14: fetch sessions', () => {
  it('end in a full fetch, and few are made', async () => {
    const sim = new ConsumerSim({ brokers: 3 })
    sim.createTopic('t', 60)
    const consumer = sim.consumer({ group: undefined as never })
    const values = collect(consumer)
    await sim.advance(2_000)
    const expectRead = async (count: number) => {
      for (let partition = 0; partition < 60; partition++) sim.append('t', partition, ['x'])
      await sim.advance(3_000)
      expect(values.length).toBe(60 * count)
    }
    await expectRead(1)
    sim.fetchSessions(1).evict()
    await expectRead(2)
    sim.script.on('Fetch', 1, { do: 'error', code: 71 }, { broker: 1 })
    await expectRead(3)
    sim.script.on('Fetch', 1, { do: 'closeAfter' }, { broker: 1 })
    await expectRead(4)
    const before = [1, 2, 3].map((id) => sim.fetchSessions(id).created)
    await sim.advance(600_000)
    expect([1, 2, 3].map((id) => sim.fetchSessions(id).created)).toEqual(before)
    expect(before[0]).toBeLessThanOrEqual(4)
    expect(before.slice(1)).toEqual([1, 1])
    await sim.run(consumer.close())
    sim.closeClients()
  })

  it('answered without a session, everything is asked for each time', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.fetchSessions(1).maxSessions = 0
    sim.createTopic('t', 3)
    const consumer = sim.consumer({ group: undefined as never })
    const values = collect(consumer)
    for (const partition of [0, 1, 2, 0, 1, 2]) {
      sim.append('t', partition, ['x'])
      await sim.advance(1_000)
    }
    expect(values.length).toBe(6)
    await sim.run(consumer.close())
    sim.closeClients()
  })
})

describe('C15: pause and resume', () => {
  it('delivers nothing of a paused partition, fetches nothing twice, and stalls no other', async () => {
    const sim = new ConsumerSim({ brokers: 1, seed: 15 })
    sim.createTopic('t', 4)
    const consumer = sim.consumer({ group: undefined as never, maxPartitionBytes: 2_000, maxBatchRecords: 5 })
    let isPaused = false
    const values: string[] = []
    const violations: string[] = []
    void consumer.run({
      handler: (record, { partition }) => {
        if (isPaused && partition === 0) violations.push(`${record.offset}`)
        values.push(`${partition}:${record.valueText}`)
      },
    })
    await sim.advance(1_000)
    const counts = [0, 0, 0, 0]
    for (let round = 0; round < 300; round++) {
      for (const partition of [0, 1, 2, 3]) {
        sim.append('t', partition, numbers(3, counts[partition]))
        counts[partition] = (counts[partition] ?? 0) + 3
      }
      if (sim.random.next() < 0.5) {
        isPaused = !isPaused
        if (isPaused) consumer.pause([{ topic: 't', partition: 0 }])
        else consumer.resume([{ topic: 't', partition: 0 }])
      }
      await sim.advance(sim.random.next() * 60)
    }
    consumer.resume()
    isPaused = false
    await sim.advance(5_000)
    expect(violations).toEqual([])
    for (const partition of [0, 1, 2, 3]) {
      expect(values.filter((value) => value.startsWith(`${partition}:`))).toEqual(
        numbers(900).map((n) => `${partition}:${n}`),
      )
    }
    await sim.run(consumer.close())
    sim.closeClients()
  })
})

describe('C17: the log is truncated', () => {
  it.each([{}, { Fetch: 11 } as const])('it is reported, and what took its place is read: %o', async (maxVersions) => {
    const sim = new ConsumerSim({ brokers: 2, maxVersions })
    sim.createTopic('t', 1)
    for (let batch = 0; batch < 20; batch++) sim.append('t', 0, numbers(10, 10 * batch))
    const consumer = sim.consumer()
    const truncated: unknown[] = []
    consumer.on('truncated', (partition, offsets) => void truncated.push({ ...partition, ...offsets }))
    const values = collect(consumer)
    await sim.advance(5_000)
    expect(values.length).toBe(200)
    sim.truncate('t', 0, 100, 2)
    sim.append('t', 0, ['new'])
    await sim.advance(5_000)
    expect(truncated).toEqual([{ topic: 't', partition: 0, from: 200, to: 100 }])
    expect(values.slice(200)).toEqual(['0:new'])
    await sim.advance(60_000)
    expect(sim.count('OffsetForLeaderEpoch')).toBeLessThanOrEqual(3)
    await sim.run(consumer.close())
    expect(sim.committed(0)).toBe(101)
    sim.closeClients()
  })

  it.each([{}, { Fetch: 11 } as const])('reads on where another leader had written: %o', async (maxVersions) => {
    const sim = new ConsumerSim({ brokers: 2, maxVersions })
    sim.createTopic('t', 1)
    for (let batch = 0; batch < 10; batch++) sim.append('t', 0, numbers(10, 10 * batch))
    sim.moveLeader('t', 0, 2)
    for (let batch = 10; batch < 12; batch++) sim.append('t', 0, numbers(10, 10 * batch))
    const consumer = sim.consumer()
    const values = collect(consumer)
    await sim.advance(5_000)
    expect(values.length).toBe(120)
    // Elected unclean, like the second before it: it has more of the first epoch, and nothing of the second.
    sim.log('t').truncate(100)
    for (let batch = 10; batch < 15; batch++) sim.log('t').append(batchOf(numbers(10, 1_000 + 10 * batch)), 0)
    sim.moveLeader('t', 0, 1)
    await sim.advance(5_000)
    expect(values.slice(120)).toEqual(numbers(30, 1_120).map((n) => `0:${n}`))
    await sim.advance(60_000)
    expect(sim.count('Fetch', sim.clock.now() - 60_000)).toBeLessThan(300)
    await sim.run(consumer.close())
    expect(sim.committed(0)).toBe(150)
    sim.closeClients()
  })

  it('with onReset "fail" it is an error', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    for (let batch = 0; batch < 20; batch++) sim.append('t', 0, numbers(10, 10 * batch))
    sim.groups.offsets('g').commit('t', 0, { offset: 0, leaderEpoch: -1, metadata: '' })
    const consumer = sim.consumer({ onReset: 'fail' })
    await sim.run(read(consumer, 200))
    sim.truncate('t', 0, 100)
    await expect(sim.run(read(consumer, 1))).rejects.toMatchObject({ code: 'LOG_TRUNCATED' })
    await sim.run(consumer.close())
    sim.closeClients()
  })
})

describe('an offset that the log does not have', () => {
  it.each([
    ['earliest', 100, 110],
    ['latest', 110, 110],
    [{ timestampMs: 1_000 }, 100, 110],
  ] as const)('goes on where onReset says: %o', async (onReset, to, end) => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    for (let batch = 0; batch < 11; batch++) sim.append('t', 0, numbers(10, 10 * batch))
    sim.log('t').deleteBefore(100)
    sim.groups.offsets('g').commit('t', 0, { offset: 7, leaderEpoch: -1, metadata: '' })
    const consumer = sim.consumer({ onReset })
    const events: unknown[] = []
    consumer.on('reset', (_, offsets) => void events.push(offsets))
    const values = collect(consumer)
    await sim.advance(3_000)
    sim.append('t', 0, ['next'])
    await sim.advance(3_000)
    expect(events).toEqual([{ from: 7, to }])
    expect(values).toEqual([...numbers(end - to, to), 'next'].map((n) => `0:${n}`))
    await sim.run(consumer.close())
    expect(sim.committed(0)).toBe(111)
    sim.closeClients()
  })

  it('is an error with "fail", once, and reading goes on after a seek', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 1)
    for (let batch = 0; batch < 11; batch++) sim.append('t', 0, numbers(10, 10 * batch))
    sim.log('t').deleteBefore(100)
    sim.groups.offsets('g').commit('t', 0, { offset: 7, leaderEpoch: -1, metadata: '' })
    const consumer = sim.consumer({ onReset: 'fail' })
    await expect(sim.run(consumer.next())).rejects.toMatchObject({ code: 'NO_OFFSET' })
    consumer.seek({ topic: 't', partition: 0, offset: 105 })
    consumer.resume()
    expect(await sim.run(read(consumer, 5))).toEqual(numbers(5, 105).map((n) => `0:${n}`))
    await sim.run(consumer.close())
    sim.closeClients()
  })
})

describe('C19: offsets of a group at its start', () => {
  it.each([
    ['consumer', 113],
    ['classic', 27],
  ] as const)('%s: whatever is answered, an error is not "nothing committed"', async (protocol, code) => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 3)
    for (const partition of [0, 1, 2]) {
      sim.append('t', partition, numbers(10))
      sim.groups.offsets('g').commit('t', partition, { offset: 5, leaderEpoch: 0, metadata: '' })
    }
    sim.script.on('OffsetFetch', 1, { do: 'error', code }, { times: 3 })
    sim.script.on('OffsetFetch', 4, { do: 'error', code: 14 })
    sim.script.on('OffsetFetch', 5, { do: 'close' })
    const consumer = sim.consumer({ protocol, onReset: 'latest' })
    const values = await sim.run(read(consumer, 15))
    expect(values.toSorted()).toEqual([0, 1, 2].flatMap((partition) => numbers(5, 5).map((n) => `${partition}:${n}`)))
    expect(sim.count('ListOffsets')).toBe(0)
    await sim.run(consumer.close())
    sim.closeClients()
  })
})

describe('C20: a commit is overtaken by a rebalance', () => {
  it('costs no second rebalance, and what stays is committed again', async () => {
    const sim = new ConsumerSim({ brokers: 1 })
    sim.createTopic('t', 2)
    for (const partition of [0, 1]) sim.append('t', partition, numbers(10))
    const first = sim.consumer({ commitIntervalMs: 10 })
    const values = collect(first)
    sim.script.on('OffsetCommit', 1, { do: 'delay', ms: 4_000 })
    await sim.advance(1_000)
    const second = sim.consumer()
    const others = collect(second)
    await sim.advance(30_000)
    expect([first.assignment.length, second.assignment.length]).toEqual([1, 1])
    expect([...values, ...others].toSorted()).toEqual(
      [0, 1].flatMap((p) => numbers(10).map((n) => `${p}:${n}`)).toSorted(),
    )
    expect([sim.committed(0), sim.committed(1)]).toEqual([10, 10])
    const { rebalances } = sim.groups.classic('g')
    await sim.advance(60_000)
    expect(sim.groups.classic('g').rebalances).toBe(rebalances)
    await sim.run(Promise.all([first.close(), second.close()]))
    sim.closeClients()
  })
})

describe('C21: a partition is taken away while its buffer is full', () => {
  it.each(['classic', 'consumer'] as const)('%s: nothing is delivered after the last commit', async (protocol) => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 4)
    for (const partition of [0, 1, 2, 3]) {
      for (let batch = 0; batch < 20; batch++) sim.append('t', partition, numbers(10, 10 * batch))
    }
    const first = sim.consumer({ protocol, maxBatchRecords: 10 })
    const seen: string[] = []
    const reading = async (consumer: Consumer) => {
      for await (const batch of consumer) {
        await sim.clock.wait(500)
        if (!batch.isLost) for (const record of batch) seen.push(`${batch.partition}:${record.valueText}`)
        batch.done()
      }
    }
    const runs = [reading(first)]
    await sim.advance(3_000)
    const second = sim.consumer({ protocol, maxBatchRecords: 10 })
    runs.push(reading(second))
    await sim.advance(120_000)
    await sim.run(Promise.all([first.close(), second.close(), ...runs]))
    const expected = [0, 1, 2, 3].flatMap((partition) => numbers(200).map((n) => `${partition}:${n}`))
    expect(seen.toSorted()).toEqual(expected.toSorted())
    expect([0, 1, 2, 3].map((partition) => sim.committed(partition))).toEqual([200, 200, 200, 200])
    sim.closeClients()
  })
})

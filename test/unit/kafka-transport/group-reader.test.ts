import { describe, expect, it } from 'vitest'
import type { Delivery } from '../../../src/core/transport.ts'

import { GroupReaders } from '../../../src/transports/kafka/consume/group-readers.ts'
import { encodeRecord } from '../../../src/transports/kafka/partitions/commit-record.ts'
import { numbers } from '../kafka/consumer/sim-consumer.ts'
import { batchOf } from '../kafka/sim/batch.ts'
import { ReaderSim } from './reader-sim.ts'

describe.each(['classic', 'consumer'] as const)('a reader of a %s group', (protocol) => {
  it('keeps half of the credit for partitions that it has, and can not read yet', async () => {
    const world = new ReaderSim({ protocol })
    const { sim, subscription, reader } = world
    sim.createTopic('t', 3)
    for (const partition of [1, 2]) sim.moveLeader('t', partition, undefined)
    sim.append('t', 0, numbers(600))
    await reader.join([subscription])
    subscription.request(256, 1_000_000)
    await sim.advance(10_000)
    expect(world.values).toHaveLength(128)
    for (const partition of [1, 2]) {
      sim.moveLeader('t', partition, 1)
      sim.append('t', partition, numbers(20, 1_000 * partition))
    }
    await sim.advance(10_000)
    expect(world.values.slice(128).toSorted()).toEqual([...numbers(20, 1_000), ...numbers(20, 2_000)].toSorted())
    await sim.run(subscription.close())
  })

  it('reads a topic that is made again from its start', async () => {
    const world = new ReaderSim({ protocol })
    const { sim, subscription, reader } = world
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(50))
    await reader.join([subscription])
    subscription.request(1_000, 1_000_000)
    await sim.advance(10_000)
    expect(world.values).toEqual(numbers(50))
    await world.ackAll()
    sim.recreateTopic('t')
    sim.append('t', 0, numbers(10, 100))
    await sim.advance(30_000)
    expect(world.values.slice(50)).toEqual(numbers(10, 100))
  })

  it('keeps what it has of a log whose start has passed it, and tells exactly what is gone', async () => {
    const world = new ReaderSim({ protocol })
    const { sim, subscription, reader } = world
    sim.createTopic('t', 1)
    for (const value of numbers(20)) sim.append('t', 0, [value])
    await reader.join([subscription])
    // It has ten, and ten more wait in memory.
    subscription.request(10, 1_000_000)
    await sim.advance(10_000)
    expect(world.values).toEqual(numbers(10))
    for (const value of numbers(20, 20)) sim.append('t', 0, [value])
    sim.log('t').deleteBefore(25)
    await sim.advance(10_000)
    expect(world.losses()).toEqual([5])
    subscription.request(1_000, 1_000_000)
    await sim.advance(10_000)
    expect(world.lost).toEqual([])
    expect(world.values).toEqual([...numbers(20), ...numbers(15, 25)])
  })

  it('goes on reading a partition that rested when its log was truncated', async () => {
    const world = new ReaderSim({ protocol, spec: { prefetch: 10 } })
    const { sim, subscription, reader } = world
    sim.createTopic('t', 1)
    for (const value of numbers(20)) sim.append('t', 0, [value])
    await reader.join([subscription])
    subscription.request(5, 1_000_000)
    await sim.advance(10_000)
    expect(world.values).toEqual(numbers(5))
    await world.ackAll()
    sim.truncate('t', 0, 15)
    for (const value of numbers(10, 100)) sim.append('t', 0, [value])
    await sim.advance(10_000)
    subscription.request(1_000, 1_000_000)
    await sim.advance(30_000)
    await world.ackAll()
    await sim.advance(30_000)
    expect(world.values.slice(-10)).toEqual(numbers(10, 100))
  })

  it('does not warn of its record when the next commit makes room', async () => {
    const world = new ReaderSim({ protocol, spec: { order: 'none', prefetch: 1_000 } })
    const { sim, subscription, reader } = world
    sim.createTopic('t', 1)
    for (let at = 0; at < 30; at++) sim.append('t', 0, numbers(100, at * 100))
    await reader.join([subscription])
    for (let round = 0; round < 5; round++) {
      subscription.request(350, 10_000_000)
      await sim.advance(5_000)
      await world.ackAll()
    }
    expect(world.handled.length).toBe(1_750)
    expect(world.warnings()).toEqual([])
  })

  it('reads for a subscription that comes while the last one leaves', async () => {
    const world = new ReaderSim({ protocol })
    const { sim, subscription } = world
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(10))
    const readers = new GroupReaders(world.context)
    await sim.run(readers.join(subscription))
    const closed = subscription.close()
    const next = world.another()
    await sim.run(Promise.all([closed, readers.join(next)]))
    next.request(100, 1_000_000)
    await sim.advance(30_000)
    expect(world.values).toEqual(numbers(10))
  })

  it('ends, and says why, when another process has the same instanceId', async () => {
    const first = new ReaderSim({ protocol, instanceId: 'a' })
    const { sim } = first
    sim.createTopic('t', 1)
    await first.reader.join([first.subscription])
    await sim.advance(10_000)
    const second = new ReaderSim({ protocol, instanceId: 'a', sim })
    await second.reader.join([second.subscription])
    await sim.advance(120_000)
    const since = sim.clock.now()
    await sim.advance(120_000)
    const troubles = [first, second].map(({ subscription }) => subscription.state().trouble)
    expect(troubles.filter((trouble) => trouble !== undefined)).toHaveLength(1)
    expect(sim.count('JoinGroup', since)).toBe(0)
  }, 60_000)

  it('goes on behind the start of the log with what the record of the former owner says', async () => {
    const world = new ReaderSim({ protocol })
    const { sim, subscription, reader } = world
    sim.createTopic('t', 1)
    for (const value of numbers(100)) sim.append('t', 0, [value])
    // 10 and 90 are open, everything else is finished.
    const record = { topic: 0, owner: 'AAAAAAAA', free: true, moved: 0, partitions: 1, floor: 10, to: 100, claim: 100 }
    const metadata = encodeRecord({
      ...record,
      open: [
        [10, 10],
        [90, 90],
      ],
      notes: [],
    })
    const other = sim.consumer({ protocol, autoCommit: false })
    void other.next()
    await sim.advance(10_000)
    await sim.run(other.commitOffsets([{ topic: 't', partition: 0, offset: 10, metadata }]))
    await sim.run(other.close())
    sim.log('t').deleteBefore(50)
    await reader.join([subscription])
    subscription.request(1_000, 1_000_000)
    await sim.advance(10_000)
    expect(world.values).toEqual(['90'])
    expect(world.losses()).toEqual([1])
  })

  it('does not carry out again what it can not know to be done', async () => {
    const world = new ReaderSim({ protocol })
    const { sim, subscription, reader } = world
    sim.createTopic('t', 1)
    for (const value of numbers(20)) sim.append('t', 0, [value])
    const other = sim.consumer({ protocol, autoCommit: false })
    void other.next()
    await sim.advance(10_000)
    // By the console tool.
    await sim.run(other.commitOffsets([{ topic: 't', partition: 0, offset: 15, metadata: '' }]))
    await sim.run(other.close())
    // A move of last week, which was carried out then.
    const record = {
      topic: 0,
      owner: '',
      free: true,
      moved: 1_600_000_000_000,
      partitions: 1,
      floor: 0,
      to: 0,
      claim: 0,
    }
    world.moves = [{ topic: 't', partition: 0, offset: 0, metadata: encodeRecord({ ...record, open: [], notes: [] }) }]
    await reader.join([subscription])
    subscription.request(1_000, 1_000_000)
    await sim.advance(10_000)
    expect(world.values).toEqual(numbers(5, 15))
  })

  it('begins at the start of a topic whose commit is of a former one', async () => {
    const world = new ReaderSim({ protocol })
    const { sim, subscription, reader } = world
    sim.createTopic('t', 1)
    for (const value of numbers(20)) sim.append('t', 0, [value])
    const other = sim.consumer({ protocol, autoCommit: false })
    void other.next()
    await sim.advance(10_000)
    const record = {
      topic: 12_345,
      owner: 'AAAAAAAA',
      free: true,
      moved: 0,
      partitions: 1,
      floor: 10,
      to: 10,
      claim: 10,
    }
    const metadata = encodeRecord({ ...record, open: [], notes: [] })
    await sim.run(other.commitOffsets([{ topic: 't', partition: 0, offset: 10, metadata }]))
    await sim.run(other.close())
    await reader.join([subscription])
    subscription.request(1_000, 1_000_000)
    await sim.advance(10_000)
    expect(world.values).toEqual(numbers(20))
    expect(world.warnings()).toEqual(['topic-recreated'])
  })
})

it('a broadcast reads a topic that is made again from its start', async () => {
  const world = new ReaderSim({ spec: { ephemeral: true } })
  const { sim, subscription, reader } = world
  sim.createTopic('t', 1)
  sim.append('t', 0, numbers(5))
  await reader.join([subscription])
  subscription.request(1_000, 1_000_000)
  await sim.advance(5_000)
  await world.ackAll()
  sim.recreateTopic('t')
  sim.append('t', 0, numbers(10, 100))
  await sim.advance(20_000)
  expect(world.values.slice(5)).toEqual(numbers(10, 100))
})

it('refuses one subscription by what is wrong with it, and not those that join beside it', async () => {
  const world = new ReaderSim()
  const { sim } = world
  sim.createTopic('t', 1)
  sim.append('t', 0, numbers(5))
  const readers = new GroupReaders(world.context)
  const bad = world.another({ from: { position: {} } })
  const joining = Promise.allSettled([readers.join(bad), readers.join(world.subscription)])
  const results = await sim.run(joining)
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled'])
  expect((results[0] as PromiseRejectedResult).reason).toMatchObject({ code: 'BUSBAR_CONFIGURATION' })
  world.subscription.request(100, 1_000_000)
  await sim.advance(10_000)
  expect(world.values).toEqual(numbers(5))
})

it('refuses a broadcast that can not begin where it was told', async () => {
  const world = new ReaderSim()
  world.sim.createTopic('t', 1)
  const bad = world.another({ ephemeral: true, from: { position: {} } })
  const [result] = await world.sim.run(Promise.allSettled([new GroupReaders(world.context).join(bad)]))
  expect(result).toMatchObject({ status: 'rejected', reason: { code: 'BUSBAR_CONFIGURATION' } })
})

it('refuses strict order for a pattern that has found a topic with several partitions', async () => {
  const world = new ReaderSim()
  const { sim } = world
  sim.createTopic('t', 2)
  const readers = new GroupReaders(world.context)
  const [result] = await sim.run(Promise.allSettled([readers.join(world.another({ topic: '*', order: 'strict' }))]))
  expect(result).toMatchObject({ status: 'rejected', reason: { code: 'BUSBAR_UNSUPPORTED' } })
})

it('warns of strict order in a topic that has several partitions now', async () => {
  const world = new ReaderSim({ spec: { order: 'strict' } })
  world.sim.createTopic('t', 2)
  await world.reader.join([world.subscription])
  await world.sim.advance(10_000)
  expect(world.warnings()).toEqual(['strict-partitions'])
})

it('does not carry out a move of a former topic of that name', async () => {
  const world = new ReaderSim()
  const { sim, subscription, reader } = world
  sim.createTopic('t', 1)
  sim.append('t', 0, numbers(20))
  await reader.join([subscription])
  subscription.request(1_000, 1_000_000)
  await sim.advance(10_000)
  await world.ackAll()
  const record = {
    topic: 12_345,
    owner: '',
    free: true,
    moved: 1_800_000_000_000,
    partitions: 1,
    floor: 5,
    to: 5,
    claim: 5,
  }
  world.moves = [{ topic: 't', partition: 0, offset: 5, metadata: encodeRecord({ ...record, open: [], notes: [] }) }]
  await sim.advance(10_000)
  expect(world.values).toEqual(numbers(20))
})

it('counts what the broker has for a subscription, anew when some time has passed', async () => {
  const world = new ReaderSim({ spec: { prefetch: 10 } })
  const { sim, subscription, reader } = world
  sim.createTopic('t', 1)
  for (const value of numbers(50)) sim.append('t', 0, [value])
  await reader.join([subscription])
  subscription.request(5, 1_000_000)
  await sim.advance(10_000)
  await expect(subscription.readyHere()).resolves.toBe(45)
  await world.ackAll()
  subscription.request(30, 1_000_000)
  await sim.advance(10_000)
  expect(world.handled.length).toBeGreaterThan(5)
  await expect(subscription.readyHere()).resolves.toBe(50 - world.handled.length)
})

describe('commits', () => {
  it('that are refused for one partition hold up that one alone, and say so', async () => {
    const world = new ReaderSim({ spec: { prefetch: 8, maxPerKey: 8 } })
    const { sim, subscription, reader } = world
    sim.createTopic('t', 2)
    for (const partition of [0, 1]) sim.append('t', partition, numbers(100, partition * 1_000))
    void reader.join([subscription])
    subscription.request(8, 1_000_000)
    await sim.advance(5_000)
    expect(world.handled.map(({ partition }) => partition)).toContain('t/0')
    world.refused.add('t/0')
    const before = sim.committed(0) ?? 0
    const settling: Promise<unknown>[] = []
    for (let round = 0; round < 200; round++) {
      await sim.advance(100)
      for (const delivery of world.handled.splice(0)) {
        settling.push(subscription.settle([{ delivery, outcome: { type: 'ack' } }]))
        subscription.request(1, delivery.bytes)
      }
    }
    expect(sim.committed(1)).toBe(100)
    expect(sim.committed(0) ?? 0).toBe(before)
    expect(subscription.state().trouble).toMatch(/t\/0.*not allowed/)
    const other = world.another()
    expect(other.state().trouble).toBeUndefined()
    world.refused.clear()
    await sim.advance(2_000)
    expect(subscription.state().trouble).toBeUndefined()
    expect(sim.committed(0)).toBeGreaterThan(before)
    await sim.run(subscription.close())
    await Promise.allSettled(settling)
  })

  it('of notes about handlers that run wait for their interval; of those that must be stored first they do not', async () => {
    const world = new ReaderSim({})
    const { sim, subscription, reader } = world
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(100))
    void reader.join([subscription])
    subscription.request(100, 1_000_000)
    await sim.advance(5_000)
    expect(world.handled).toHaveLength(100)
    const since = sim.clock.now()
    const noting: Promise<void>[] = []
    for (const delivery of world.handled) {
      noting.push(subscription.noteAttempts([{ delivery, used: 1, running: true, notBefore: undefined }]))
      await sim.advance(10)
    }
    await sim.advance(100)
    await Promise.all(noting)
    expect(sim.count('OffsetCommit', since)).toBeLessThanOrEqual(Math.ceil(1_100 / 50) + 1)
    const [delivery] = world.handled
    const retry = { delivery: delivery as Delivery, used: 1, running: false, notBefore: 1_700_000_100_000 }
    const began = sim.clock.now()
    await sim.run(subscription.noteAttempts([retry]))
    await sim.run(subscription.noteAttempts([retry]))
    expect(sim.clock.now() - began).toBeLessThan(50)
    await sim.run(subscription.close())
  })
})

describe('a record that knows more than the log seems to have', () => {
  const record = {
    floor: 0,
    topic: 0,
    owner: 'AAAAAAAA',
    free: false,
    to: 8,
    claim: 64,
    moved: 0,
    partitions: 1,
    open: [[0, 0]] as const,
    notes: [],
  }
  const setUp = (): ReaderSim => {
    const world = new ReaderSim({})
    world.sim.createTopic('t', 1)
    world.sim.append('t', 0, numbers(10))
    world.sim.groups.offsets('g').commit('t', 0, { offset: 0, leaderEpoch: -1, metadata: encodeRecord(record) })
    world.knownEnd = 5
    void world.reader.join([world.subscription])
    world.subscription.request(100, 1_000_000)
    return world
  }

  it('is believed as soon as a new leader knows the whole log', async () => {
    const world = setUp()
    await world.sim.advance(2_000)
    expect(world.values).toEqual([])
    world.knownEnd = undefined
    await world.sim.advance(2_000)
    expect(world.values).toEqual(['0', '8', '9'])
    expect(world.warnings()).toEqual([])
    await world.sim.run(world.subscription.close())
  })

  it('is not believed when the log stays that short', async () => {
    const world = setUp()
    await world.sim.advance(20_000)
    expect(world.values).toEqual(numbers(10))
    expect(world.warnings()).toContain('foreign-commit')
    await world.sim.run(world.subscription.close())
  })
})

it('says what can not be read while the rest goes on', async () => {
  const world = new ReaderSim({})
  const { sim, subscription, reader } = world
  sim.createTopic('t', 2)
  const damaged = batchOf(numbers(3))
  damaged.writeUInt8(0xff, damaged.length - 2)
  sim.log('t', 0).append(damaged, 0)
  sim.append('t', 1, numbers(5))
  void reader.join([subscription])
  subscription.request(100, 1_000_000)
  await sim.advance(5_000)
  expect(world.values).toEqual(numbers(5))
  expect(subscription.state().trouble).toMatch(/can't be read/)
  sim.log('t', 0).deleteBefore(3)
  await sim.advance(10_000)
  expect(subscription.state().trouble).toBeUndefined()
  await sim.run(subscription.close())
})

it('takes subscriptions that it adds itself for no storm of rebalances', async () => {
  const world = new ReaderSim({})
  const { sim, reader } = world
  for (let topic = 0; topic < 25; topic++) {
    sim.createTopic(`t${topic}`, 1)
    void reader.join([world.another({ topic: `t${topic}` })])
    await sim.advance(5_000)
  }
  expect(world.warnings()).not.toContain('rebalance-storm')
  reader.abort()
})

import { describe, expect, it } from 'vitest'
import type { Delivery, SubscriptionSpec, TransportHost } from '../../../src/core/transport.ts'
import { GroupReader } from '../../../src/transports/kafka/consume/group-reader.ts'
import { GroupReaders } from '../../../src/transports/kafka/consume/group-readers.ts'
import { KafkaSubscription } from '../../../src/transports/kafka/consume/subscription.ts'
import type { KafkaContext } from '../../../src/transports/kafka/context.ts'
import { encodeRecord } from '../../../src/transports/kafka/partitions/commit-record.ts'
import { Reports } from '../../../src/transports/kafka/reports.ts'
import { Mapping } from '../../../src/transports/kafka/wire/mapping.ts'
import { ConsumerSim, numbers } from '../kafka/consumer/sim-consumer.ts'

interface Move {
  readonly topic: string
  readonly partition: number
  readonly offset: number
  readonly metadata: string
}

/** A reader of group `g` on a simulated cluster, and one subscription of topic `t`. */
class ReaderSim {
  readonly sim: ConsumerSim
  readonly handled: Delivery[] = []
  readonly lost: Delivery[] = []
  readonly events: { readonly name: string; readonly value: Record<string, unknown> }[] = []
  moves: Move[] = []
  readonly context: KafkaContext
  readonly reader: GroupReader
  readonly subscription: KafkaSubscription
  /** Of the same topic and group. */
  readonly another: (other?: Partial<SubscriptionSpec>) => KafkaSubscription

  constructor(
    options: {
      readonly spec?: Partial<SubscriptionSpec>
      readonly protocol?: 'classic' | 'consumer'
      readonly sim?: ConsumerSim
      readonly instanceId?: string
    } = {},
  ) {
    const { sim = new ConsumerSim({ brokers: 1 }), instanceId } = options
    this.sim = sim
    const time = sim.clientClock
    const clock = {
      now: () => 1_700_000_000_000 + time.now(),
      monotonic: () => time.now(),
      setTimer: (delayMs: number, fire: () => void) => ({ cancel: time.setTimer(fire, delayMs) }),
    }
    const emit = (name: string, value: Record<string, unknown>) => void this.events.push({ name, value })
    const host = { clock, name: 'main', service: 's', events: { emit } } as unknown as TransportHost
    const client = {
      consumer: (given: object) => sim.consumer(given),
      admin: () => ({
        offsets: { list: async () => this.moves, alter: async () => {} },
        records: { offsets: async () => [{ partition: 0, offset: 0 }] },
        topics: {
          list: async () => ['t'],
          describe: async (names: readonly string[]) =>
            names.map((name) => ({ name, partitions: Array.from({ length: sim.topic(name).partitions.length }) })),
        },
      }),
    }
    const { protocol = 'classic' } = options
    const context = {
      options: {
        commitIntervalMs: 50,
        revokeTimeoutMs: 20_000,
        consumer: { autoCommit: false, onReset: 'earliest', protocol, instanceId },
        reader: { autoCommit: false, onReset: 'earliest' },
      },
      host,
      client,
      mapping: new Mapping(),
      reports: new Reports(host),
      groupId: (name: string) => name,
    } as unknown as KafkaContext
    this.context = context
    const spec = {
      topic: 't',
      group: 'g',
      order: 'key',
      ephemeral: false,
      from: 'earliest',
      prefetch: 256,
      prefetchBytes: 16_777_216,
      maxPerKey: 64,
      consumerId: 'c',
      ...options.spec,
    } as SubscriptionSpec
    const sink = {
      receive: (batch: readonly Delivery[]) => void this.handled.push(...batch),
      lost: (deliveries: readonly Delivery[]) => void this.lost.push(...deliveries),
      recall: () => {},
    }
    this.another = (other) =>
      new KafkaSubscription({
        context,
        spec: { ...spec, ...other },
        sink,
        publish: async () => [],
        onClosed: () => {},
      })
    this.subscription = this.another()
    this.reader = new GroupReader({
      context,
      groupId: spec.ephemeral ? undefined : 'g',
      beginning: () => 0,
      partitionsOf: () => 1,
      ended: () => {},
      recreated: () => {},
    })
  }

  get values(): string[] {
    return this.handled.map(({ message }) => String(message.body))
  }

  /** Settles what is outstanding. */
  async ackAll(): Promise<void> {
    const batch = this.handled
      .filter((delivery) => !(delivery as unknown as { settled: boolean }).settled && !delivery.lost)
      .map((delivery) => ({ delivery, outcome: { type: 'ack' as const } }))
    const done = this.subscription.settle(batch)
    await this.sim.advance(1_000)
    await done
  }

  warnings(): unknown[] {
    return this.events.filter(({ name }) => name === 'warning').map(({ value }) => value['code'])
  }

  losses(): unknown[] {
    return this.events.filter(({ name }) => name === 'loss').map(({ value }) => value['count'])
  }
}

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
      subscription.request(500, 10_000_000)
      await sim.advance(5_000)
      await world.ackAll()
    }
    expect(world.handled.length).toBe(2_500)
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

import { expect, it } from 'vitest'
import type { KafkaError } from '../../../../src/kafka/errors.ts'
import { numbers, read } from '../consumer/sim-consumer.ts'
import { PainWorld } from './pain-world.ts'

const STALE_MEMBER_EPOCH = 113
const COORDINATOR_LOAD_IN_PROGRESS = 14

it('consumer silently stops: every partition moves within 10 s after restarts, pauses, empty polls and slow handlers', async () => {
  const world = new PainWorld(4, { brokers: 3 })
  const consumer = world.consumer()
  const seen = world.consume(consumer, () => (world.random.chance(0.1) ? 4_000 : 0), 8)
  let next = 0
  const expectProgress = async (): Promise<void> => {
    for (let partition = 0; partition < 4; partition++) world.append('t', partition, [String(next)])
    await world.advance(10_000)
    for (let partition = 0; partition < 4; partition++) expect(seen.get(partition)?.at(-1)).toBe(String(next))
    next++
  }
  await expectProgress()
  for (const broker of [1, 2, 3]) {
    world.kill(broker)
    await world.advance(3_000)
    await expectProgress()
    world.start(broker)
    await expectProgress()
    void world.freeze(broker, 20_000)
    await world.advance(25_000)
    await expectProgress()
  }
  consumer.pause()
  await world.advance(120_000)
  consumer.resume()
  await expectProgress()
  // Nothing for half an hour.
  await world.advance(1_800_000)
  await expectProgress()
  await world.end()
})

it.each(['classic', 'consumer'] as const)(
  'rebalance storms, rejoin loops: %s members whose handlers outlast heartbeats join once for each change',
  async (protocol) => {
    const world = new PainWorld(6, { brokers: 1 })
    for (let partition = 0; partition < 6; partition++) world.append('t', partition, numbers(40))
    const lost: unknown[] = []
    const join = () => {
      const consumer = world.consumer({ protocol })
      consumer.on('lost', (...event) => void lost.push(event))
      world.consume(consumer, () => 8_000, 6)
      return consumer
    }
    const consumers = [join(), join()]
    await world.advance(60_000)
    const before = world.count('JoinGroup')
    const since = world.clock.now()
    consumers.push(join())
    await world.advance(60_000)
    await world.run(consumers[0]?.close() ?? Promise.resolve())
    await world.advance(60_000)
    // Cooperative: once to give away, once to take, for each of three members and each of two changes.
    expect(world.count('JoinGroup') - before).toBeLessThanOrEqual(2 * 2 * 3)
    expect(world.count(protocol === 'classic' ? 'Heartbeat' : 'ConsumerGroupHeartbeat', since)).toBeGreaterThan(50)
    expect(lost).toEqual([])
    await world.end()
  },
)

it('offsets lost or work redone on rebalance: what is handled is committed before its partition moves', async () => {
  const world = new PainWorld(4, { brokers: 1 })
  for (let partition = 0; partition < 4; partition++) world.append('t', partition, numbers(500))
  const first = world.consume(world.consumer({ commitIntervalMs: 60_000 }), () => 100, 4)
  await world.advance(10_000)
  const second = world.consume(world.consumer({ commitIntervalMs: 60_000 }), () => 100, 4)
  await world.advance(120_000)
  for (let partition = 0; partition < 4; partition++) {
    expect([...(first.get(partition) ?? []), ...(second.get(partition) ?? [])]).toEqual(numbers(500))
  }
  expect(second.size).toBe(2)
  await world.end()
})

it.each(['classic', 'consumer'] as const)(
  'committed offset skipped at start: a %s member asks until it is answered, and resets nothing',
  async (protocol) => {
    const world = new PainWorld(1, { brokers: 1 })
    world.append('t', 0, numbers(10))
    world.groups.offsets('g').commit('t', 0, { offset: 4, leaderEpoch: 0, metadata: '' })
    const refusals =
      protocol === 'classic' ? [COORDINATOR_LOAD_IN_PROGRESS] : [STALE_MEMBER_EPOCH, COORDINATOR_LOAD_IN_PROGRESS]
    refusals.forEach((code, index) =>
      world.script.on('OffsetFetch', 1 + 2 * index, { do: 'error', code }, { times: 2 }),
    )
    world.script.on('OffsetFetch', 2 * refusals.length + 1, { do: 'close' })
    const seen = world.consume(world.consumer({ protocol, onReset: 'latest' }))
    await world.advance(20_000)
    expect(seen.get(0)).toEqual(numbers(6, 4))
    expect(world.count('ListOffsets')).toBe(0)
    await world.end()
  },
)

it('offset reset surprises: each policy does what it says, and an empty partition is not reset again', async () => {
  const world = new PainWorld(1, { brokers: 1 })
  const valuesOf = async (onReset: 'earliest' | 'latest'): Promise<readonly string[]> => {
    const consumer = world.consumer({ group: onReset, onReset })
    const seen = world.consume(consumer)
    await world.advance(5_000)
    world.append('t', 0, [`for ${onReset}`])
    await world.advance(5_000)
    await world.run(consumer.close())
    return seen.get(0) ?? []
  }
  // Nothing was ever written: what comes first is not missed, also not after a restart.
  expect(await valuesOf('latest')).toEqual(['for latest'])
  world.append('t', 0, ['while nobody reads'])
  expect(await valuesOf('latest')).toEqual(['while nobody reads', 'for latest'])
  expect(await valuesOf('earliest')).toEqual(['for latest', 'while nobody reads', 'for latest', 'for earliest'])
  const strict = world.consumer({ group: 'fail', onReset: 'fail' })
  const error = await world.run(strict.next().catch((reason: KafkaError) => reason))
  expect(error).toMatchObject({ code: 'NO_OFFSET' })
  await world.run(strict.close())
  await world.end()
})

it('commit off by one: what is committed is the offset of the next record', async () => {
  const world = new PainWorld(1, { brokers: 1 })
  world.append('t', 0, numbers(10))
  const consumer = world.consumer()
  await world.run(read(consumer, 10))
  await world.run(consumer.commit())
  expect(world.committed(0)).toBe(10)
  expect(world.log('t').endOffset - (world.committed(0) ?? 0)).toBe(0)
  await world.run(consumer.close())
  await world.end()
})

it('two members on one partition, messages after stop: assignments never overlap, and nothing comes after close', async () => {
  const world = new PainWorld(6, { brokers: 3 })
  const consumers = [0, 1, 2].map(() => world.consumer({ commitIntervalMs: 100 }))
  const counts: number[] = []
  const seen = consumers.map((consumer) => world.consume(consumer, () => world.random.below(50), 3))
  const handled = () => seen.map((each) => [...each.values()].flat().length)
  for (let round = 0; round < 40; round++) {
    for (let partition = 0; partition < 6; partition++) world.append('t', partition, numbers(10, 10 * round))
    await world.advance(world.random.below(1_000))
    const owned = consumers.flatMap((each) => each.assignment.map(({ partition }) => partition))
    expect(new Set(owned).size).toBe(owned.length)
    if (round !== 20) continue
    await world.run(consumers[1]?.close() ?? Promise.resolve())
    counts.push(handled()[1] ?? -1)
  }
  await world.advance(20_000)
  expect(handled()[1]).toBe(counts[0])
  for (let partition = 0; partition < 6; partition++) {
    const values = seen.flatMap((each) => each.get(partition) ?? []).map(Number)
    expect(values.toSorted((a, b) => a - b)).toEqual(numbers(400).map(Number))
  }
  await world.end()
})

it('leader epoch fencing: leaders that move under load cost few requests, and lose or repeat nothing', async () => {
  const world = new PainWorld(3, { brokers: 3, maxVersions: { Fetch: 11 } })
  const seen = world.consume(world.consumer())
  const since = world.clock.now()
  for (let move = 0; move < 60; move++) {
    world.append('t', move % 3, [String(move)])
    world.moveLeader('t', move % 3, 1 + world.random.below(3))
    await world.advance(500)
  }
  await world.advance(5_000)
  for (let partition = 0; partition < 3; partition++) {
    expect(seen.get(partition)).toEqual(numbers(60).filter((value) => Number(value) % 3 === partition))
  }
  expect(world.count('OffsetForLeaderEpoch', since)).toBeLessThanOrEqual(120)
  expect(world.count('Fetch', since)).toBeLessThan(60 * 20)
  await world.end()
})

it('backpressure, fairness: a slow, hot partition holds up no other, and nothing is fetched twice', async () => {
  const world = new PainWorld(10, { brokers: 1 })
  const padding = 'x'.repeat(1_000)
  for (let partition = 0; partition < 10; partition++) {
    const count = partition === 0 ? 4_000 : 200
    for (let from = 0; from < count; from += 50)
      world.append(
        't',
        partition,
        numbers(50, from).map((n) => `${n} ${padding}`),
      )
  }
  const consumer = world.consumer({ maxBufferedBytes: 1_000_000, maxPartitionBytes: 100_000, maxBatchRecords: 50 })
  let fetched = 0
  let delivered = 0
  const perPartition = new Map<number, number>()
  let cold: number | undefined
  while (delivered < 5_800) {
    const { value: batch } = await world.run(consumer.next())
    if (batch === undefined) break
    delivered += batch.count
    perPartition.set(batch.partition, (perPartition.get(batch.partition) ?? 0) + batch.count)
    fetched = Math.max(fetched, consumer.bufferedBytes)
    batch.done()
    if (
      cold === undefined &&
      [...perPartition].filter(([partition, count]) => partition > 0 && count === 200).length === 9
    )
      cold = perPartition.get(0)
    await world.advance(5)
  }
  // When the others are through, the hot one has had about its share.
  expect(cold).toBeLessThan(1_000)
  expect(fetched).toBeLessThan(2_200_000)
  const offsets = new Map<string, number>()
  for (const { api, body } of world.requests) {
    if (api !== 'Fetch') continue
    for (const { partitions } of (
      body as {
        readonly topics: readonly {
          readonly partitions: readonly { readonly partition: number; readonly fetchOffset: number }[]
        }[]
      }
    ).topics) {
      for (const { partition, fetchOffset } of partitions) {
        // No partition is ever asked for something before what it was asked for already.
        expect(fetchOffset).toBeGreaterThanOrEqual(offsets.get(String(partition)) ?? 0)
        offsets.set(String(partition), fetchOffset)
      }
    }
  }
  await world.run(consumer.close())
  await world.end()
})

import { afterEach, describe, expect, it } from 'vitest'
import { Cluster } from '../../../../src/kafka/cluster/cluster.ts'
import { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import type { ConsumerOptions } from '../../../../src/kafka/consumer/consumer-options.ts'
import { batchOf } from '../sim/batch.ts'
import { SimCluster } from '../sim/sim-cluster.ts'
import type { SimOptions } from '../sim/sim-cluster.ts'

const clusters: Cluster[] = []

afterEach(() => {
  for (const cluster of clusters.splice(0)) cluster.close()
})

function setUp(options: SimOptions = {}): SimCluster {
  return new SimCluster(options)
}

function consumerOf(sim: SimCluster, options: Partial<ConsumerOptions> = {}): Consumer {
  const cluster = new Cluster(sim.clientOptions())
  clusters.push(cluster)
  const context = { cluster, clock: sim.clientClock, random: () => sim.random.next() }
  return new Consumer(context, { topics: ['t'], group: 'g', ...options })
}

function append(sim: SimCluster, topic: string, partition: number, values: readonly string[]): void {
  const { epoch } = sim.partition(topic, partition)
  sim.log(topic, partition).append(batchOf(values), epoch)
  sim.appended()
}

function numbers(count: number, from = 0): string[] {
  return Array.from({ length: count }, (_, index) => String(from + index))
}

/** Reads until `count` records have come; what it was given is finished. */
async function read(consumer: Consumer, count: number): Promise<string[]> {
  const values: string[] = []
  while (values.length < count) {
    const { value: batch } = await consumer.next()
    if (batch === undefined) break
    for (const record of batch) values.push(`${batch.partition}:${record.valueText}`)
    batch.done()
  }
  return values
}

describe.each(['classic', 'consumer'] as const)('a consumer of a %s group', (protocol) => {
  it('reads what is there and what comes, in order, and commits what is finished', async () => {
    const sim = setUp()
    sim.createTopic('t', 3)
    for (const partition of [0, 1, 2]) append(sim, 't', partition, numbers(10))
    const consumer = consumerOf(sim, { protocol })
    const first = await sim.run(read(consumer, 30))
    for (const partition of [0, 1, 2]) {
      expect(first.filter((value) => value.startsWith(`${partition}:`))).toEqual(
        numbers(10).map((n) => `${partition}:${n}`),
      )
    }
    append(sim, 't', 1, numbers(5, 10))
    expect(await sim.run(read(consumer, 5))).toEqual(numbers(5, 10).map((n) => `1:${n}`))
    await sim.run(consumer.close())
    expect([0, 1, 2].map((partition) => sim.groups.offsets('g').get('t', partition)?.offset)).toEqual([10, 15, 10])
    expect(await consumer.next()).toEqual({ done: true, value: undefined })
  })

  it('goes on where the group has stopped', async () => {
    const sim = setUp()
    sim.createTopic('t', 1)
    append(sim, 't', 0, numbers(10))
    const first = consumerOf(sim, { protocol })
    await sim.run(read(first, 10))
    await sim.run(first.close())
    append(sim, 't', 0, numbers(5, 10))
    const second = consumerOf(sim, { protocol, onReset: 'fail' })
    expect(await sim.run(read(second, 5))).toEqual(numbers(5, 10).map((n) => `0:${n}`))
    await sim.run(second.close())
  })

  it('shares partitions with a member that joins: each record is read once', async () => {
    const sim = setUp()
    sim.createTopic('t', 4)
    const first = consumerOf(sim, { protocol })
    const second = consumerOf(sim, { protocol })
    const seen: string[] = []
    const reading = (consumer: Consumer) =>
      consumer.run({ handler: (record, { partition }) => void seen.push(`${partition}:${record.valueText}`) })
    const runs = [reading(first)]
    for (const partition of [0, 1, 2, 3]) append(sim, 't', partition, numbers(10))
    await sim.advance(5_000)
    runs.push(reading(second))
    await sim.advance(15_000)
    expect([first.assignment.length, second.assignment.length]).toEqual([2, 2])
    for (const partition of [0, 1, 2, 3]) append(sim, 't', partition, numbers(10, 10))
    await sim.advance(5_000)
    await sim.run(Promise.all([first.close(), second.close(), ...runs]))
    const expected = [0, 1, 2, 3].flatMap((partition) => numbers(20).map((n) => `${partition}:${n}`))
    expect(seen.toSorted()).toEqual(expected.toSorted())
    expect([0, 1, 2, 3].map((partition) => sim.groups.offsets('g').get('t', partition)?.offset)).toEqual([
      20, 20, 20, 20,
    ])
  })

  it('leaves no timer and no connection behind', async () => {
    const sim = setUp()
    sim.createTopic('t', 2)
    const consumer = consumerOf(sim, { protocol })
    const next = consumer.next()
    await sim.advance(10_000)
    await sim.run(consumer.close())
    await next
    for (const cluster of clusters.splice(0)) cluster.close()
    await sim.advance(1_000)
    expect([sim.clientClock.timers, sim.network.open]).toEqual([0, 0])
  })
})

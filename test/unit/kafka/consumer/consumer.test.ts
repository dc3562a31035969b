import { describe, expect, it } from 'vitest'
import type { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import { ConsumerSim, numbers, read } from './sim-consumer.ts'

describe.each(['classic', 'consumer'] as const)('a consumer of a %s group', (protocol) => {
  it('reads what is there and what comes, in order, and commits what is finished', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 3)
    for (const partition of [0, 1, 2]) sim.append('t', partition, numbers(10))
    const consumer = sim.consumer({ protocol })
    const first = await sim.run(read(consumer, 30))
    for (const partition of [0, 1, 2]) {
      expect(first.filter((value) => value.startsWith(`${partition}:`))).toEqual(
        numbers(10).map((n) => `${partition}:${n}`),
      )
    }
    const at = { delivered: 10, finished: 10, end: 10 }
    expect(consumer.positions.toSorted((a, b) => a.partition - b.partition)).toEqual(
      [0, 1, 2].map((partition) => ({ topic: 't', partition, ...at })),
    )
    sim.append('t', 1, numbers(5, 10))
    expect(await sim.run(read(consumer, 5))).toEqual(numbers(5, 10).map((n) => `1:${n}`))
    await sim.run(consumer.close())
    expect([0, 1, 2].map((partition) => sim.committed(partition))).toEqual([10, 15, 10])
    expect(await consumer.next()).toEqual({ done: true, value: undefined })
  })

  it('goes on where the group has stopped', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 1)
    sim.append('t', 0, numbers(10))
    const first = sim.consumer({ protocol })
    await sim.run(read(first, 10))
    await sim.run(first.close())
    sim.append('t', 0, numbers(5, 10))
    const second = sim.consumer({ protocol, onReset: 'fail' })
    expect(await sim.run(read(second, 5))).toEqual(numbers(5, 10).map((n) => `0:${n}`))
    await sim.run(second.close())
  })

  it('shares partitions with a member that joins: each record is read once', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 4)
    const first = sim.consumer({ protocol })
    const second = sim.consumer({ protocol })
    const seen: string[] = []
    const reading = (consumer: Consumer) =>
      consumer.run({ handler: (record, { partition }) => void seen.push(`${partition}:${record.valueText}`) })
    const runs = [reading(first)]
    for (const partition of [0, 1, 2, 3]) sim.append('t', partition, numbers(10))
    await sim.advance(5_000)
    runs.push(reading(second))
    await sim.advance(15_000)
    expect([first.assignment.length, second.assignment.length]).toEqual([2, 2])
    for (const partition of [0, 1, 2, 3]) sim.append('t', partition, numbers(10, 10))
    await sim.advance(5_000)
    await sim.run(Promise.all([first.close(), second.close(), ...runs]))
    const expected = [0, 1, 2, 3].flatMap((partition) => numbers(20).map((n) => `${partition}:${n}`))
    expect(seen.toSorted()).toEqual(expected.toSorted())
    expect([0, 1, 2, 3].map((partition) => sim.committed(partition))).toEqual([20, 20, 20, 20])
  })

  it('leaves no timer and no connection behind', async () => {
    const sim = new ConsumerSim()
    sim.createTopic('t', 2)
    const consumer = sim.consumer({ protocol })
    const next = consumer.next()
    await sim.advance(10_000)
    await sim.run(consumer.close())
    await next
    sim.closeClients()
    await sim.advance(1_000)
    expect([sim.clientClock.timers, sim.network.open]).toEqual([0, 0])
  })
})

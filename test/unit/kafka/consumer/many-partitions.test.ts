import { expect, it, vi } from 'vitest'
import { Metadata } from '../../../../src/kafka/cluster/metadata.ts'
import { ConsumerSim, numbers, read } from './sim-consumer.ts'

it('delivering a partition does not walk over all of them', async () => {
  const sim = new ConsumerSim({ brokers: 1 })
  const partitions = 200
  sim.createTopic('t', partitions)
  for (let partition = 0; partition < partitions; partition++) sim.append('t', partition, numbers(20))
  const consumer = sim.consumer({ group: undefined })
  const look = vi.spyOn(Metadata.prototype, 'leaderOf')
  await sim.run(read(consumer, 20 * partitions))
  // A few times for each request, of which there are few; not once for each of them and each delivery.
  expect(look.mock.calls.length).toBeLessThan(50 * partitions)
  look.mockRestore()
  await sim.run(consumer.close())
  sim.closeClients()
})

it('a consumer without a group leaves alone what a recreated topic does not have', async () => {
  const sim = new ConsumerSim({ brokers: 1 })
  sim.createTopic('t', 4)
  const consumer = sim.consumer({ group: undefined, onReset: 'latest' })
  const values: string[] = []
  const run = consumer.run({ handler: (record, { partition }) => void values.push(`${partition}:${record.valueText}`) })
  await sim.advance(5_000)
  expect(consumer.assignment.length).toBe(4)
  sim.deleteTopic('t')
  sim.createTopic('t', 2)
  sim.append('t', 1, ['new'])
  await sim.advance(3_000)
  expect(values).toEqual(['1:new'])
  expect(consumer.assignment.map(({ partition }) => partition)).toEqual([0, 1])
  const since = sim.clock.now()
  await sim.advance(5_000)
  // Partitions without a leader would be looked for ten times in a second.
  expect(sim.count('Metadata', since)).toBeLessThan(3)
  await sim.run(consumer.close())
  await run
  sim.closeClients()
})

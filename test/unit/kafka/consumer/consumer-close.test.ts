import { expect, it } from 'vitest'
import type { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import { ConsumerSim, numbers, read } from './sim-consumer.ts'

it('a consumer that closes while its group rebalances twice commits, and ends at once', async () => {
  const sim = new ConsumerSim({ brokers: 1 })
  sim.createTopic('t', 3)
  sim.append('t', 0, numbers(10))
  const consumers = [1, 2, 3].map(() => sim.consumer({ commitIntervalMs: 60_000 }))
  const [first, second, third] = consumers as [Consumer, Consumer, Consumer]
  await sim.run(read(first, 5))
  sim.append('t', 0, numbers(10))
  await sim.run(read(first, 1))
  let closing: Promise<void> | undefined
  let closedAt = Infinity
  const others: Promise<unknown>[] = []
  // The third one joins after the second rebalance has its members, and before the leader has said who gets what.
  sim.script.on('JoinGroup', 3, {
    do: 'run',
    run: () => {
      closing = first.close().then(() => void (closedAt = sim.clock.now()))
      others.push(third.next())
    },
  })
  sim.script.on('SyncGroup', 1, { do: 'delay', ms: 500 })
  others.push(second.next())
  await sim.advance(10_000)
  const sync = sim.requests.findLast(({ api, at }) => api === 'SyncGroup' && at < closedAt)?.at ?? 0
  expect(closedAt - sync).toBeLessThan(1_000)
  expect(sim.committed(0)).toBe(20)
  await sim.run(Promise.all([closing, second.close(), third.close()]))
  await Promise.all(others)
  sim.closeClients()
})

import { describe, expect, it } from 'vitest'
import type { Consumer } from '../../../../src/kafka/consumer/consumer.ts'
import { ConsumerSim, numbers } from './sim-consumer.ts'

/** A topic whose leader is broker 1, and a consumer beside broker 2. */
function setUp() {
  const sim = new ConsumerSim({ brokers: 3 })
  sim.createTopic('t', 1)
  sim.moveLeader('t', 0, 1)
  const consumer = sim.consumer({ rack: 'rack-2' })
  const values: string[] = []
  const resets: unknown[] = []
  consumer.on('reset', (...reset) => void resets.push(reset))
  void consumer.run({ handler: (record) => void values.push(record.valueText ?? '') })
  /** Which brokers were asked while this much time passed. */
  const askedWithin = async (ms: number): Promise<readonly number[]> => {
    const since = sim.clock.now()
    await sim.advance(ms)
    const fetches = sim.requests.filter(({ api, at }) => api === 'Fetch' && at >= since)
    return [...new Set(fetches.map(({ broker }) => broker))].toSorted((a, b) => a - b)
  }
  return { sim, consumer, values, resets, askedWithin }
}

async function end(sim: ConsumerSim, consumer: Consumer): Promise<void> {
  await sim.run(consumer.close())
  sim.closeClients()
  await sim.advance(1_000)
  expect(sim.clientClock.timers).toBe(0)
}

describe('a replica near by (KIP-392)', () => {
  it('is read from, and the leader again when it fails', async () => {
    const { sim, consumer, values, askedWithin } = setUp()
    sim.append('t', 0, ['a'])
    await sim.advance(3_000)
    sim.append('t', 0, ['b'])
    expect(await askedWithin(3_000)).toEqual([2])
    sim.kill(2)
    sim.append('t', 0, ['c'])
    await sim.advance(5_000)
    expect(values).toEqual(['a', 'b', 'c'])
    await end(sim, consumer)
  })

  it('that is frozen is left within the time in which the others give it up', async () => {
    const { sim, consumer, values } = setUp()
    sim.append('t', 0, ['a'])
    await sim.advance(3_000)
    void sim.freeze(2, 60_000)
    sim.append('t', 0, ['b'])
    await sim.advance(10_000)
    expect(values).toEqual(['a', 'b'])
    await sim.advance(60_000)
    await end(sim, consumer)
  })

  it('is used for five minutes, then the leader is asked again', async () => {
    const { sim, consumer, askedWithin } = setUp()
    sim.append('t', 0, ['a'])
    await sim.advance(3_000)
    expect(await askedWithin(280_000)).toEqual([2])
    expect(await askedWithin(60_000)).toEqual([1, 2])
    await end(sim, consumer)
  })

  it('that has lost what was read is not believed: the leader goes on, nothing is reset or repeated', async () => {
    const { sim, consumer, values, resets, askedWithin } = setUp()
    sim.append('t', 0, numbers(10))
    await sim.advance(3_000)
    sim.lagReplica('t', 0, 2, 4)
    sim.append('t', 0, numbers(10, 10))
    expect(await askedWithin(3_000)).toContain(1)
    expect([values, resets]).toEqual([numbers(20), []])
    sim.lagReplica('t', 0, 2, undefined)
    sim.append('t', 0, numbers(5, 20))
    await sim.advance(3_000)
    expect(await askedWithin(3_000)).toEqual([2])
    expect([values, resets]).toEqual([numbers(25), []])
    await end(sim, consumer)
  })

  it('that refuses what the leader has sent it for makes no loop', async () => {
    const { sim, consumer, values, resets } = setUp()
    sim.append('t', 0, ['a'])
    await sim.advance(3_000)
    const since = sim.clock.now()
    sim.script.on('Fetch', 1, { do: 'error', code: 1 }, { broker: 2, times: 1_000_000 })
    await sim.advance(20_000)
    expect(sim.count('Fetch', since) / 20).toBeLessThan(10)
    sim.script.clear()
    sim.append('t', 0, ['b'])
    await sim.advance(3_000)
    expect([values, resets]).toEqual([['a', 'b'], []])
    await end(sim, consumer)
  })
})

import { describe, expect, it } from 'vitest'
import { numbers } from '../kafka/consumer/sim-consumer.ts'
import { RetryWorld } from './retry-world.ts'

const SEEDS = 8
const MESSAGES = 300
const MAX_DELAY_MS = 60_000
const ATTEMPTS = 4
/** Commits are 50 ms apart, and take some time. */
const UNCERTAIN_MS = 500

/**
 * Owners come, close, die and freeze while most handlers fail: whatever is killed between writing copies, committing, and learning of it,
 * each message is handled until it succeeds, and its attempts never fall.
 */
describe('retries, while owners come and go', () => {
  it.each(Array.from({ length: SEEDS }, (_, seed) => seed + 1))('lose nothing and count on (seed %i)', async (seed) => {
    const world = new RetryWorld({ seed, partitions: 2 })
    const random = (): number => world.sim.random.next()
    const done = new Map<string, number>()
    world.handler = (value, attempt) => {
      if (attempt < ATTEMPTS && random() < 0.6) return { type: 'nack', delayMs: Math.ceil(random() * MAX_DELAY_MS) }
      done.set(value, (done.get(value) ?? 0) + 1)
      return { type: 'ack' }
    }
    const values = numbers(2 * MESSAGES)
    let faults = 0
    const doubts: { by: string; from: number; to: number }[] = []
    let names = 0
    const start = () => world.start(`p${names++}`)
    await start()
    for (const partition of [0, 1]) {
      const some = values.slice(partition * MESSAGES, (partition + 1) * MESSAGES)
      const deliverAt = random() < 0.5 ? world.now + 20_000 : undefined
      await world.publish(some, { partition, ...(deliverAt === undefined ? {} : { deliverAt }) })
    }
    for (let round = 0; round < 8; round++) {
      await world.sim.advance(random() * 15_000)
      const alive = world.processes.filter((each) => !each.isFrozen && !each.isClosed)
      const one = alive[Math.floor(random() * alive.length)]
      const dice = random()
      if (one === undefined || dice < 0.25) await start()
      else if (dice < 0.75) {
        faults++
        one.freeze()
        const doubt = { by: one.name, from: world.now - UNCERTAIN_MS, to: world.now }
        doubts.push(doubt)
        if (dice < 0.5) continue
        await world.sim.advance(random() * 25_000)
        one.thaw()
        doubt.to = world.now + UNCERTAIN_MS
      } else if (alive.length > 1) await world.sim.run(one.close())
      else await start()
    }
    if (world.processes.every((each) => each.isFrozen || each.isClosed)) await start()
    await world.until(() => done.size === values.length)
    await world.sim.advance(5 * MAX_DELAY_MS)
    const repeated = [...done.values()].filter((times) => times > 1).length
    // What had ended, and was not committed yet.
    const uncertain = world.handled.filter(({ by, at }) =>
      doubts.some((doubt) => doubt.by === by && at >= doubt.from && at <= doubt.to),
    )
    expect(repeated).toBeLessThanOrEqual(uncertain.length)
    for (const value of values) {
      const attempts = world.handled.filter((each) => each.value === value).map(({ attempt }) => attempt)
      // A message that was being handled when its owner died, or froze, may be handled by two at once.
      if (faults === 0) expect(attempts).toEqual(attempts.toSorted((a, b) => a - b))
      expect(Math.max(...attempts)).toBeLessThanOrEqual(ATTEMPTS + 2 * faults)
    }
    // Nothing is left, and nothing is known to be left.
    for (const partition of [0, 1]) expect(world.unfinished('t', partition)).toBe(0)
    if (world.hasRetryTopic) for (const log of [0, 1, 2, 3]) expect(world.unfinished('t.g.retry', log)).toBe(0)
  })
})

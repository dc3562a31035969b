import { describe, expect, it } from 'vitest'
import { KafkaError } from '../../../src/kafka/index.ts'
import { numbers } from '../kafka/consumer/sim-consumer.ts'
import { RetryWorld } from './retry-world.ts'
import type { Handler } from './retry-world.ts'

const MINUTE = 60_000
/** Room for those that a member reads at once. */
const SLACK_MS = 3_000

/** The first attempts fail, and the next ones are a minute later. */
function failing(attempts: number): Handler {
  return (_value, attempt) => (attempt <= attempts ? { type: 'nack', delayMs: MINUTE } : { type: 'ack' })
}

describe('retries with long delays', () => {
  it('leave the commit record, and are handled once their time has come', async () => {
    const world = new RetryWorld()
    world.handler = (value, attempt) =>
      Number(value) < 2_000 && attempt === 1 ? { type: 'nack', delayMs: MINUTE } : { type: 'ack' }
    await world.publish(numbers(2_000))
    const process = await world.start('a')
    await world.until(() => world.handled.length === 2_000, 30_000)
    await world.publish(numbers(500, 10_000))
    // Others are not held up by those that wait.
    await world.until(() => world.handled.length === 2_500, 10_000)
    const begunAt = world.now
    expect(world.hasRetryTopic).toBe(true)
    expect(world.metadata().length).toBeLessThan(1_500)
    await world.until(() => world.handled.length === 4_500, 2 * MINUTE)
    const again = world.handled.filter(({ attempt }) => attempt === 2)
    expect(new Set(again.map(({ value }) => value)).size).toBe(2_000)
    expect(world.now - begunAt).toBeLessThan(MINUTE + SLACK_MS)
    expect(process.warnings()).toEqual([])
    expect(process.errors()).toEqual([])
    await world.sim.run(process.close())
    expect(world.committed()).toBe(2_500)
  })

  it('stay in the record while they are few: no topic is made', async () => {
    const world = new RetryWorld()
    world.handler = failing(1)
    await world.publish(numbers(90))
    const process = await world.start('a')
    await world.until(() => world.handled.length === 180)
    expect(world.hasRetryTopic).toBe(false)
    await world.sim.run(process.close())
  })

  it('stay in the record by default where a topic has one replica, with no error', async () => {
    const world = new RetryWorld()
    world.retryTopics = undefined
    world.handler = failing(1)
    await world.publish(numbers(250))
    const process = await world.start('a')
    await world.until(() => world.handled.length === 500, 2 * MINUTE)
    expect(world.hasRetryTopic).toBe(false)
    expect(process.errors()).toEqual([])
    await world.sim.run(process.close())
    expect(world.committed()).toBe(250)
  })

  it('keep their attempts and positions when they fail again and again', async () => {
    const world = new RetryWorld()
    world.handler = (_value, attempt) => (attempt <= 4 ? { type: 'nack', delayMs: MINUTE } : { type: 'ack' })
    await world.publish(numbers(400))
    const process = await world.start('a')
    await world.until(() => world.handled.length === 2_000)
    for (const value of numbers(400)) {
      const story = world.handled.filter((each) => each.value === value)
      expect(story.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5])
      expect(new Set(story.map(({ position }) => JSON.stringify(position))).size).toBe(1)
      for (const [at, { at: time }] of story.entries())
        if (at > 0) expect(time - (story[at - 1]?.at ?? 0)).toBeGreaterThanOrEqual(MINUTE)
    }
    expect(process.errors()).toEqual([])
    await world.sim.run(process.close())
  })

  it('are taken over from a member that died, with their attempts and times', async () => {
    const world = new RetryWorld()
    world.handler = failing(1)
    await world.publish(numbers(1_000))
    const first = await world.start('a')
    await world.until(() => world.handled.length === 1_000)
    await world.sim.advance(5_000)
    const diedAt = world.now
    first.freeze()
    const second = await world.start('b')
    await world.until(() => world.valuesOf('b').length >= 1_000)
    expect(world.now - diedAt).toBeLessThan(MINUTE)
    expect(new Set(world.valuesOf('b')).size).toBe(1_000)
    expect(world.handled.filter(({ by }) => by === 'b').every(({ attempt }) => attempt === 2)).toBe(true)
    expect(Math.min(...world.handled.filter(({ by }) => by === 'b').map(({ at }) => at - diedAt))).toBeGreaterThan(
      MINUTE - 20_000,
    )
    await world.sim.run(second.close())
  })

  it('go on with the member that the partition is handed over to', async () => {
    const world = new RetryWorld({ partitions: 2 })
    world.handler = failing(1)
    for (const partition of [0, 1]) await world.publish(numbers(500, 1_000 * partition), { partition })
    const first = await world.start('a')
    await world.until(() => world.handled.length === 1_000)
    const second = await world.start('b')
    await world.until(() => world.handled.length === 2_000)
    await world.sim.advance(2 * MINUTE)
    expect(world.handled.length).toBe(2_000)
    expect([...world.counts().values()].every((count) => count === 2)).toBe(true)
    expect(world.valuesOf('b').length).toBe(500)
    expect([first.errors(), second.errors()]).toEqual([[], []])
    await world.sim.run(Promise.all([first.close(), second.close()]))
  })

  it('T10: of a member that was frozen meanwhile are not stored', async () => {
    const world = new RetryWorld()
    world.handler = failing(1)
    await world.publish(numbers(300))
    const first = await world.start('a')
    // It is stopped when its copies are written, and the commit that belongs to them is not.
    world.sim.script.on('TxnOffsetCommit', 1, { do: 'run', run: () => first.freeze() })
    world.sim.script.on('TxnOffsetCommit', 1, { do: 'drop' })
    await world.until(() => first.isFrozen, 10_000)
    const second = await world.start('b')
    await world.until(() => world.valuesOf('b').length > 0)
    first.thaw()
    await world.sim.advance(5 * MINUTE)
    const retried = world.handled.filter(({ attempt }) => attempt > 1)
    // The new owner knows of all, and none is there twice.
    expect(new Set(retried.map(({ value }) => value)).size).toBe(300)
    expect(retried.length).toBe(300)
    await world.sim.run(Promise.all([first.close(), second.close()]))
  })

  it('are given up when the group is moved, and what it reads again moves there again', async () => {
    const world = new RetryWorld()
    world.handler = failing(1)
    await world.publish(numbers(400))
    const process = await world.start('a')
    await world.until(() => world.handled.length === 400)
    await world.sim.advance(2_000)
    expect(world.hasRetryTopic).toBe(true)
    await world.seek(0)
    await world.until(() => world.handled.length === 800)
    await world.until(() => world.handled.length === 1_200)
    await world.sim.advance(5 * MINUTE)
    expect(world.handled.length).toBe(1_200)
    expect(world.handled.filter(({ attempt }) => attempt === 2).length).toBe(400)
    expect(process.errors()).toEqual([])
    await world.sim.run(process.close())
  })

  it('stay in the record, with a warning that names the right, when the topic is refused', async () => {
    const world = new RetryWorld()
    world.handler = failing(1)
    world.refused = new KafkaError('not allowed', {
      code: 'TOPIC_AUTHORIZATION_FAILED',
      action: 'fatal',
      outcome: 'rejected',
      missingRight: 'Create on topic "t.g.retry"',
    })
    await world.publish(numbers(200))
    const process = await world.start('a')
    await world.until(() => world.handled.length === 400)
    expect(process.warnings()).toEqual(['retry-topic-refused'])
    expect(JSON.stringify(process.events)).toContain('An ACL must allow Create on topic')
    await world.sim.run(process.close())
  })

  it('are deleted from the retry topic once they are handled', async () => {
    const world = new RetryWorld()
    world.handler = failing(1)
    await world.publish(numbers(500))
    const process = await world.start('a')
    await world.until(() => world.handled.length === 1_000)
    const { log } = world.sim.partition('t.g.retry', 0)
    await world.until(() => log.startOffset > 0 && log.startOffset === world.committed('t.g.retry'), 2 * MINUTE)
    await world.sim.run(process.close())
  })
})

describe('delayed messages', () => {
  it('of which there are many come in time, while others of their partition go on', async () => {
    const world = new RetryWorld({ seed: 3 })
    const count = 4_000
    const begin = world.now
    const dueAt = new Map<string, number>()
    const random = () => world.sim.random.next()
    for (const value of numbers(count)) dueAt.set(value, Math.round(begin + 30_000 + random() * 90_000))
    const process = await world.start('a')
    await world.publishDelayed(dueAt)
    await world.publish(numbers(100, 100_000))
    await world.until(() => world.handled.length === 100, 25_000)
    await world.until(() => world.handled.length === count + 100, 3 * MINUTE)
    const late = world.handled
      .filter(({ value }) => dueAt.has(value))
      .map(({ value, at }) => at - (dueAt.get(value) ?? 0))
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0)
    expect(late.filter((ms) => ms > 200).length).toBeLessThan(count / 100)
    expect([...world.counts().values()].every((times) => times === 1)).toBe(true)
    expect([process.errors(), process.warnings()]).toEqual([[], []])
    await world.sim.run(process.close())
  })
})

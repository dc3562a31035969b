import assert from 'node:assert/strict'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { createBus } from 'busbar'
import { redis } from '../../src/transports/redis/index.ts'
import { childConsumer, ledger, seededRandom, uniqueName, waitUntil } from 'busbar/testing'
import type { Child, ChildRecord } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'
import { pause, QUICK } from './redis-flow.ts'

const SOAK = process.env['BUSBAR_SOAK'] === '1'
const COUNT = SOAK ? 100_000 : 4_000
const KILLS = SOAK ? 20 : 4
const KEYS = 50
const FROZEN_COUNT = 3_000
const OPTIONS = { concurrency: 8, prefetch: 64 }

describe('Redis: consumer processes that die or freeze', () => {
  let broker: RedisBroker
  beforeAll(async () => {
    broker = await startPrivate('redis')
  })
  afterAll(() => broker.stop())

  const consumer = (topic: string, group: string, handler: { workMs?: number } = {}): Promise<Child> =>
    childConsumer({
      module: new URL('./redis-child.ts', import.meta.url),
      env: { BUSBAR_TEST_REDIS: broker.url },
      topic,
      options: { ...OPTIONS, group },
      handler,
    })

  async function publishAll(topic: string, count: number, book: ReturnType<typeof ledger>) {
    const bus = createBus({ service: 'publisher', transport: redis({ ...QUICK, url: broker.url }) })
    await bus.start()
    for (let from = 0; from < count; from += 1_000) {
      const items = Array.from({ length: Math.min(1_000, count - from) }, (_, at) => ({
        data: from + at,
        id: `${topic}-${from + at}`,
        key: `k${(from + at) % KEYS}`,
      }))
      for (const { id, error } of await bus.publishMany(topic, items)) {
        assert.equal(error, undefined)
        book.published(id, 'confirmed', `k${Number(id.slice(topic.length + 1)) % KEYS}`)
      }
    }
    return bus
  }

  /** Handlings of all children, in the order of their clocks. */
  function inOrder(children: readonly Child[], type: ChildRecord['type']): string[] {
    return children
      .flatMap((child) => child.records().filter((record) => record.type === type))
      .sort((a, b) => a.at - b.at)
      .map(({ id }) => id)
  }

  test(
    `SIGKILL at ${KILLS} random instants while ${COUNT} messages flow`,
    { timeout: SOAK ? 600_000 : 60_000 },
    async () => {
      const [topic, group, book, random] = [
        `${uniqueName('kill')}.topic`,
        uniqueName('group'),
        ledger(),
        seededRandom('kill'),
      ]
      const bus = await publishAll(topic, COUNT, book)
      const all: Child[] = []
      const alive: Child[] = []
      const join = async (): Promise<void> => {
        const child = await consumer(topic, group)
        all.push(child)
        alive.push(child)
      }
      await join()
      await join()
      const done = (): number => new Set(all.flatMap((child) => child.ids('done'))).size
      for (let kill = 0; kill < KILLS; kill++) {
        const enough = Math.min(COUNT - 1, done() + 100)
        await waitUntil(() => done() >= enough, { timeoutMs: 20_000, describe: () => `${done()} of ${enough}` })
        await alive.shift()?.killAtRandom(random, 100)
        await join()
      }
      await waitUntil(() => done() >= COUNT, {
        timeoutMs: SOAK ? 300_000 : 20_000,
        describe: () => `${done()} of ${COUNT} handled`,
      })
      await waitUntil(async () => (await bus.admin().groups(topic))[0]?.lag === 0, { timeoutMs: 10_000 })
      for (const id of inOrder(all, 'done')) book.handled(id)
      const { duplicates } = book.check({ duplicates: 'any' })
      const explained = KILLS * OPTIONS.prefetch
      console.log(
        `SIGKILL: ${COUNT} confirmed, missing 0, repeated ${duplicates.length} (${KILLS} kills), out of order 0`,
      )
      assert.ok(duplicates.length <= explained, `${duplicates.length} repeated, ${explained} can be explained`)
      await Promise.all(all.map((child) => child[Symbol.asyncDispose]()))
      await bus.close()
    },
  )

  test(
    'a member frozen for longer than its lease wakes up: no key out of order, nothing of its successor acked',
    { timeout: 60_000 },
    async () => {
      const [topic, group, book] = [`${uniqueName('freeze')}.topic`, uniqueName('group'), ledger()]
      const frozen = await consumer(topic, group, { workMs: 15 })
      const bus = await publishAll(topic, FROZEN_COUNT, book)
      await frozen.waitFor('done', 30)
      const successor = await consumer(topic, group, { workMs: 15 })
      const all = [frozen, successor]
      await successor.waitFor('done', 10)
      for (let round = 0; round < 2; round++) {
        frozen.freeze()
        await pause(2_500)
        frozen.thaw()
        await pause(300)
      }
      const done = (): number => new Set(all.flatMap((child) => child.ids('done'))).size
      await waitUntil(() => done() >= FROZEN_COUNT, {
        timeoutMs: 20_000,
        describe: () => `${done()} of ${FROZEN_COUNT} handled`,
      })
      await waitUntil(async () => (await bus.admin().groups(topic))[0]?.lag === 0, { timeoutMs: 10_000 })
      for (const id of inOrder(all, 'done')) book.handled(id)
      const { duplicates } = book.check({ duplicates: 'any' })
      assert.ok(duplicates.length <= 2 * OPTIONS.prefetch, `${duplicates.length} repeated`)
      const acked = all.flatMap((child) => child.ids('acked'))
      assert.equal(new Set(acked).size, acked.length, 'each message is acked once')
      await Promise.all(all.map((child) => child[Symbol.asyncDispose]()))
      await bus.close()
    },
  )
})

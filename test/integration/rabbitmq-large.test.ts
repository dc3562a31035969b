import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import amqp from 'amqplib'
import { describe, test } from 'vitest'
import { uniqueName, waitUntil } from 'busbar/testing'
import { rabbitMqSuite, record } from './rabbitmq-harness.ts'

const MIB = 1_048_576
const PARTITIONS = 8
const PREFETCH_BYTES = 16 * MIB
/** So many of a partition are sent ahead with a prefetch of 100. */
const AHEAD = 14
const EACH = AHEAD + 1

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Size of all buffers of this process that are in use. */
function bufferedBytes(): number {
  collectGarbage()
  return process.memoryUsage().arrayBuffers
}

describe('RabbitMQ: messages that are large', () => {
  const suite = rabbitMqSuite('large')

  test('prefetchBytes bounds what all partitions of a consumer keep in memory', { timeout: 120_000 }, async () => {
    const sockets: Socket[] = []
    const on = suite.bus({
      partitions: PARTITIONS,
      connect: async () => {
        const connected = await amqp.connect(suite.broker.url)
        sockets.push((connected.connection as unknown as { stream: Socket }).stream)
        return connected
      },
    })
    const [topic, gate] = [uniqueName('large'), Promise.withResolvers<void>()]
    const warnings = record(on, 'warning')
    const handled = new Map<string, number[]>()
    const attempts = new Set<number>()
    const consumer = on.consume(
      topic,
      async ({ key = '', body }, { attempt }) => {
        await gate.promise
        attempts.add(attempt)
        assert.equal(body?.byteLength, MIB)
        handled.set(key, [...(handled.get(key) ?? []), body[0] as number])
      },
      { concurrency: 4, prefetch: 100, prefetchBytes: PREFETCH_BYTES },
    )
    await on.start()
    consumer.pause()
    const queues = Array.from({ length: PARTITIONS }, (_, at) => `busbar:${topic}:large${at === 0 ? '' : `:${at}`}`)
    const ready = async (): Promise<number[]> =>
      Promise.all(queues.map(async (queue) => (await suite.channel.checkQueue(queue)).messageCount))
    // A key for each partition: the first of many that leads to it.
    const keys = new Map<number, string>()
    for (let candidate = 0; keys.size < PARTITIONS; candidate++) {
      const key = `k${candidate}`
      await on.publish(topic, new Uint8Array([1]), { key })
      const at = (await ready()).findIndex((count) => count > 0)
      if (!keys.has(at)) keys.set(at, key)
      for (const queue of queues) await suite.channel.purgeQueue(queue)
    }
    for (let number = 0; number < EACH; number++)
      for (const key of keys.values()) await on.publish(topic, new Uint8Array(MIB).fill(number), { key })
    const before = bufferedBytes()
    consumer.resume()
    await waitUntil(async () => (await ready()).every((count) => count === EACH - AHEAD), { timeoutMs: 30_000 })
    await waitUntil(() => warnings.some(({ code }) => code === 'large-messages'), { timeoutMs: 10_000 })
    // All that was sent ahead is here, and not only on its way.
    const received = (): number => sockets.reduce((sum, { bytesRead }) => sum + bytesRead, 0) / MIB
    await waitUntil(() => received() > PARTITIONS * AHEAD, { timeoutMs: 30_000, describe: () => `${received()} MiB` })
    // What has come is on its way to the disk for a moment. No handler has ended, so without the bound all of it would stay.
    const kept = (): number => bufferedBytes() - before
    await waitUntil(() => kept() < PREFETCH_BYTES + PARTITIONS * MIB, {
      timeoutMs: 10_000,
      describe: () => `${Math.round(kept() / MIB)} MiB are kept`,
    })
    assert.equal(handled.size, 0)
    gate.resolve()
    const done = (): number => [...handled.values()].reduce((sum, numbers) => sum + numbers.length, 0)
    await waitUntil(() => done() === PARTITIONS * EACH, { timeoutMs: 60_000, describe: () => `${done()} handled` })
    for (const key of keys.values())
      assert.deepEqual(
        handled.get(key),
        Array.from({ length: EACH }, (_, number) => number),
      )
    assert.deepEqual([...attempts], [1])
  })
})

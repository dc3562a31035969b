import assert from 'node:assert/strict'
import amqp from 'amqplib'
import { describe, test, vi } from 'vitest'
import type { Bus } from 'busbar'
import type { RabbitMqOptions } from 'busbar/rabbitmq'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { QueueConsumer } from '../../src/transports/rabbitmq/consume/queue-consumer.ts'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RabbitMqBroker } from '../../tools/brokers/index.ts'
import { rabbitMqSuite } from './rabbitmq-harness.ts'

const TIMEOUT_MS = 4_000

// At once: they wait for the broker, and each has its own topic.
describe.concurrent('RabbitMQ: messages that stay unacked for longer than the broker allows', () => {
  const start = async (): Promise<RabbitMqBroker> => {
    const broker = await startPrivate('rabbitmq')
    // It looks once a minute otherwise.
    await broker.ctl(
      'eval',
      `application:set_env(rabbit, consumer_timeout, ${TIMEOUT_MS}), application:set_env(rabbit, channel_tick_interval, 500).`,
    )
    return broker
  }
  const suite = rabbitMqSuite('unacked', { start, concurrent: true })

  function bus(options: RabbitMqOptions = {}): { on: Bus; warnings: string[] } {
    const on = suite.bus({ partitions: 1, ...options })
    const warnings: string[] = []
    on.events.on('warning', ({ code }) => warnings.push(code))
    return { on, warnings }
  }

  for (const [title, consumerTimeoutMs] of [
    ['handed back before the broker acts, when the limit is known', TIMEOUT_MS],
    ['kept although the broker ends the channel, when the limit is not known', 1_800_000],
  ] as const)
    test(`the delay of a keyed retry is ${title}; it is counted, and its key waits`, { timeout: 60_000 }, async () => {
      const topic = uniqueName('long')
      const { on, warnings } = bus({ consumerTimeoutMs })
      const calls: { readonly data: unknown; readonly attempt: number; readonly at: number }[] = []
      const delayMs = 2.5 * TIMEOUT_MS
      on.consume(topic, ({ data }, ctx) => {
        calls.push({ data, attempt: ctx.attempt, at: performance.now() })
        if (data === 1 && ctx.attempt === 1) ctx.retry({ delayMs })
      })
      await on.start()
      for (const data of [1, 2]) await on.publish(topic, data, { key: 'k' })
      await waitUntil(() => calls.length >= 3, { timeoutMs: 30_000, describe: () => JSON.stringify(calls) })
      assert.deepEqual(
        calls.map(({ data, attempt }) => [data, attempt]),
        [
          [1, 1],
          [1, 2],
          [2, 1],
        ],
      )
      const waited = (calls[1]?.at ?? 0) - (calls[0]?.at ?? 0)
      assert.ok(waited >= delayMs - 50, `it was tried again after ${Math.round(waited)} ms`)
      assert.equal(warnings.includes('consumer-lost'), consumerTimeoutMs !== TIMEOUT_MS, warnings.join())
    })

  test('a queue is handed back once at a time, however much is settled meanwhile', { timeout: 60_000 }, async () => {
    // Each note takes its time: they are on the connection for publishing.
    await using proxy = await tcpProxy({ port: suite.broker.port })
    proxy.slow({ delayMs: 100 }, 'up')
    const { on } = bus({
      partitions: 2,
      consumerTimeoutMs: TIMEOUT_MS,
      connect: (purpose) =>
        amqp.connect(purpose === 'publish' ? `amqp://${proxy.host}:${proxy.port}` : suite.broker.url),
    })
    using turned = vi.spyOn(QueueConsumer.prototype, 'turnOver')
    const topic = uniqueName('turns')
    const queues = new Map<unknown, string>()
    let attempts = 0
    on.consume(topic, ({ key, data }, ctx) => {
      if (data === 'look') queues.set(ctx.position['queue'], key as string)
      if (data !== 'wait') return
      attempts = ctx.attempt
      if (ctx.attempt === 1) ctx.retry({ delayMs: 2 * TIMEOUT_MS })
    })
    await on.start()
    await Promise.all(Array.from({ length: 10 }, (_, at) => on.publish(topic, 'look', { key: `k${at}` })))
    await waitUntil(() => queues.size === 2)
    const [slow, busy] = [...queues.values()] as [string, string]
    await on.publish(topic, 'wait', { key: slow })
    const isOver = (): boolean => attempts === 2
    while (!isOver()) await Promise.all(Array.from({ length: 50 }, () => on.publish(topic, 'go', { key: busy })))
    // It waits for 2 * TIMEOUT_MS, and is given back at half of TIMEOUT_MS.
    const times = turned.mock.contexts.filter((reader) => (reader as QueueConsumer).queue.includes(topic)).length
    assert.ok(times >= 1 && times <= 3, `it was handed back ${times} times`)
    await on.close({ timeoutMs: 500 })
  })

  for (const order of ['none', 'key'] as const)
    test(
      `a backlog that waits for a slow handler is sent ahead in smaller portions, and handled once (order: ${order})`,
      { timeout: 60_000 },
      async () => {
        const topic = uniqueName('slow')
        const { on, warnings } = bus({ consumerTimeoutMs: TIMEOUT_MS })
        const calls: unknown[] = []
        on.consume(
          topic,
          async ({ data }) => {
            calls.push(data)
            await new Promise((resolve) => setTimeout(resolve, 150))
          },
          { concurrency: 1, order, prefetch: 60 },
        )
        await on.start()
        // At once: all of it is here before it is noticed that the handler is slow.
        await Promise.all(Array.from({ length: 60 }, (_, number) => on.publish(topic, number, { key: 'k' })))
        await waitUntil(() => new Set(calls).size === 60, {
          timeoutMs: 40_000,
          describe: () => `${calls.length} calls`,
        })
        assert.deepEqual(new Set(warnings), new Set(['slow-consumer']))
        assert.equal(calls.length, 60, `${calls.length - 60} were handled twice; ${warnings.join()}`)
        if (order === 'key') assert.deepEqual(calls, [...calls.keys()])
      },
    )
})

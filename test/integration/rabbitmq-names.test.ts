import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { MAX_TOPIC_LENGTH } from '../../src/core/topic.ts'
import { uniqueName, waitUntil } from 'busbar/testing'
import { borrow } from '../../tools/brokers/index.ts'
import { rabbitMqSuite, record } from './rabbitmq-harness.ts'

/** AMQP limits names to 255 bytes; a group may have 64. */
const service = 's'.repeat(64)
const exchange = 'e'.repeat(60)
const longest = (): string => `${uniqueName('t')}.`.padEnd(MAX_TOPIC_LENGTH, 't')

describe('RabbitMQ: the longest names', () => {
  const suite = rabbitMqSuite(service, { start: () => borrow('rabbitmq') })

  for (const [title, options] of [
    ['a group with order by key', {}],
    ['a group without order', { order: 'none' }],
    ['a broadcast', { broadcast: true }],
    ['a group of a pattern', { isPattern: true }],
  ] as const)
    test(`${title}: consumed, retried, dead-lettered and redriven`, { timeout: 30_000 }, async () => {
      const { isPattern, ...rest } = { isPattern: false, ...options }
      const topic = longest()
      const on = suite.bus({ exchange })
      const errors = record(on, 'error')
      let isReady = false
      const attempts: number[] = []
      on.consume(
        isPattern ? `${topic.slice(0, topic.indexOf('.'))}.>` : topic,
        (_, ctx) => {
          attempts.push(ctx.attempt)
          if (ctx.attempt === 1) ctx.retry({ delayMs: 20 })
          if (!isReady) ctx.reject('not yet')
        },
        rest,
      )
      await on.start()
      await on.publish(topic, 1, { key: 'k' })
      const letters = on.deadLetters(topic)
      if (!('broadcast' in rest)) {
        await waitUntil(async () => (await letters.list()).length === 1, { timeoutMs: 10_000 })
        isReady = true
        assert.equal((await letters.redrive()).redriven, 1)
      }
      await waitUntil(() => attempts.length >= ('broadcast' in rest ? 2 : 4), {
        timeoutMs: 10_000,
        describe: () => attempts,
      })
      assert.deepEqual(errors, [])
    })
})

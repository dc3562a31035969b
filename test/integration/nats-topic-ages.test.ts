import assert from 'node:assert/strict'
import { afterAll, beforeAll, describe, test } from 'vitest'
import { ConfigurationError, PublishError } from 'busbar'
import { waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { makeBus, plainClient, streamName } from './nats-harness.ts'

let server: NatsBroker
beforeAll(async () => {
  server = await startPrivate('nats')
})
afterAll(() => server.stop())

const topics = { 'sessions.>': { maxAgeMs: 1_000 }, audit: { maxAgeMs: false } } as const

describe('topics with an age of their own', () => {
  test('expire before the others, or never', async () => {
    const name = streamName()
    const bus = makeBus({ url: server.url, stream: { name }, retention: { maxAgeMs: 60_000, topics } })
    const headers: string[] = []
    let handled = 0
    bus.consume('sessions.>', (message) => {
      handled++
      headers.push(...Object.keys(message.headers))
    })
    await bus.start()
    await bus.publishMany('sessions.opened', [{ data: 1 }, { data: 2, key: 'k' }])
    await bus.publish('orders.placed', 3)
    await bus.publish('audit', 4)
    await waitUntil(() => handled === 2)
    assert.deepEqual(headers, [], 'the age is not a header of the message')
    let left: unknown[] = []
    await waitUntil(
      async () => {
        left = (await bus.admin().topics()).map(({ topic, messages }) => `${topic} ${messages}`).toSorted()
        return left.join() === 'audit 1,orders.placed 1'
      },
      { timeoutMs: 10_000, describe: () => left.join() },
    )
    // With a stream's age of a minute, that is how the other one is kept.
    const { api } = await plainClient(server)
    const { message } = (await api(`STREAM.MSG.GET.${name}`, { seq: 4 })) as { message: { hdrs: string } }
    assert.match(Buffer.from(message.hdrs, 'base64').toString(), /\r\nNats-TTL: never\r\n/)
  })

  test('take no message that is to be delivered after it has expired', async () => {
    const bus = makeBus({ url: server.url, stream: { name: streamName() }, retention: { topics } })
    await bus.start()
    await assert.rejects(bus.publish('sessions.opened', 1, { delayMs: 2_000 }), (error: unknown) =>
      PublishError.is(error),
    )
    await bus.publish('orders.placed', 1, { delayMs: 2_000 })
  })

  test('need a stream that allows them', async () => {
    const name = streamName()
    await makeBus({ url: server.url, stream: { name } }).start()
    const refused = (error: unknown): boolean =>
      ConfigurationError.is(error) && error.problems.map(({ path }) => path).join() === 'allow_msg_ttl'
    await assert.rejects(makeBus({ url: server.url, stream: { name }, retention: { topics } }).start(), refused)
    const { api } = await plainClient(server)
    const { config } = (await api(`STREAM.INFO.${name}`)) as { config: object }
    await api(`STREAM.UPDATE.${name}`, { ...config, allow_msg_ttl: true })
    await makeBus({ url: server.url, stream: { name }, retention: { topics } }).start()
  })

  test('can not be kept for longer than their stream', () => {
    assert.throws(
      () => nats({ retention: { maxAgeMs: 60_000, topics: { a: { maxAgeMs: 61_000 }, 'b.>': { maxAgeMs: 500 } } } }),
      (error: unknown) => {
        assert.ok(ConfigurationError.is(error))
        assert.deepEqual(error.problems.map(({ path }) => path).toSorted(), [
          'retention.topics.a.maxAgeMs',
          'retention.topics.b.>.maxAgeMs',
        ])
        return true
      },
    )
  })
  test('are not for dead letters, whose stream takes none', () => {
    assert.throws(
      () => nats({ retention: { topics: { '*.*.dlq': { maxAgeMs: 60_000 } } } }),
      (error: unknown) =>
        ConfigurationError.is(error) && error.problems.map(({ path }) => path).join() === 'retention.topics.*.*.dlq',
    )
  })
})

import assert from 'node:assert/strict'
import type { GetMessage } from 'amqplib'
import { describe, test } from 'vitest'
import { uniqueName, waitUntil } from 'busbar/testing'
import { rabbitMqSuite } from './rabbitmq-harness.ts'

describe('RabbitMQ: messages of others, and what the broker does with messages', () => {
  const suite = rabbitMqSuite('others')
  const { bus } = suite

  const full = {
    contentType: 'application/json',
    messageId: 'm1',
    priority: 7,
    replyTo: 'answers',
    correlationId: 'c1',
    type: 'order.v1',
    appId: 'legacy',
    userId: 'guest',
    contentEncoding: 'identity',
    headers: { n: 5, list: [1, 'two'], when: { '!': 'timestamp', value: 1_700_000_000 }, on: true, text: 'x' },
  }
  async function stored(queue: string): Promise<GetMessage> {
    return waitUntil(
      async () => {
        // It exists once the first dead letter is stored.
        const apart = await suite.connection.createChannel()
        apart.on('error', () => {})
        const message = await apart.get(queue, { noAck: true }).catch(() => false as const)
        if (message === false) return undefined
        await apart.close()
        return message
      },
      { timeoutMs: 10_000, describe: queue },
    )
  }
  function assertKept({ properties }: GetMessage): void {
    const { priority, replyTo, correlationId, type, appId, contentEncoding, headers } = properties
    assert.deepEqual(
      { priority, replyTo, correlationId, type, appId, contentEncoding },
      {
        priority: 7,
        replyTo: 'answers',
        correlationId: 'c1',
        type: 'order.v1',
        appId: 'legacy',
        contentEncoding: 'identity',
      },
    )
    const { n, list, when, on, text, 'amqp-userId': userId } = headers ?? {}
    assert.deepEqual(
      { n, list, when, on, text, userId },
      {
        n: 5,
        list: [1, 'two'],
        when: { '!': 'timestamp', value: 1_700_000_000 },
        on: true,
        text: 'x',
        userId: 'guest',
      },
    )
  }

  test('AMQP properties and the types of headers outlive a dead letter', async () => {
    const topic = uniqueName('props')
    const on = bus()
    on.consume(topic, (_, ctx) => ctx.reject('no'))
    await on.start()
    suite.channel.publish('busbar', topic, Buffer.from('{}'), full)
    assertKept(await stored(`busbar:${topic}.others.dlq`))
  })

  test('they outlive a delayed retry and a redrive, as a plain consumer of the queue sees', async () => {
    const topic = uniqueName('props')
    const queue = uniqueName('legacy')
    await suite.channel.assertQueue(queue, { durable: true })
    const on = bus()
    let attempts = 0
    const handle = on.consume(
      topic,
      (_, ctx) => {
        attempts++
        if (ctx.attempt < 2) ctx.retry({ delayMs: 30 })
        ctx.reject('no')
      },
      { order: 'none', native: { queue } },
    )
    await on.start()
    suite.channel.sendToQueue(queue, Buffer.from('{}'), full)
    const letters = on.deadLetters(topic)
    await waitUntil(async () => (await letters.list()).length === 1, { timeoutMs: 10_000 })
    assert.equal(attempts, 2)
    await handle.close()
    await letters.redrive()
    assertKept(await stored(queue))
  })

  test('headers of properties() have their types on the wire, and outlive a dead letter', async () => {
    const topic = uniqueName('typed')
    const { headers } = full
    const on = bus({ properties: () => ({ headers, priority: 3 }) })
    const seen: unknown[] = []
    on.consume(topic, (message, ctx) => {
      seen.push(message.headers['n'], message.headers['own'])
      ctx.reject('no')
    })
    await on.start()
    await on.publish(topic, 1, { headers: { own: 'kept' } })
    const { properties } = await stored(`busbar:${topic}.others.dlq`)
    const { n, list, when, on: flag, text, own } = properties.headers ?? {}
    assert.deepEqual({ n, list, when, on: flag, text, own }, { ...headers, own: 'kept' })
    assert.deepEqual(seen, ['5', 'kept'])
  })

  test('a type of others becomes the type of the message; one of ours stays', async () => {
    const topic = uniqueName('type')
    const on = bus()
    const seen: (string | undefined)[] = []
    on.consume(topic, ({ type }) => void seen.push(type))
    await on.start()
    suite.channel.publish('busbar', topic, Buffer.from('{}'), { contentType: 'application/json', type: 'order.v1' })
    await waitUntil(() => seen.length === 1, { timeoutMs: 5_000 })
    assert.deepEqual(seen, ['order.v1'])
  })

  test('CloudEvents: attributes with the prefix cloudEvents_, and events as one JSON document, are read', async () => {
    const topic = uniqueName('events')
    const on = bus()
    const seen: unknown[] = []
    on.consume(topic, ({ id, type, source, key, contentType, data }) => {
      seen.push({ id, type, source, key, contentType, data })
    })
    await on.start()
    suite.channel.publish('busbar', topic, Buffer.from('{"n":1}'), {
      contentType: 'application/json',
      headers: { cloudEvents_id: 'e1', cloudEvents_type: 't', cloudEvents_source: 's', cloudEvents_partitionkey: 'k' },
    })
    const event = { specversion: '1.0', id: 'e2', type: 't', source: 's', partitionkey: 'k' }
    const send = (more: object): boolean =>
      suite.channel.publish('busbar', topic, Buffer.from(JSON.stringify({ ...event, ...more })), {
        contentType: 'application/cloudevents+json; charset=utf-8',
      })
    send({ data: { n: 2 } })
    send({ id: 'e3', datacontenttype: 'text/plain', data: 'three' })
    send({ id: 'e4', datacontenttype: 'application/json', data_base64: Buffer.from('{"n":4}').toString('base64') })
    await waitUntil(() => seen.length === 4, { timeoutMs: 5_000, describe: () => JSON.stringify(seen) })
    const json = { type: 't', source: 's', key: 'k', contentType: 'application/json' }
    assert.deepEqual(seen, [
      { id: 'e1', ...json, data: { n: 1 } },
      { id: 'e2', ...json, data: { n: 2 } },
      { id: 'e3', ...json, contentType: 'text/plain', data: 'three' },
      { id: 'e4', ...json, data: { n: 4 } },
    ])
  })

  test('what the broker lets expire, or pushes out, is listed with its reason, and can be purged', async () => {
    const topic = uniqueName('expiry')
    const on = bus({ partitions: 1 })
    const handle = on.consume(topic, () => {}, { native: { arguments: { 'x-max-length': 2 } } })
    await on.start()
    handle.pause()
    const queue = `busbar:${topic}:others`
    await waitUntil(async () => (await suite.channel.checkQueue(queue)).consumerCount === 0, { timeoutMs: 5_000 })
    for (const [id, expiration] of [
      ['pushed-out', undefined],
      ['late', '50'],
      ['stays', undefined],
    ] as const)
      suite.channel.publish('busbar', topic, Buffer.from('{}'), { messageId: id, persistent: true, expiration })
    await suite.channel.waitForConfirms()
    const letters = on.deadLetters(topic)
    const found = await waitUntil(
      async () => {
        const all = await letters.list()
        return all.length === 2 ? all : undefined
      },
      { timeoutMs: 10_000 },
    )
    const reasons = new Map(found.map(({ message, reason, attempts }) => [message.id, [reason, attempts]]))
    assert.deepEqual(reasons.get('pushed-out'), ['rejected', 0])
    assert.deepEqual(reasons.get('late'), ['expired', 0])
    assert.equal(await letters.purge(), 2)
    assert.equal((await letters.list()).length, 0)
  })

  test('a message whose headers nearly fill a frame is dead-lettered without the largest of them', async () => {
    const topic = uniqueName('large')
    const on = bus({ url: `${suite.broker.url}?frame_max=8192`, partitions: 1 })
    on.consume(topic, (_, ctx) => ctx.reject('no'))
    await on.start()
    // The longest one that the broker takes.
    for (let length = 8_000; ; length -= 20) {
      const headers = { small: 's', large: 'x'.repeat(length) }
      const [result] = await on.publishMany(topic, [{ data: 1, headers }], { allowFailures: true })
      if (result?.error === undefined) break
      assert.ok(length > 6_000, result.error.message)
    }
    const { properties } = await stored(`busbar:${topic}.others.dlq`)
    const { small, large, 'busbar-dlq-cut': cut, 'busbar-dlq-reason': reason } = properties.headers ?? {}
    assert.deepEqual({ small, large, cut, reason }, { small: 's', large: undefined, cut: 'large', reason: 'rejected' })
  })

  test('a message without a body stays one: as a delayed copy, a dead letter, and redriven', async () => {
    const topic = uniqueName('null')
    const on = bus()
    const bodies: unknown[] = []
    on.consume(
      topic,
      (message, ctx) => {
        bodies.push(message.body)
        if (ctx.attempt === 1 && bodies.length === 1) ctx.retry({ delayMs: 20 })
        if (bodies.length === 2) ctx.reject('no')
      },
      { order: 'none', retry: { attempts: 3 } },
    )
    await on.start()
    await on.publish(topic, null)
    const letters = on.deadLetters(topic)
    await waitUntil(async () => (await letters.list()).length === 1, { timeoutMs: 10_000 })
    assert.equal((await letters.list())[0]?.message.body, null)
    await letters.redrive()
    await waitUntil(() => bodies.length === 3, { timeoutMs: 10_000 })
    assert.deepEqual(bodies, [null, null, null])
  })
})

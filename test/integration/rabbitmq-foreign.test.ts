import assert from 'node:assert/strict'
import type { Socket } from 'node:net'
import type { Options } from 'amqplib'
import { describe, test } from 'vitest'
import type { Bus, DeadLetter, Message } from 'busbar'
import { dedupe } from 'busbar/middleware'
import { memoryDedupeStore } from 'busbar/stores/memory'
import { seededRandom, uniqueName, waitUntil } from 'busbar/testing'
import { foreignMessage } from '../unit/rabbitmq/random-frames.ts'
import { borrow } from '../../tools/brokers/index.ts'
import { rabbitMqSuite, record } from './rabbitmq-harness.ts'

/** Headers that mean something to Busbar, or to the broker. */
const OF_BUSBAR = (
  'busbar busbar-copy busbar-dead busbar-queue busbar-topic busbar-attempts busbar-first-at ' +
  'busbar-null busbar-delay-3 busbar-redrives busbar-dlq-stack busbar-dlq-topic amqp-carried x-delay ' +
  'x-death x-delivery-count x-acquired-count traceparent __proto__ cloudEvents:partitionkey ' +
  'cloudEvents:dataversion cloudEvents_type'
).split(' ')

describe('RabbitMQ: messages of programs that know nothing of Busbar', () => {
  const suite = rabbitMqSuite('ours', { start: () => borrow('rabbitmq') })
  const makeBus = suite.bus

  async function send(topic: string, body: string | Buffer, properties: Options.Publish = {}): Promise<void> {
    suite.channel.publish('busbar', topic, Buffer.from(body), properties)
    await suite.channel.waitForConfirms()
  }

  /** What the group sees of a message, as its dead letter and after its redrive. */
  async function deadLetterAndRedrive(
    properties: Options.Publish,
    body: string | Buffer = '1',
  ): Promise<{
    readonly first: Message
    readonly letter: DeadLetter
    readonly again: Message
    readonly wire: Record<string, unknown>
  }> {
    const topic = uniqueName('foreign')
    const bus = makeBus()
    const seen: Message[] = []
    bus.consume(topic, (message, ctx) => {
      seen.push(message)
      if (seen.length === 1) ctx.reject('not yet')
    })
    await bus.start()
    const { queue } = await suite.channel.assertQueue('', { exclusive: true })
    // Copies for the group reach this queue too.
    await suite.channel.assertExchange('busbar.queues', 'direct', {
      durable: true,
      alternateExchange: 'busbar.unrouted',
    })
    for (const partition of ['', ':1', ':2', ':3'])
      await suite.channel.bindQueue(queue, 'busbar.queues', `busbar:${topic}:ours${partition}`)
    await send(topic, body, properties)
    const letters = bus.deadLetters(topic)
    const [letter] = await waitUntil(
      async () => {
        const found = await letters.list()
        return found.length === 1 ? found : undefined
      },
      { timeoutMs: 10_000, describe: 'the dead letter' },
    )
    assert.deepEqual(await letters.redrive(), { matched: 1, redriven: 1, failed: [] })
    const copy = await waitUntil(async () => (await suite.channel.get(queue, { noAck: true })) || undefined, {
      timeoutMs: 5_000,
      describe: 'the copy',
    })
    await waitUntil(() => seen.length === 2, { timeoutMs: 5_000, describe: 'the redriven message' })
    const [first, again] = seen
    assert.ok(first !== undefined && again !== undefined && letter !== undefined)
    return { first, letter, again, wire: copy.properties.headers as Record<string, unknown> }
  }

  test('identical messages without an id are different messages, before and after a restart', async () => {
    const topic = uniqueName('twins')
    const store = memoryDedupeStore()
    const handled: string[] = []
    const skipped: string[] = []
    const start = async (): Promise<Bus> => {
      const bus = makeBus()
      bus.consume(topic, ({ id }) => void handled.push(id), {
        middleware: [dedupe({ store, onDuplicate: ({ id }) => void skipped.push(id) })],
      })
      await bus.start()
      return bus
    }
    for (const count of [3, 6]) {
      const bus = await start()
      for (let twin = 0; twin < 3; twin++) await send(topic, '{"tick":true}')
      await waitUntil(() => handled.length + skipped.length === count, { timeoutMs: 5_000 })
      await bus.close()
    }
    assert.deepEqual(skipped, [])
    assert.equal(new Set(handled).size, 6, handled.join(' '))
  })

  test('a property that is not UTF-8 does not keep a message from its dead letter', async () => {
    const topic = uniqueName('binary')
    const on = makeBus()
    on.consume(topic, (_, ctx) => ctx.reject('no'))
    await on.start()
    // The client library writes only text.
    const placeholder = '~'.repeat(255)
    const { stream } = (suite.connection as unknown as { connection: { stream: Socket } }).connection
    const write: (bytes: Buffer) => boolean = stream.write.bind(stream)
    stream.write = (bytes: Buffer) => {
      const at = bytes.indexOf(placeholder)
      if (at >= 0) bytes.fill(0xff, at, at + placeholder.length)
      return write(bytes)
    }
    await send(topic, '1', { correlationId: placeholder, type: 'order.v1' })
    Reflect.deleteProperty(stream, 'write')
    const letters = on.deadLetters(topic)
    const [letter] = await waitUntil(
      async () => {
        const found = await letters.list()
        return found.length > 0 ? found : undefined
      },
      { timeoutMs: 10_000, describe: 'the dead letter' },
    )
    assert.match(letter?.message.correlationId ?? '', /^\ufffd{255}$/)
    assert.deepEqual(await letters.redrive({ dryRun: true }), { matched: 1, redriven: 0, failed: [] })
  })

  test('headers of bytes are bytes again after a redrive', async () => {
    const bytes = Buffer.from([1, 2, 255])
    const { wire } = await deadLetterAndRedrive({
      headers: { bytes, table: { inner: [bytes, 'text'] }, n: 5, constructor: 'c' },
    })
    const { bytes: found, table, n, constructor } = wire
    assert.deepEqual([found, table, n, constructor], [bytes, { inner: [bytes, 'text'] }, 5, 'c'])
  })

  test.each([
    '{"headers":5,"correlationId":{},"priority":"high"}',
    '{"headers":{"n":null},"type":7}',
    '{"replyTo":"x","priority":-1}',
    '[]',
    '5',
    'none',
  ])('a header with the name of one of ours does not keep a dead letter from its redrive: %s', async (carried) => {
    const { again } = await deadLetterAndRedrive({ headers: { 'amqp-carried': carried, mine: 'kept' } })
    assert.equal(again.headers['mine'], 'kept')
  })

  test('attributes may have the types of AMQP', async () => {
    const { first, letter, again } = await deadLetterAndRedrive({
      headers: {
        'cloudEvents:id': 5,
        'cloudEvents:partitionkey': 7,
        'cloudEvents:dataversion': 3,
        'cloudEvents:subject': true,
        'cloudEvents:time': { '!': 'timestamp', value: 1_700_000_000 },
      },
    })
    for (const { id, key, version, subject, time } of [first, again])
      assert.deepEqual([id, key, version, subject, time.getTime()], ['5', '7', 3, 'true', 1_700_000_000_000])
    assert.deepEqual([letter.message.id, letter.message.key], ['5', '7'])
  })

  test('a key goes to one queue if its bucket is in the routing key, else a warning says so', async () => {
    const topic = uniqueName('keys')
    const bus = makeBus()
    const queues = new Map<string, Set<unknown>>()
    const handled: string[] = []
    const warnings: string[] = []
    bus.events.on('warning', ({ code, detail }) => void warnings.push(`${code}: ${detail}`))
    bus.consume(topic, ({ key = '' }, { position }) => {
      handled.push(key)
      queues.set(key, (queues.get(key) ?? new Set()).add(position['queue']))
    })
    await bus.start()
    // Keys and buckets as rabbitmq.md gives them.
    const buckets = { a: '0.0', 'order-1': '2.2', 'customer-42': '2.6', žluť: '1.4' }
    for (const [key, bucket] of Object.entries(buckets)) {
      await bus.publish(topic, 1, { key })
      await send(`${topic}.~${bucket}`, '1', { headers: { 'cloudEvents:partitionkey': key } })
    }
    await waitUntil(() => handled.length === 8, { timeoutMs: 5_000 })
    for (const [key, of] of queues) assert.equal(of.size, 1, key)
    await send(topic, '1')
    // This one belongs into the first queue anyway.
    await send(topic, '1', { headers: { 'cloudEvents:partitionkey': 'a' } })
    await waitUntil(() => handled.length === 10, { timeoutMs: 5_000 })
    assert.deepEqual(warnings, [])
    for (let twice = 0; twice < 2; twice++)
      await send(topic, '1', { headers: { 'cloudEvents:partitionkey': 'order-1' } })
    await waitUntil(() => handled.length === 12, { timeoutMs: 5_000 })
    assert.equal(warnings.length, 1)
    assert.match(warnings[0] ?? '', new RegExp(`^key-without-bucket: .*"order-1".*"${topic}\\.~2\\.2"`))
  })

  test('a message in the dead-letter queue that is not a dead letter can be seen, and sent back', async () => {
    const topic = uniqueName('stray')
    const bus = makeBus()
    const handled: string[] = []
    bus.consume(topic, ({ body }) => void handled.push(Buffer.from(body ?? []).toString()))
    await bus.start()
    const queue = `busbar:${topic}.ours.dlq`
    await bus.admin().ensureTopic(`${topic}.ours.dlq`)
    for (const headers of [{}, { 'busbar-dlq-topic': 'other.topic', 'busbar-dlq-reason': 'rejected' }])
      suite.channel.sendToQueue(queue, Buffer.from('1'), { headers })
    await suite.channel.waitForConfirms()
    const letters = bus.deadLetters(topic)
    const found = await letters.list()
    assert.deepEqual(
      found.map(({ reason, message }) => [reason, message.topic]),
      [
        ['unknown', topic],
        ['rejected', topic],
      ],
    )
    assert.deepEqual(await letters.redrive(), { matched: 2, redriven: 2, failed: [] })
    await waitUntil(() => handled.length === 2, { timeoutMs: 5_000 })
  })

  test('any properties and headers, forged ones too: delayed, dead-lettered, redriven, each once', async () => {
    const random = seededRandom('foreign')
    const topic = uniqueName('any')
    const on = suite.bus()
    const errors = record(on, 'error')
    let isReady = false
    const redriven = new Map<string, number>()
    on.consume(
      topic,
      ({ headers }, ctx) => {
        if (!isReady && ctx.attempt === 1) ctx.retry({ delayMs: 30 })
        if (!isReady) ctx.reject('not yet')
        const number = headers['number'] as string
        redriven.set(number, (redriven.get(number) ?? 0) + 1)
      },
      { order: 'none', retry: { attempts: 3 }, concurrency: 20 },
    )
    await on.start()
    const count = 100
    for (let number = 0; number < count; number++) {
      const { properties } = foreignMessage(random)
      const headers: Record<string, unknown> = { ...properties.headers, number: `${number}` }
      for (const name of OF_BUSBAR)
        if (random.chance(0.1))
          headers[name] = random.pick<unknown>([true, 'text', -5, 2 ** 40, 0.5, null, { a: 1 }, [1]])
      const routingKey = random.pick([topic, `${topic}.~0.0`, `${topic}.~3.7`])
      suite.channel.publish('busbar', routingKey, Buffer.from(`${number}`), {
        ...(properties as Options.Publish),
        headers: { ...headers, CC: undefined, BCC: undefined },
        contentType: 'application/json',
        contentEncoding: undefined,
      })
    }
    await suite.channel.waitForConfirms()
    const letters = on.deadLetters(topic)
    await waitUntil(async () => (await letters.list()).length === count, {
      timeoutMs: 20_000,
      describe: async () => `${(await letters.list()).length} dead letters`,
    })
    isReady = true
    assert.equal((await letters.redrive()).redriven, count)
    await waitUntil(() => redriven.size === count, { timeoutMs: 10_000, describe: () => `${redriven.size} redriven` })
    assert.deepEqual(new Set(redriven.values()), new Set([1]))
    assert.deepEqual(errors, [])
  })
})

// Longer than most files: one broker serves the test of every feature.
import assert from 'node:assert/strict'
import type { ConsumeMessage, GetMessage } from 'amqplib'
import { describe, test } from 'vitest'
import { ConfigurationError, PublishError } from 'busbar'
import type { Bus, EncodedMessage } from 'busbar'
import type { RabbitMqConsumerOptions } from 'busbar/rabbitmq'
import { seededRandom, tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { record, rabbitMqSuite } from './rabbitmq-harness.ts'

describe('RabbitMQ: its own features', () => {
  const suite = rabbitMqSuite('features')
  const { bus } = suite

  const native = (options: RabbitMqConsumerOptions): RabbitMqConsumerOptions => options
  const got = (message: false | GetMessage): GetMessage => {
    assert.ok(message !== false, 'there must be a message')
    return message
  }

  test('exchanges of all types, queues and bindings between them are declared, and used by route()', async () => {
    const name = uniqueName('topology')
    const on = bus({
      topology: {
        exchanges: [
          { name: `${name}.direct`, type: 'direct' },
          { name: `${name}.fanout`, type: 'fanout' },
          { name: `${name}.headers`, type: 'headers' },
          { name: `${name}.topic`, type: 'topic', alternateExchange: `${name}.fanout` },
        ],
        queues: [{ name: `${name}.q` }, { name: `${name}.eu` }, { name: `${name}.rest` }],
        bindings: [
          { from: `${name}.topic`, toExchange: `${name}.direct`, routingKey: 'orders.#' },
          { from: `${name}.direct`, toQueue: `${name}.q`, routingKey: 'orders.placed' },
          { from: `${name}.direct`, toExchange: `${name}.headers`, routingKey: 'orders.placed' },
          { from: `${name}.headers`, toQueue: `${name}.eu`, arguments: { 'x-match': 'all', region: 'eu' } },
          { from: `${name}.fanout`, toQueue: `${name}.rest` },
        ],
      },
      route: ({ topic }) => ({ exchange: `${name}.topic`, routingKey: topic }),
      properties: () => ({ priority: 3, appId: 'shop', replyTo: 'answers', type: 'order', persistent: false }),
    })
    await on.start()
    await on.publish('orders.placed', { number: 1 }, { headers: { region: 'eu' } })
    await on.publish('other.thing', { number: 2 })
    const { properties, fields } = got(await suite.channel.get(`${name}.q`, { noAck: true }))
    assert.equal(fields.routingKey, 'orders.placed')
    const { priority, appId, replyTo, type, deliveryMode } = properties
    assert.deepEqual(
      { priority, appId, replyTo, type, deliveryMode },
      { priority: 3, appId: 'shop', replyTo: 'answers', type: 'order', deliveryMode: 1 },
    )
    got(await suite.channel.get(`${name}.eu`, { noAck: true }))
    assert.equal(got(await suite.channel.get(`${name}.rest`, { noAck: true })).fields.routingKey, 'other.thing')
  })

  test(
    'after a refusal a new channel publishes: nothing is lost or overtaken on the way',
    { timeout: 60_000 },
    async () => {
      const name = uniqueName('refusal')
      const on = bus({
        topology: {
          queues: [
            { name: `${name}.full`, arguments: { 'x-max-length': 1, 'x-overflow': 'reject-publish' } },
            { name: `${name}.open` },
          ],
        },
        route: ({ topic }) => ({ exchange: '', routingKey: topic }),
      })
      await on.start()
      const publishing = async (): Promise<string> => {
        const rows = (await suite.broker.ctl('-q', 'list_channels', 'pid', 'confirm')).split('\n')
        return rows
          .filter((row) => row.includes('true'))
          .sort()
          .join('\n')
      }
      await on.publish(`${name}.full`, 0)
      await on.publish(`${name}.open`, 0)
      const before = await publishing()
      assert.notEqual(before, '')
      const refusal = await on.publish(`${name}.full`, 1).catch((error: unknown) => error)
      assert.ok(PublishError.is(refusal) && refusal.outcome === 'unknown' && /refused/.test(refusal.message))
      const renewed = new AbortController()
      let sent = 1
      // Each of them must be confirmed, by whichever channel.
      const flood = async (): Promise<void> => {
        while (!renewed.signal.aborted)
          await Promise.all(Array.from({ length: 10 }, () => on.publish(`${name}.open`, sent++)))
      }
      const look = waitUntil(async () => (await publishing()) !== before, { timeoutMs: 20_000 }).finally(() =>
        renewed.abort(),
      )
      await Promise.all([flood(), look])
      const numbers: unknown[] = []
      const read = (message: ConsumeMessage | null): void => void numbers.push(JSON.parse(String(message?.content)))
      const { consumerTag } = await suite.channel.consume(`${name}.open`, read, { noAck: true })
      await waitUntil(() => numbers.length >= sent, { describe: () => `${numbers.length} of ${sent} came` })
      await suite.channel.cancel(consumerTag)
      assert.deepEqual(
        numbers,
        Array.from({ length: sent }, (_, number) => number),
      )
      got(await suite.channel.get(`${name}.full`, { noAck: true }))
      await on.publish(`${name}.full`, 2)
    },
  )

  test('unroutable: the publish rejects as not sent, or resolves and is reported as loss', async () => {
    const topic = uniqueName('nobody')
    const on = bus()
    await on.start()
    const results = await on.publishMany(topic, [{ data: 1 }, { data: 2 }], { allowFailures: true })
    for (const { error } of results)
      assert.ok(error instanceof PublishError && error.outcome === 'not-sent', String(error))
    const dropping = bus({ unroutable: 'drop' })
    const losses: number[] = []
    dropping.events.on('loss', ({ count }) => losses.push(count ?? 0))
    await dropping.start()
    await dropping.publish(topic, 1)
    assert.deepEqual(losses, [1])
  })

  test('groups of the options keep messages before their first member starts', async () => {
    const topic = uniqueName('standing')
    const publisher = bus({ groups: [{ topic, group: 'later' }] })
    await publisher.start()
    const { id } = await publisher.publish(topic, 1, { key: 'k' })
    const seen: string[] = []
    const later = bus()
    later.consume(topic, (message) => void seen.push(message.id), { group: 'later' })
    await later.start()
    await waitUntil(() => seen.length > 0, { timeoutMs: 5_000 })
    assert.deepEqual(seen, [id])
  })

  test('a queue of another program: consumed with its metadata; what is dropped goes where the queue wants it', async () => {
    const name = uniqueName('legacy')
    await suite.channel.assertQueue(`${name}.dead`, { durable: true })
    await suite.channel.assertQueue(name, {
      durable: true,
      deadLetterExchange: '',
      deadLetterRoutingKey: `${name}.dead`,
    })
    const on = bus()
    const seen: unknown[] = []
    on.consume(
      `${name}.topic`,
      ({ data, headers }) => {
        if (data === 'bad') throw new Error('bad')
        seen.push([
          data,
          headers['amqp-replyTo'],
          headers['amqp-routingKey'],
          headers['amqp-redelivered'],
          headers['x'],
        ])
      },
      {
        order: 'none',
        retry: { attempts: 1 },
        deadLetter: 'drop',
        native: native({ queue: name, metadata: ['replyTo', 'routingKey', 'redelivered'] }),
      },
    )
    await on.start()
    suite.channel.sendToQueue(name, Buffer.from('"good"'), { replyTo: 'r', headers: { x: 'y' } })
    suite.channel.sendToQueue(name, Buffer.from('"bad"'))
    await waitUntil(() => seen.length === 1, { timeoutMs: 5_000 })
    assert.deepEqual(seen, [['good', 'r', name, 'false', 'y']])
    await waitUntil(async () => (await suite.channel.checkQueue(`${name}.dead`)).messageCount === 1, {
      timeoutMs: 5_000,
    })
  })

  test('requeue: an immediate retry gives it back to the queue, and is counted', async () => {
    const topic = uniqueName('requeue')
    const on = bus()
    const attempts: number[] = []
    on.consume(
      topic,
      (_, ctx) => {
        attempts.push(ctx.attempt)
        if (ctx.attempt < 3) ctx.retry({ delayMs: 0 })
      },
      { order: 'none' },
    )
    await on.start()
    await on.publish(topic, 1)
    await waitUntil(() => attempts.length >= 3, { timeoutMs: 5_000 })
    assert.deepEqual(attempts, [1, 2, 3])
  })

  test('noAck needs a bound and keeps to it; what was never handled is reported as loss', async () => {
    const topic = uniqueName('noack')
    const refused = bus()
    refused.consume(topic, () => {}, { native: native({ noAck: true }) })
    await assert.rejects(refused.start(), (error) => ConfigurationError.is(error) && /maxBuffered/.test(error.message))

    const on = bus()
    const losses: number[] = []
    on.events.on('loss', ({ count }) => losses.push(count ?? 0))
    let handled = 0
    let goOn = (): void => {}
    const gate = new Promise<void>((resolve) => (goOn = resolve))
    on.consume(
      topic,
      async () => {
        await gate
        handled++
      },
      { order: 'none', concurrency: 1, prefetch: 1, native: native({ noAck: true, maxBuffered: 50 }) },
    )
    await on.start()
    const publisher = bus()
    await publisher.start()
    // The end of a consumer takes a moment; so these come bit by bit.
    for (let number = 0; number < 300; number++) await publisher.publish(topic, number)
    const waiting = async (): Promise<number> =>
      (await suite.channel.checkQueue(`busbar:${topic}:features`)).messageCount
    await waitUntil(async () => (await waiting()) > 0, { timeoutMs: 5_000 })
    goOn()
    await waitUntil(() => handled === 300, { timeoutMs: 10_000, describe: () => `${handled} handled` })
    assert.deepEqual(losses, [])
  })

  for (const [order, prefetch] of [
    ['none', /set prefetch of .* to (19|20),/i],
    ['key', /set prefetch of .* to (12|13),/i],
  ] as const)
    test(`large messages: the consumer learns which prefetch keeps to prefetchBytes (order: ${order})`, async () => {
      const [on, topic, gate] = [bus(), uniqueName('large'), Promise.withResolvers<void>()]
      const warnings = record(on, 'warning')
      const calls: { readonly n: number; readonly attempt: number }[] = []
      on.consume(
        topic,
        async ({ data }, { attempt }) => {
          await gate.promise
          calls.push({ n: (data as { n: number }).n, attempt })
        },
        { order, concurrency: 2, prefetchBytes: 1_000_000 },
      )
      await on.start()
      const body = 'x'.repeat(50_000)
      const numbers = [...Array(60).keys()]
      await on.publishMany(
        topic,
        numbers.map((n) => ({ data: { n, body }, key: 'k' })),
      )
      await waitUntil(() => warnings.length > 0)
      const { code, detail } = warnings[0] as (typeof warnings)[0]
      assert.equal(code, 'large-messages')
      assert.match(detail, prefetch)
      gate.resolve()
      await waitUntil(() => calls.length === numbers.length)
      if (order === 'none') calls.sort((a, b) => a.n - b.n)
      assert.deepEqual(
        calls,
        numbers.map((n) => ({ n, attempt: 1 })),
      )
      assert.equal(warnings.length, 1)
    })

  test('strict order: one active member, the other takes over when it leaves', async () => {
    const topic = uniqueName('strict')
    const seen: string[] = []
    const member = (name: string): Bus => {
      const on = bus()
      on.consume(topic, ({ data }) => void seen.push(`${name}${String(data)}`), { order: 'strict' })
      return on
    }
    const [first, second] = [member('a'), member('b')]
    await first.start()
    await second.start()
    for (let number = 0; number < 3; number++) await second.publish(topic, number)
    await waitUntil(() => seen.length === 3, { timeoutMs: 5_000 })
    await first.close()
    for (let number = 3; number < 6; number++) await second.publish(topic, number)
    await waitUntil(() => seen.length === 6, { timeoutMs: 5_000 })
    assert.deepEqual(seen, ['a0', 'a1', 'a2', 'b3', 'b4', 'b5'])
  })

  test('priority queues: what is more urgent overtakes', async () => {
    const topic = uniqueName('priority')
    const on = bus({ properties: ({ headers }) => ({ priority: Number(headers['urgency'] ?? 0) }) })
    const seen: unknown[] = []
    const handle = on.consume(topic, ({ data }) => void seen.push(data), {
      order: 'none',
      concurrency: 1,
      prefetch: 1,
      native: native({ queueType: 'classic', maxPriority: 5, prefetch: 1 }),
    })
    await on.start()
    handle.pause()
    // Paused means that no consumer is left on the queue; only then may all of them wait there.
    await waitUntil(async () => (await suite.channel.checkQueue(`busbar:${topic}:features`)).consumerCount === 0, {
      timeoutMs: 5_000,
    })
    for (const urgency of ['0', '5', '1']) await on.publish(topic, urgency, { headers: { urgency } })
    handle.resume()
    await waitUntil(() => seen.length === 3, { timeoutMs: 5_000 })
    assert.deepEqual(seen, ['5', '1', '0'])
  })

  test('classic queues all through, for brokers without quorum queues', async () => {
    const on = bus({ queueType: 'classic', exchange: 'classic' })
    const topic = uniqueName('classic')
    const attempts: number[] = []
    on.consume(
      topic,
      (_, ctx) => {
        attempts.push(ctx.attempt)
        throw new Error('no')
      },
      { order: 'none', retry: { mode: 'delayed', attempts: 3, backoff: 'fixed', baseMs: 20 } },
    )
    await on.start()
    await on.publish(topic, 1)
    const letters = on.deadLetters(topic)
    await waitUntil(async () => (await letters.list()).length === 1, { timeoutMs: 10_000 })
    assert.deepEqual(attempts, [1, 2, 3])
    assert.match(
      await suite.broker.ctl('-q', 'list_queues', 'name', 'type'),
      new RegExp(`classic:${topic}:features\\tclassic`),
    )
  })

  test('quorumArguments reach every quorum queue of the bus', async () => {
    const exchange = uniqueName('sized')
    const topic = uniqueName('t')
    const on = bus({ exchange, quorumArguments: { 'x-quorum-initial-group-size': 1 } })
    const seen: unknown[] = []
    on.consume(topic, ({ data }) => void seen.push(data), { order: 'none' })
    await on.start()
    await on.publish(topic, 1, { delayMs: 500 })
    await waitUntil(() => seen.length === 1)
    const rows = (await suite.broker.ctl('--silent', 'list_queues', 'name', 'type', 'arguments')).split('\n')
    const quorum = rows.filter((row) => row.startsWith(exchange) && row.includes('\tquorum\t'))
    // Of the group, what the broker gave up, what found no receiver, and at least five delays.
    assert.ok(quorum.length >= 8, rows.join('\n'))
    for (const row of quorum) assert.match(row, /"x-quorum-initial-group-size",1\b/)
  })

  test('an option that no longer fits the queue is reported as drift, and the queue is used as it is', async () => {
    const topic = uniqueName('drift')
    const before = bus()
    before.consume(topic, () => {}, { order: 'none' })
    await before.start()
    await before.close()
    const on = bus({ deliveryLimit: 7 })
    const drifts: string[] = []
    on.events.on('warning', ({ code, detail }) => code === 'topology-drift' && drifts.push(detail))
    let handled = 0
    on.consume(topic, () => void handled++, { order: 'none' })
    await on.start()
    assert.match(drifts.join('\n'), /x-delivery-limit/)
    await on.publish(topic, 1)
    await waitUntil(() => handled === 1, { timeoutMs: 5_000 })
  })

  test('delay auto: without the plugin, the ladder does it', async () => {
    const topic = uniqueName('auto')
    const on = bus({ delay: 'auto', exchange: 'auto' })
    const seen: number[] = []
    on.consume(topic, () => void seen.push(Date.now()))
    await on.start()
    const from = Date.now()
    await on.publish(topic, 1, { delayMs: 300 })
    await waitUntil(() => seen.length === 1, { timeoutMs: 5_000 })
    assert.ok((seen[0] as number) - from >= 299)
  })

  test(
    'what is read past the client library is what the library reads, of whatever size and shape',
    { timeout: 30_000 },
    async () => {
      const topic = uniqueName('shapes')
      const on = bus()
      const random = seededRandom('shapes')
      const [past, through] = [new Map<string, EncodedMessage>(), new Map<string, EncodedMessage>()]
      on.consume(topic, ({ encoded }) => void past.set(encoded.id, encoded), { group: 'past' })
      on.consume(
        topic,
        ({ encoded }) => {
          const { 'amqp-exchange': exchange, ...headers } = encoded.headers
          assert.equal(exchange, 'busbar')
          through.set(encoded.id, { ...encoded, headers })
        },
        { group: 'through', native: native({ metadata: ['exchange'] }) },
      )
      await on.start()
      const texts = ['plain', 'ünï', '', '漢字', 'x'.repeat(200), '~#.*']
      const sizes = [0, 1, 100, 5_000, 70_000, 200_000]
      const items = Array.from({ length: 400 }, (_, index) => ({
        data: new Uint8Array(sizes[random.integer(0, sizes.length - 1)] ?? 0).fill(index),
        id: `${topic}-${index}${random.integer(0, 9) === 0 ? 'ä' : ''}`,
        key: `k${random.integer(0, 9)}`,
        headers: Object.fromEntries(
          Array.from({ length: random.integer(0, 3) }, (__, n) => [
            `h${n}`,
            texts[random.integer(0, texts.length - 1)] ?? '',
          ]),
        ),
        ...(index % 3 === 0 ? { correlationId: `c${index}`, causationId: 'a' } : {}),
        ...(index % 5 === 0 ? { ttlMs: 3_600_000, subject: 's' } : {}),
      }))
      for (const result of await on.publishMany(topic, items, { allowFailures: true }))
        assert.equal(result.error, undefined)
      await waitUntil(() => past.size === items.length && through.size === items.length, {
        timeoutMs: 15_000,
        describe: () => `${past.size} and ${through.size} of ${items.length}`,
      })
      for (const { id, data } of items) {
        const message = past.get(id)
        assert.ok(message !== undefined)
        assert.deepEqual({ ...message, headers: { ...message.headers } }, through.get(id))
        assert.ok(Buffer.from(data).equals(message.body ?? Buffer.alloc(0)))
      }
    },
  )

  describe('streams', () => {
    test('a broadcast consumer reads the log of the topic from an offset, again and again', async () => {
      const topic = uniqueName('stream')
      const first = bus()
      const seen: [unknown, unknown][] = []
      first.consume(topic, ({ data }, ctx) => void seen.push([data, ctx.position['offset']]), {
        broadcast: true,
        native: native({ offset: 'first' }),
      })
      await first.start()
      for (let number = 0; number < 5; number++) await first.publish(topic, number, { key: 'k' })
      await waitUntil(() => seen.length === 5, { timeoutMs: 5_000 })
      assert.deepEqual(
        seen,
        [0, 1, 2, 3, 4].map((number) => [number, number]),
      )
      const again: unknown[] = []
      const second = bus()
      second.consume(topic, ({ data }) => void again.push(data), { broadcast: true, native: native({ offset: 2 }) })
      await second.start()
      await waitUntil(() => again.length === 3, { timeoutMs: 5_000 })
      assert.deepEqual(again, [2, 3, 4])
    })

    test('after a lost connection it continues where it was, with every message once', async () => {
      const name = uniqueName('stream')
      await suite.channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'stream' } })
      const proxy = await tcpProxy({ port: suite.broker.port })
      const on = bus({ url: `amqp://127.0.0.1:${proxy.port}`, reconnect: { minMs: 10, maxMs: 50 } })
      const seen: unknown[] = []
      let failures = 0
      on.consume(
        `${name}.topic`,
        ({ data }) => {
          // One that is tried again must not be passed over when the place is taken up again.
          if (data === 7 && failures++ < 2) throw new Error('again')
          seen.push(data)
        },
        { broadcast: true, order: 'none', retry: { baseMs: 100 }, native: native({ queue: name, offset: 'first' }) },
      )
      await on.start()
      for (let number = 0; number < 60; number++) {
        suite.channel.sendToQueue(name, Buffer.from(String(number)))
        if (number % 20 === 10) {
          await waitUntil(() => seen.length > number / 2, { timeoutMs: 5_000 })
          proxy.cut()
        }
      }
      await waitUntil(() => seen.length >= 60, { timeoutMs: 10_000, describe: () => JSON.stringify(seen) })
      assert.deepEqual(
        seen.toSorted((a, b) => Number(a) - Number(b)),
        Array.from({ length: 60 }, (_, number) => number),
      )
      await proxy.close()
    })

    test('a message without a time whose handler succeeds after its connection was lost is not handled again', async () => {
      const name = uniqueName('stream')
      await suite.channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'stream' } })
      const proxy = await tcpProxy({ port: suite.broker.port })
      const on = bus({ url: `amqp://127.0.0.1:${proxy.port}`, reconnect: { minMs: 10, maxMs: 50 } })
      const lost = new Promise((resolve) => on.events.on('disconnect', resolve))
      const seen: unknown[] = []
      on.consume(
        `${name}.topic`,
        async ({ data }) => {
          seen.push(data)
          if (data !== 1) return
          proxy.cut()
          await lost
        },
        { broadcast: true, order: 'none', native: native({ queue: name, offset: 'first' }) },
      )
      await on.start()
      for (let number = 0; number < 4; number++) suite.channel.sendToQueue(name, Buffer.from(String(number)))
      await waitUntil(() => seen.includes(1), { timeoutMs: 5_000 })
      suite.channel.sendToQueue(name, Buffer.from('4'))
      await waitUntil(() => seen.includes(4), { timeoutMs: 5_000, describe: () => JSON.stringify(seen) })
      assert.equal(seen.filter((data) => data === 1).length, 1, JSON.stringify(seen))
      await proxy.close()
    })

    test('a group on a stream is refused, by name and with what to do', async () => {
      const on = bus()
      on.consume(uniqueName('stream'), () => {}, { native: native({ offset: 'first' }) })
      await assert.rejects(on.start(), (error) => ConfigurationError.is(error) && /broadcast: true/.test(error.message))
    })
  })
})

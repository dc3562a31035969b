// Longer than most files: a list of scenarios, each independent of the others.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { PublishError } from '../../core/errors.ts'
import { bytesCodec } from '../../core/codec.ts'
import { defineEvent } from '../../core/define.ts'
import type { PublishMiddleware } from '../../core/publish/publish-middleware.ts'
import type { PublishReceipt } from '../../core/publish/publish-options.ts'
import { farTooLarge, outcomesOf, outgoing } from './raw.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, idsOfKey, numbered, publishAll } from './shorthand.ts'

const group = 'publish'
const MEBIBYTE = 1_048_576

export const publishScenarios: readonly Scenario[] = [
  {
    id: 'publish/attributes',
    group,
    invariant: 1,
    title: 'source, time, schema and extension attributes arrive as they were given',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const event = defineEvent<number>(topic, { dataSchema: 'https://example.com/ordered.json' })
      const occurredAt = new Date(Date.now() - 3_600_000)
      const { id } = await bus.publish(event, 1, {
        source: '//tills/7',
        occurredAt,
        extensions: { tenant: 'acme', region7: 'eu west' },
        headers: { 'x-one': '1' },
      })
      const plain = await bus.publish(event, 2)
      await probe.waitExactly([id, plain.id])
      const [first, second] = [id, plain.id].map(
        (of) => probe.handled.find(({ message }) => message.id === of)?.message,
      )
      assert.ok(first !== undefined && second !== undefined)
      assert.equal(first.source, '//tills/7')
      assert.equal(first.time.getTime(), occurredAt.getTime())
      assert.equal(first.dataSchema, 'https://example.com/ordered.json')
      assert.deepEqual({ ...first.headers }, { 'ce-tenant': 'acme', 'ce-region7': 'eu west', 'x-one': '1' })
      assert.equal(second.source, ctx.service)
      assert.deepEqual({ ...second.headers }, {})
      // Messages that a handler publishes keep them.
      const next = ctx.topic('next')
      await ctx.consume(bus, next, probe.handler()).ready
      const passedOn = await bus.publish(next, 3, { headers: first.headers })
      await probe.waitExactly([id, plain.id, passedOn.id])
      assert.deepEqual({ ...probe.handled.at(-1)?.message.headers }, { ...first.headers })
    },
  },
  {
    id: 'publish/envelope',
    group,
    invariant: 1,
    title: 'a confirmed message is handled with every field as it was published',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const before = Date.now()
      const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
      const options = {
        id: randomUUID(),
        key: 'customer-7',
        type: 'com.example.ordered',
        subject: 'order/7',
        correlationId: 'talk-1',
        causationId: 'cause-1',
        traceparent,
        tracestate: 'a=1,b=2',
        ttlMs: 600_000,
        headers: { 'x-one': '1', 'X-Two': 'zwei' },
      }
      const receipt = await bus.publish(topic, { hello: 'world', list: [1, null, true] }, options)
      assert.equal(receipt.id, options.id)
      await probe.waitExactly([options.id])
      const message = probe.handled[0]?.message
      assert.ok(message)
      const { id, key, type, subject, correlationId, causationId, tracestate } = message
      assert.deepEqual(
        { id, key, type, subject, correlationId, causationId, traceparent: message.traceparent, tracestate },
        {
          id: options.id,
          key: options.key,
          type: options.type,
          subject: options.subject,
          correlationId: options.correlationId,
          causationId: options.causationId,
          traceparent,
          tracestate: options.tracestate,
        },
      )
      assert.equal(message.topic, topic)
      assert.equal(message.source, ctx.service)
      assert.equal(message.contentType, 'application/json')
      assert.deepEqual(message.data, { hello: 'world', list: [1, null, true] })
      assert.deepEqual({ ...message.headers }, options.headers)
      // Wall-clock times are sent in whole milliseconds.
      assert.ok(message.time.getTime() >= before - 1 && message.time.getTime() <= Date.now())
      assert.equal(message.expiresAt?.getTime(), message.time.getTime() + options.ttlMs)
    },
  },
  {
    id: 'publish/bare-envelope',
    group,
    invariant: 1,
    title: 'fields that were not given stay undefined on the other side',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const { id } = await bus.publish(topic, 1)
      await probe.waitExactly([id])
      const { message } = probe.handled[0] ?? assert.fail()
      const { key, subject, dataSchema, version, causationId, traceparent, tracestate, expiresAt } = message
      for (const field of [key, subject, dataSchema, version, causationId, traceparent, tracestate, expiresAt])
        assert.equal(field, undefined)
      assert.equal(message.correlationId, id, 'a new conversation is named after its first message')
      assert.deepEqual({ ...message.headers }, {})
    },
  },
  {
    id: 'publish/thousand-at-once',
    group,
    invariant: 1,
    title: 'of 1,000 concurrent publishes each is confirmed, and handled exactly once',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { concurrency: 50 })
      await bus.start()
      const receipts = await Promise.all(Array.from({ length: 1_000 }, (_, number) => bus.publish(topic, number)))
      const ids = receipts.map(({ id }) => id)
      assert.equal(new Set(ids).size, 1_000, 'ids must be unique')
      await probe.waitExactly(ids)
      await ctx.idle(bus, topic, ctx.service)
      probe.assertExactly(ids)
    },
  },
  {
    id: 'publish/many-results',
    group,
    invariant: 1,
    title: 'publishMany reports each item at its own index, and sends the good ones only',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const results = await bus.publishMany(
        topic,
        [
          { data: 0 },
          { data: 1, headers: { 'not a name': 'x' } },
          { data: 2 },
          { data: () => 'no JSON' },
          { data: 4, headers: { line: 'a\nb' } },
          { data: 5 },
        ],
        { allowFailures: true },
      )
      assert.deepEqual(
        results.map(({ error }) => (error as { code?: string } | undefined)?.code),
        [undefined, 'BUSBAR_VALIDATION', undefined, 'BUSBAR_CODEC', 'BUSBAR_VALIDATION', undefined],
      )
      await probe.waitExactly([0, 2, 5].map((index) => results[index]?.id ?? ''))
      for (const index of [0, 2, 5]) {
        const seen = probe.handled.find(({ id }) => id === results[index]?.id)
        assert.equal(seen?.message.data, index, 'each id belongs to the data of its own item')
      }
    },
  },
  {
    id: 'publish/many-order',
    group,
    invariant: 5,
    title: 'publishMany keeps the order of its items within each key',
    needs: ['ordering'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { concurrency: 8 })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(500, 7))
      await probe.waitExactly(ids)
      for (let key = 0; key < 7; key++) probe.assertOrder(idsOfKey(ids, 7, key))
    },
  },
  {
    id: 'publish/sequential-order',
    group,
    invariant: 5,
    title: 'messages published one after another, and all in one turn, keep their order within a key',
    needs: ['ordering'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { concurrency: 8 })
      await bus.start()
      const ids: string[] = []
      for (let number = 0; number < 20; number++) ids.push((await bus.publish(topic, number, { key: 'one' })).id)
      const turn: Promise<PublishReceipt>[] = []
      for (let number = 20; number < 320; number++) turn.push(bus.publish(topic, number, { key: 'one' }))
      for (const { id } of await Promise.all(turn)) ids.push(id)
      await probe.waitExactly(ids)
      probe.assertOrder(ids)
      assert.deepEqual(
        probe.handled.map(({ message }) => message.data),
        Array.from({ length: 320 }, (_, number) => number),
      )
    },
  },
  {
    id: 'publish/two-publishers',
    group,
    invariant: 1,
    title: 'what several buses publish to one topic at once is all handled, once',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const publishers = await Promise.all([ctx.startedBus(), ctx.startedBus(), ctx.startedBus()])
      const ids = await Promise.all(publishers.map((publisher) => publishAll(publisher, topic, numbered(100, 5))))
      await probe.waitExactly(ids.flat())
    },
  },
  {
    id: 'publish/null',
    group,
    invariant: 1,
    title:
      'null data is null for handlers, without a body where the transport can carry that; an empty body stays empty',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const { tombstones } = ctx.capabilities
      const ids = [
        (await bus.publish(topic, null, { key: 'k' })).id,
        (await bus.publish(topic, new Uint8Array(0), { key: 'k' })).id,
        (await bus.publish(topic, { data: null }, { key: 'k' })).id,
      ]
      await probe.waitExactly(ids)
      const [none, empty, object] = ids.map((id) => probe.handled.find((seen) => seen.id === id)?.message)
      assert.equal(none?.data, null)
      assert.equal(none.key, 'k')
      assert.equal(none.body === null, tombstones, `body of the message without data: ${String(none.body)}`)
      assert.equal(empty?.body?.byteLength, 0)
      assert.deepEqual(object?.data, { data: null })
      // As an outbox or a bridge sends it: refused, rather than sent as something else.
      const message = { ...(await bus.encode(topic, null)), body: null }
      const [result] = await bus.sendEncoded([message])
      if (tombstones) await probe.waitExactly([...ids, message.id])
      else assert.equal((result?.error as { code?: string } | undefined)?.code, 'BUSBAR_UNSUPPORTED')
    },
  },
  {
    id: 'publish/largest',
    group,
    invariant: 1,
    title: 'a message just below the limit goes through, unharmed',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      // Room for the envelope; and no test needs more than 4 MiB to find a length field that is too short.
      const length = Math.min(4 * MEBIBYTE, ctx.capabilities.maxMessageBytes - 4_096)
      const body = ctx.random.bytes(length)
      const { id } = await bus.publish(topic, body)
      await probe.waitExactly([id])
      const received = probe.handled[0]?.message.body
      assert.equal(received?.byteLength, length)
      assert.ok(Buffer.from(body).equals(received), 'the bytes must be the same')
    },
  },
  {
    id: 'publish/too-large',
    group,
    invariant: 1,
    title: 'a message over the limit is refused as not sent, and does no harm to its neighbours',
    async run(ctx) {
      const limit = ctx.capabilities.maxMessageBytes
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      // Allocated but never touched: unwritten pages cost nothing, whatever the limit is.
      const body = new Uint8Array(limit + 1)
      const [before, refused, after] = await Promise.allSettled([
        bus.publish(topic, 'before'),
        bus.publish(topic, body),
        bus.publish(topic, 'after'),
      ])
      assert.equal(refused.status, 'rejected')
      const { reason } = refused
      assert.ok(reason instanceof Error)
      if (reason instanceof PublishError) assert.equal(reason.outcome, 'not-sent')
      else assert.equal((reason as { code?: string }).code, 'BUSBAR_VALIDATION')
      const ids = [before, after].map((result) => {
        assert.equal(result.status, 'fulfilled')
        return result.value.id
      })
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'publish/batch-outcomes',
    group,
    invariant: 1,
    title: 'the transport itself gives one outcome for each message of a batch, errors with how sure they are',
    needs: ['small-limit'],
    async run(ctx) {
      const [transport, consumer, topic] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic()]
      await consumer.subscribe(transport, { topic, group: ctx.group() })
      consumer.request(10)
      const batch = [
        outgoing(topic),
        outgoing(topic, {
          contentType: bytesCodec.contentType,
          body: farTooLarge(transport),
        }),
        outgoing(topic),
      ]
      const outcomes = await outcomesOf(transport, batch)
      assert.equal(outcomes.length, 3)
      assert.equal(outcomes[0]?.error, undefined)
      assert.equal(outcomes[2]?.error, undefined)
      const error = outcomes[1]?.error
      assert.ok(error instanceof PublishError, `the outcome at index 1 must be a PublishError, got ${String(error)}`)
      assert.equal(error.outcome, 'not-sent')
      const deliveries = await consumer.take(2)
      assertSame(consumer.ids(), [batch[0]?.id, batch[2]?.id])
      await consumer.settle(deliveries)
    },
  },
  {
    id: 'publish/failed-stops-key',
    group,
    invariant: 5,
    title: 'a message that is not published fails the later ones of its key, in its batch and in the next',
    needs: ['failed-stops-key', 'small-limit'],
    async run(ctx) {
      const [transport, topic] = [await ctx.transport(), ctx.topic()]
      const batches = await Promise.all([
        outcomesOf(transport, [
          outgoing(topic, { key: 'a', contentType: bytesCodec.contentType, body: farTooLarge(transport) }),
          outgoing(topic, { key: 'a' }),
          outgoing(topic, { key: 'b' }),
        ]),
        outcomesOf(transport, [outgoing(topic, { key: 'a' }), outgoing(topic, { key: 'b' })]),
      ])
      assert.deepEqual(
        batches.flat().map(({ error }) => error === undefined),
        [false, false, true, false, true],
        'which messages were published',
      )
      // A later call may send the key again.
      assert.equal((await outcomesOf(transport, [outgoing(topic, { key: 'a' })]))[0]?.error, undefined)
    },
  },
  {
    id: 'publish/middleware-order',
    group,
    invariant: 5,
    title: 'publish middleware that takes its time keeps the order of the calls within a key',
    needs: ['ordering'],
    async run(ctx) {
      const slow: PublishMiddleware = (next) => async (call) => {
        if (ctx.random.chance(0.5)) await new Promise((resolve) => setTimeout(resolve, ctx.random.integer(0, 20)))
        return next({ ...call, items: call.items.map((item) => ({ ...item, headers: { slow: 'yes' } })) })
      }
      const bus = await ctx.bus({ publishMiddleware: [slow] })
      const [topic, probe] = [ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { concurrency: 8 })
      await bus.start()
      const published = Array.from({ length: 100 }, (_, number) =>
        number % 10 === 0
          ? bus.publishMany(topic, [{ data: number, key: 'one' }])
          : bus.publish(topic, number, { key: 'one' }).then((receipt) => [receipt]),
      )
      const ids = (await Promise.all(published)).flat().map(({ id }) => id)
      await probe.waitExactly(ids)
      probe.assertOrder(ids)
      assert.ok(probe.handled.every(({ message }) => message.headers['slow'] === 'yes'))
    },
  },
  {
    id: 'publish/encoded',
    group,
    invariant: 1,
    title: 'a message that was encoded first and sent later arrives as if it had been published',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      const options = { key: 'k', headers: { 'x-one': '1' }, correlationId: 'talk-1', ttlMs: 600_000 }
      const stored = await bus.encode(topic, { n: 1 }, options)
      await bus.start()
      const bad = { ...stored, topic: 'not a topic' }
      const [first, second] = await bus.sendEncoded([stored, bad])
      assert.equal(first?.error, undefined)
      assert.equal((second?.error as { code?: string } | undefined)?.code, 'BUSBAR_VALIDATION')
      await probe.waitExactly([stored.id])
      const { message } = probe.handled[0] ?? assert.fail()
      const { body: _body, headers, deliverAt: _deliverAt, group: _group, ...rest } = stored
      const { copyOf: _copyOf, native: _native, ...envelope } = rest
      assert.deepEqual(message.data, { n: 1 })
      assert.deepEqual({ ...message.headers }, { ...headers })
      for (const [name, value] of Object.entries(envelope))
        assert.equal(message.encoded[name as keyof typeof envelope], value, name)
    },
  },
  {
    id: 'publish/aborted',
    group,
    invariant: 1,
    title: 'a publish whose signal has aborted rejects as not sent, is reported, and reaches no consumer',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const record = ctx.recorder(bus)
      const error: unknown = await bus
        .publish(topic, 'never', { signal: AbortSignal.abort(new Error('changed my mind')) })
        .then(
          () => assert.fail('an aborted publish must reject'),
          (reason: unknown) => reason,
        )
      assert.ok(error instanceof PublishError)
      assert.equal(error.outcome, 'not-sent')
      assert.equal(record.of('publishFailed')[0]?.error, error)
      const { id } = await bus.publish(topic, 'sentinel', { key: 'k' })
      await probe.waitExactly([id])
    },
  },
  {
    id: 'publish/misfits',
    group,
    invariant: 1,
    title: 'what makes no sense is refused before anything is sent',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const circular: Record<string, unknown> = {}
      circular['self'] = circular
      const attempts: [string, () => Promise<unknown>][] = [
        ['BUSBAR_VALIDATION', () => bus.publish(`${topic}.*`, 1)],
        ['BUSBAR_VALIDATION', () => bus.publish(`${topic}..x`, 1)],
        ['BUSBAR_VALIDATION', () => bus.publish('', 1)],
        ['BUSBAR_VALIDATION', () => bus.publish(topic, 1, { headers: { 'x-nul': 'a\0b' } })],
        ['BUSBAR_VALIDATION', () => bus.publish(topic, 1, { headers: { 'x-line': 'a\r\nb' } })],
        ['BUSBAR_VALIDATION', () => bus.publish(topic, 1, { headers: { '': 'x' } })],
        ['BUSBAR_VALIDATION', () => bus.publish(topic, 1, { delayMs: -1 })],
        ['BUSBAR_CODEC', () => bus.publish(topic, undefined)],
        ['BUSBAR_CODEC', () => bus.publish(topic, circular)],
        ['BUSBAR_CODEC', () => bus.publish(topic, 10n)],
      ]
      for (const [code, attempt] of attempts) await assert.rejects(attempt, { code })
      const { id } = await bus.publish(topic, 'sentinel')
      await probe.waitExactly([id])
    },
  },
  {
    id: 'publish/dedup',
    group,
    invariant: 1,
    title: 'publishing one id twice stores it once',
    needs: ['dedup'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const id = randomUUID()
      await bus.publish(topic, 'first', { id, key: 'k' })
      await bus.publish(topic, 'again', { id, key: 'k' })
      const sentinel = await bus.publish(topic, 'sentinel', { key: 'k' })
      await probe.waitExactly([id, sentinel.id])
      assert.deepEqual(
        probe.handled.map(({ message }) => message.data),
        ['first', 'sentinel'],
      )
    },
  },
  {
    id: 'publish/from-handler',
    group,
    invariant: 1,
    title: 'what a handler publishes carries on the conversation and names its cause',
    async run(ctx) {
      const [bus, topic, answers] = [await ctx.bus(), ctx.topic('ask'), ctx.topic('answer')]
      const asked = ctx.probe((message, handler) => handler.publish(answers, { to: message.id }))
      const answered = ctx.probe()
      ctx.consume(bus, topic, asked.handler())
      ctx.consume(bus, answers, answered.handler())
      await bus.start()
      const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
      const { id } = await bus.publish(topic, 'hello', { correlationId: 'talk', traceparent })
      await answered.waitHandled(1)
      const { message } = answered.handled[0] ?? assert.fail()
      assert.deepEqual(message.data, { to: id })
      assert.notEqual(message.id, id)
      assert.equal(message.causationId, id)
      assert.equal(message.correlationId, 'talk')
      assert.equal(message.traceparent, traceparent)
    },
  },
  {
    id: 'publish/room',
    group,
    invariant: 10,
    title: 'with a buffer smaller than the load, publish waits for room and everything is confirmed',
    async run(ctx) {
      const bus = await ctx.bus({ publish: { maxBufferedBytes: 32_768, maxBatchSize: 10 } })
      const [topic, probe, record] = [ctx.topic(), ctx.probe(), ctx.recorder(bus)]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const receipts = await Promise.all(Array.from({ length: 200 }, () => bus.publish(topic, ctx.random.bytes(4_000))))
      await probe.waitExactly(receipts.map(({ id }) => id))
      assert.ok(record.count('bufferFull') >= 1, 'the full buffer must be reported')
      for (const { bufferedBytes } of record.of('bufferFull')) assert.ok(bufferedBytes <= 32_768 + 4_096 + 1_024)
    },
  },
  {
    id: 'publish/survives-reopen',
    group,
    invariant: 1,
    title: 'a confirmed message is still there after every process of ours has exited',
    needs: ['durable', 'replay:position'],
    async run(ctx) {
      const topic = ctx.topic()
      const publisher = await ctx.startedBus()
      const ids = await publishAll(publisher, topic, numbered(50, 3))
      await publisher.close()
      const [bus, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { from: 'earliest' })
      await bus.start()
      await probe.waitExactly(ids)
    },
  },
]

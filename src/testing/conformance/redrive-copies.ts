import assert from 'node:assert/strict'
import type { EncodedMessage } from '../../core/message.ts'
import { outgoing, publishRaw } from './raw.ts'
import type { Scenario } from './scenario.ts'
import { Planned, publishAll, quick } from './shorthand.ts'

const group = 'dead-letter'

/** What a redriven copy contains, and the order in which copies are sent. */
export const redriveCopyScenarios: readonly Scenario[] = [
  {
    id: 'dead-letter/restores-everything',
    group,
    invariant: 6,
    title:
      'every attribute, every header and every byte of a message is the same after a retry, as a dead letter and after its redrive',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      let works = false
      const seen: EncodedMessage[] = []
      const probe = ctx.probe((message) => {
        seen.push(message.encoded)
        if (!works) throw new Planned('not yet')
      })
      // Without an order, a retry waits at the broker where possible: with some brokers as a copy.
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(2), order: 'none' })
      await bus.start()
      const message = outgoing(topic, {
        type: 'com.example.order.placed.v2',
        source: '/shops/7?branch=north',
        time: Date.UTC(2024, 1, 29, 12, 30, 15, 250),
        key: 'customer 42 · žluťoučký',
        contentType: 'application/vnd.example+avro; v=2',
        subject: 'orders/4711',
        dataSchema: 'https://schemas.example/order/2',
        version: 2,
        correlationId: 'talk-1',
        causationId: 'cause-1',
        traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01',
        tracestate: 'vendor=a:b,other=1',
        expiresAt: Math.floor(Date.now() / 1_000) * 1_000 + 3_600_000,
        headers: { 'x-extension': 'grün 🌱', 'x-empty': '', 'Content-Language': 'de', 'x-number': '007' },
        body: Buffer.from(Array.from({ length: 512 }, (_, at) => at % 256)),
      })
      await publishRaw(await ctx.transport(), [message])
      const [letter] = await ctx.deadLetters(bus, topic, name, 1)
      const expected = attributesOf(message)
      assert.deepEqual(attributesOf(letter?.message ?? assert.fail()), expected, 'as a dead letter')
      works = true
      assert.equal((await bus.deadLetters(topic, name).redrive()).redriven, 1)
      await probe.waitExactly([message.id])
      assert.equal(seen.length, 3, 'two attempts, and one after the redrive')
      for (const [index, each] of seen.entries())
        assert.deepEqual(attributesOf(each), expected, `at delivery ${index + 1}`)
      assert.equal(seen[2]?.headers['busbar-redrives'], '1')
    },
  },
  {
    id: 'dead-letter/redrive-largest',
    group,
    invariant: 6,
    title: 'a message of exactly the largest size can be dead-lettered and redriven, more than once',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      let works = false
      const probe = ctx.probe(() => {
        if (!works) throw new Planned('x'.repeat(10_000))
      })
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(1), prefetchBytes: 64 * 1_048_576 })
      await bus.start()
      // Above 16 MiB the broker has enough room, but the test does not.
      const length = Math.min(ctx.capabilities.maxMessageBytes, 16 * 1_048_576)
      const { id } = await bus.publish(topic, new Uint8Array(length).fill(7))
      const letters = bus.deadLetters(topic, name)
      await ctx.deadLetters(bus, topic, name, 1)
      assert.deepEqual(await letters.redrive(), { matched: 1, redriven: 1, failed: [] })
      const again = await ctx.waitUntil(async () => {
        const [letter] = await letters.list()
        return letter?.redrives === 1 ? letter : undefined
      }, 'the message to be dead again')
      assert.equal(again.message.body?.byteLength, length)
      works = true
      assert.deepEqual(await letters.redrive(), { matched: 1, redriven: 1, failed: [] })
      await probe.waitExactly([id])
      assert.equal(probe.handled[0]?.message.body?.byteLength, length)
    },
  },
  {
    id: 'dead-letter/redrive-same-id',
    group,
    invariant: 6,
    title: 'two messages with one id but different sources are two: both are dead-lettered, redriven and handled again',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      let works = false
      const probe = ctx.probe(() => {
        if (!works) throw new Planned('not yet')
      })
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(1) })
      await bus.start()
      const sources = ['/shops/1', '/shops/2']
      const messages = sources.map((source) =>
        outgoing(topic, { id: 'order-1', source, body: Buffer.from(JSON.stringify({ from: source })) }),
      )
      await publishRaw(await ctx.transport(), messages)
      const letters = bus.deadLetters(topic, name)
      // Twice: the copies have the same id and the same number of redrives.
      for (const [round] of sources.entries()) {
        await ctx.waitUntil(
          async () => (await letters.list()).filter(({ redrives }) => redrives === round).length === 2,
          `both messages to be dead in round ${round + 1}`,
        )
        works = round === 1
        assert.deepEqual(await letters.redrive(), { matched: 2, redriven: 2, failed: [] })
      }
      await ctx.waitUntil(
        () => probe.handled.length === 2,
        () => `${probe.handled.length} of 2 handled after the redrive`,
      )
      const handled = probe.handled.map(({ message }) => [message.source, message.data])
      assert.deepEqual(
        handled.sort(([a], [b]) => String(a).localeCompare(String(b))),
        sources.map((source) => [source, { from: source }]),
      )
      assert.deepEqual(await letters.list(), [])
    },
  },
  {
    id: 'dead-letter/redrive-order',
    group,
    invariant: 5,
    title: 'what has been redriven more often goes first: it was ahead in its key',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      let works = false
      const probe = ctx.probe(() => {
        if (!works) throw new Planned('not yet')
      })
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(1) })
      await bus.start()
      const key = 'one'
      const ids = await publishAll(bus, topic, [
        { data: 0, key },
        { data: 1, key },
        { data: 2, key },
      ])
      const letters = bus.deadLetters(topic, name)
      await ctx.deadLetters(bus, topic, name, 3)
      // The first one fails twice more, the second once: both are then behind the third in the dead-letter topic.
      for (const [round, some] of [ids.slice(0, 2), ids.slice(0, 1)].entries()) {
        await letters.redrive({ ids: some })
        await ctx.waitUntil(
          async () => {
            const list = await letters.list()
            return list.length === 3 && list.filter(({ redrives }) => redrives > round).length === some.length
          },
          `${some.length} messages to be dead again in round ${round + 1}`,
        )
      }
      works = true
      assert.deepEqual(await letters.redrive(), { matched: 3, redriven: 3, failed: [] })
      await probe.waitExactly(ids)
      if (ctx.capabilities.ordering !== 'none') probe.assertOrder(ids)
    },
  },
]

/** What belongs to the message itself, without Busbar's notes about its way. */
function attributesOf(message: EncodedMessage): unknown {
  const headers = Object.entries(message.headers).filter(([name]) => !name.startsWith('busbar-'))
  return {
    id: message.id,
    topic: message.topic,
    type: message.type,
    source: message.source,
    time: message.time,
    key: message.key,
    contentType: message.contentType,
    subject: message.subject,
    dataSchema: message.dataSchema,
    version: message.version,
    correlationId: message.correlationId,
    causationId: message.causationId,
    traceparent: message.traceparent,
    tracestate: message.tracestate,
    expiresAt: message.expiresAt,
    headers: Object.fromEntries(headers),
    body: Buffer.from(message.body ?? []).toString('hex'),
  }
}

import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { textCodec } from '../../core/codec.ts'
import { defineEvent } from '../../core/define.ts'
import { outgoing, publishRaw } from './raw.ts'
import type { Scenario } from './scenario.ts'
import { Planned, quick } from './shorthand.ts'

const group = 'bad-bytes'

const EVERY_BYTE = Uint8Array.from({ length: 512 }, (_, index) => index & 0xff)

export const badBytesScenarios: readonly Scenario[] = [
  {
    id: 'bad-bytes/empty',
    group,
    invariant: 3,
    title: 'an empty body is a body',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe((message) => message.data)]
      ctx.consume(bus, topic, probe.handler(), { order: 'none' })
      await bus.start()
      const text = defineEvent<string>(topic, { codec: textCodec })
      const bytes = await bus.publish(topic, new Uint8Array(0))
      const words = await bus.publish(text, '')
      const quotes = await bus.publish(topic, '')
      await probe.waitExactly([bytes.id, words.id, quotes.id])
      const of = (id: string): unknown => probe.handled.find((seen) => seen.id === id)?.message.data
      assert.deepEqual(Buffer.from(of(bytes.id) as Uint8Array).byteLength, 0)
      assert.equal(of(words.id), '')
      assert.equal(of(quotes.id), '')
    },
  },
  {
    id: 'bad-bytes/binary',
    group,
    invariant: 3,
    title: 'bytes that are no text come through unharmed',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { order: 'none' })
      await bus.start()
      // Includes a view in the middle of a larger buffer: the bytes around it must not be sent.
      const bodies = [
        EVERY_BYTE,
        EVERY_BYTE.subarray(200, 300),
        Uint8Array.of(0),
        Uint8Array.of(0xff, 0xfe, 0xc3, 0x28),
      ]
      const ids: string[] = []
      for (const body of bodies) ids.push((await bus.publish(topic, body)).id)
      await probe.waitExactly(ids)
      for (const [index, id] of ids.entries()) {
        const message = probe.handled.find((seen) => seen.id === id)?.message ?? assert.fail()
        assert.ok(message.data instanceof Uint8Array)
        assert.deepEqual(Buffer.from(message.data), Buffer.from(bodies[index] ?? []))
      }
    },
  },
  {
    id: 'bad-bytes/unicode',
    group,
    invariant: 3,
    title: 'text of any script, control characters and half pairs come through JSON as they are',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const texts = [
        'žluťoučký',
        '🌱👩‍👩‍👧',
        'שלום',
        'a\0b',
        '\u2028\u2029',
        '\ud800',
        'e\u0301',
        '\r\n\t',
        '\ufffd',
        '\ufeff',
      ]
      const { id } = await bus.publish(topic, { texts, __proto__: null, ключ: 1 })
      await probe.waitExactly([id])
      assert.deepEqual(probe.handled[0]?.message.data, { texts, ключ: 1 })
    },
  },
  {
    id: 'bad-bytes/header-values',
    group,
    invariant: 3,
    title: 'header values of any text come through as they are: unicode, empty, long, percent signs, commas',
    async run(ctx) {
      const headers: Record<string, string> = {
        'x-unicode': 'žluť 🌱 שלום',
        'x-empty': '',
        'x-long': 'v'.repeat(8_000),
        'x-percent': '100% %41 %zz',
        'x-comma': 'a, b; c="d"',
        'x-colon': 'a: b',
        'x-json': '{"a":[1,null]}',
        'x-number': '007',
      }
      await headersComeThrough(ctx, headers)
    },
  },
  {
    id: 'bad-bytes/header-padding',
    group,
    invariant: 3,
    title: 'blanks around a header value are part of it',
    run: (ctx) =>
      headersComeThrough(ctx, { 'x-padded': '  two before, two after  ', 'x-blank': ' ', 'x-tab': '\tx\t' }),
  },
  {
    id: 'bad-bytes/header-names',
    group,
    invariant: 3,
    title: 'header names keep their spelling; those of JavaScript’s own are names like others',
    async run(ctx) {
      const headers = Object.assign(Object.create(null) as Record<string, string>, {
        constructor: 'c',
        toString: 't',
        hasOwnProperty: 'h',
        "x!#$%&'*+-.^_`|~9": 'odd',
        MixedCase: 'm',
        id: 'not the id',
        time: 'not the time',
        key: 'not the key',
      })
      await headersComeThrough(ctx, headers)
    },
  },
  {
    id: 'bad-bytes/header-case',
    group,
    invariant: 3,
    title: 'header names that differ in case alone are two headers',
    run: (ctx) => headersComeThrough(ctx, { 'x-case': 'lower', 'X-Case': 'upper' }),
  },
  {
    id: 'bad-bytes/headers-refused',
    group,
    invariant: 3,
    title: 'headers that could break a protocol are refused, with every problem named, and nothing is sent',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const refused: Record<string, string>[] = [
        { 'x-line': 'a\nb' },
        { 'x-return': 'a\rb' },
        { 'x-nul': 'a\0b' },
        { 'x y': 'blank in the name' },
        { 'x:y': 'colon in the name' },
        { 'x-half': '\ud800' },
        { 'x-huge': 'v'.repeat(65_536) },
        { traceparent: '00-x' },
        JSON.parse('{"__proto__": "p"}') as Record<string, string>,
        { 'x-number': 1 as unknown as string },
      ]
      for (const headers of refused)
        await assert.rejects(
          () => bus.publish(topic, 1, { headers }),
          { code: 'BUSBAR_VALIDATION' },
          JSON.stringify(headers).slice(0, 60),
        )
      const { id } = await bus.publish(topic, 'sentinel')
      await probe.waitExactly([id])
    },
  },
  {
    id: 'bad-bytes/keys-and-ids',
    group,
    invariant: 3,
    title: 'keys and ids of any text come through as they are',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const texts = [
        'a b',
        'a.b',
        'a/b:c',
        '*',
        '>',
        'žluť 🌱',
        '%41',
        "o'brien",
        '{"a":1}',
        'x'.repeat(256),
        'NaN',
        '-1',
      ]
      const sent = new Map<string, string>()
      for (const text of texts) {
        const id = `${randomUUID().slice(0, 8)}${text}`.slice(0, 256)
        sent.set(id, text)
        await bus.publish(topic, 1, { id, key: text, subject: text })
      }
      await probe.waitExactly([...sent.keys()])
      for (const { id, key, message } of probe.handled) {
        assert.equal(key, sent.get(id))
        assert.equal(message.subject, sent.get(id))
      }
    },
  },
  {
    id: 'bad-bytes/unknown-content-type',
    group,
    invariant: 3,
    title: 'a content type without a decoder is dead-lettered when its data is asked for, and fine when it is not',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, transport] = [await ctx.bus(), ctx.topic(), await ctx.transport()]
      const names = [ctx.group('asks'), ctx.group('bytes')] as const
      const asks = ctx.probe((message) => message.data)
      const bytes = ctx.probe((message) => message.body)
      ctx.consume(bus, topic, asks.handler(), { group: names[0], retry: quick(4) })
      ctx.consume(bus, topic, bytes.handler(), { group: names[1] })
      await bus.start()
      const body = Buffer.from('whatever')
      const ids = await publishRaw(transport, [outgoing(topic, { contentType: 'application/x-made-up', body })])
      await bytes.waitExactly(ids)
      assert.equal(bytes.handled[0]?.message.contentType, 'application/x-made-up')
      const [letter] = await ctx.deadLetters(bus, topic, names[0], 1)
      assert.equal(letter?.reason, 'undecodable')
      assert.equal(letter?.message.contentType, 'application/x-made-up')
      assert.equal(asks.started.length, 1)
    },
  },
  {
    id: 'bad-bytes/buffer-reuse',
    group,
    invariant: 1,
    title: 'once publish has resolved, the publisher may use its buffer for something else',
    async run(ctx) {
      const [bus, topic, gate] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const probe = ctx.probe((_message, { attempt }) => {
        if (attempt === 1) return gate.opened.then(() => Promise.reject(new Planned('see it once more')))
        return undefined
      })
      const bodies: string[] = []
      const handler = probe.handler()
      ctx.consume(
        bus,
        topic,
        (message, context) => {
          if (context.attempt > 1) bodies.push(Buffer.from(message.body ?? []).toString())
          return handler(message, context)
        },
        { retry: quick(2) },
      )
      await bus.start()
      const body = Buffer.from('original')
      const { id } = await bus.publish(topic, body)
      body.fill('x')
      gate.open()
      await probe.waitExactly([id])
      assert.deepEqual(bodies, ['original'])
    },
  },
  {
    id: 'bad-bytes/handler-scribbles',
    group,
    invariant: 6,
    title: 'a handler that writes into its message does not change it for another group',
    needs: ['groups', 'admin'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const name = ctx.group('scribbler')
      const scribbler = ctx.probe((message) => {
        const data = message.data as { list: number[] }
        data.list.push(99)
        throw new Planned('after writing')
      })
      const reader = ctx.probe()
      ctx.consume(bus, topic, scribbler.handler(), { group: name, retry: quick(2) })
      await bus.start()
      const { id } = await bus.publish(topic, { list: [1] })
      const [letter] = await ctx.deadLetters(bus, topic, name, 1)
      assert.equal(Buffer.from(letter?.message.body ?? []).toString(), '{"list":[1]}')
      if (!ctx.capabilities.replay.includes('position')) return
      await ctx.consume(bus, topic, reader.handler(), { group: ctx.group('reader'), from: 'earliest' }).ready
      await reader.waitExactly([id])
      assert.deepEqual(reader.handled[0]?.message.data, { list: [1] })
    },
  },
]

async function headersComeThrough(
  ctx: Parameters<Scenario['run']>[0],
  headers: Readonly<Record<string, string>>,
): Promise<void> {
  const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
  ctx.consume(bus, topic, probe.handler())
  await bus.start()
  const { id } = await bus.publish(topic, 1, { headers })
  await probe.waitExactly([id])
  const received = probe.handled[0]?.message.headers ?? {}
  assert.deepEqual(new Map(Object.entries(received)), new Map(Object.entries(headers)))
  assert.equal(Object.getPrototypeOf(received), null, 'headers must not inherit names')
}

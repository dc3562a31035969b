// Longer than most files: a list of scenarios, each independent of the others.
import assert from 'node:assert/strict'
import type { DeadLetter } from '../../core/bus-types.ts'
import { defineEvent } from '../../core/define.ts'
import { bodyOf } from '../../core/message.ts'
import { deadLetterTopic } from '../../core/topic.ts'
import type { StandardSchema } from '../../core/standard-schema.ts'
import type { ScenarioContext } from './context.ts'
import { outgoing, publishRaw } from './raw.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, numbered, Planned, publishAll, quick } from './shorthand.ts'

const group = 'dead-letter'

export const deadLetterScenarios: readonly Scenario[] = [
  {
    id: 'dead-letter/exhausted',
    group,
    invariant: 3,
    title: 'out of attempts: the dead letter has the original id, bytes and headers, and everything about the failure',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const probe = ctx.probe((_message, { position, attempt }) => {
        positions.push(position)
        throw Object.assign(new Planned(`attempt ${attempt} · žluťoučký\nsecond line`), {})
      })
      const positions: unknown[] = []
      const record = ctx.recorder(bus)
      const handle = ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(3) })
      await bus.start()
      const before = Date.now()
      const body = { text: 'grün 🌱', n: 1.5 }
      const headers = { 'x-origin': 'test', 'x-unicode': 'grün 🌱' }
      const { id } = await bus.publish(topic, body, { key: 'k', headers, correlationId: 'talk', type: 'com.example' })
      const letter = await only(ctx, topic, name, bus)
      assert.equal(letter.message.id, id)
      assert.equal(letter.message.topic, topic)
      assert.equal(letter.message.key, 'k')
      assert.equal(letter.message.type, 'com.example')
      assert.equal(letter.message.correlationId, 'talk')
      assert.equal(letter.message.contentType, 'application/json')
      assert.deepEqual({ ...letter.message.headers }, headers)
      assert.equal(Buffer.from(letter.message.body ?? []).toString(), JSON.stringify(body))
      assert.equal(letter.reason, 'exhausted')
      assert.equal(letter.errorName, 'Planned')
      assert.equal(letter.errorMessage, 'planned: attempt 3 · žluťoučký\nsecond line')
      assert.match(letter.errorStack ?? '', /Planned: planned: attempt 3[^]*at /)
      assert.equal(letter.attempts, 3)
      assert.equal(letter.redrives, 0)
      assert.deepEqual(letter.originalPosition, positions.at(-1))
      assert.ok(letter.firstAttemptAt.getTime() >= before - 1)
      assert.ok(letter.lastAttemptAt >= letter.firstAttemptAt)
      assert.ok(letter.lastAttemptAt.getTime() <= Date.now() + 1)
      // The broker may show a letter before it confirms it.
      const event = await record.waitFor('deadLetter')
      assert.equal(event.deadLetterTopic, deadLetterTopic(topic, name))
      assert.equal(event.message.id, id)
      assert.equal(record.count('deadLetter'), 1)
      assert.equal(handle.stats().deadLettered, 1)
      assert.deepEqual(probe.attemptsOf(id), [1, 2, 3])
      await ctx.idle(bus, topic, name)
    },
  },
  {
    id: 'dead-letter/rejected',
    group,
    invariant: 3,
    title: 'ctx.reject goes to the dead letters at once, without further attempts',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const probe = ctx.probe((_message, handler) => handler.reject('not for us'))
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(5) })
      await bus.start()
      const { id } = await bus.publish(topic, 1)
      const letter = await only(ctx, topic, name, bus)
      assert.deepEqual(
        [letter.message.id, letter.reason, letter.errorName, letter.errorMessage, letter.attempts],
        [id, 'rejected', 'RejectError', 'not for us', 1],
      )
      assert.equal(probe.started.length, 1)
    },
  },
  {
    id: 'dead-letter/retry-if',
    group,
    invariant: 3,
    title: 'retryIf that says no ends the attempts; one that says yes does not',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const probe = ctx.probe((message) => {
        throw new Planned(String(message.data))
      })
      const retry = {
        ...quick(3),
        retryIf: (error: unknown) => error instanceof Error && error.message.includes('again'),
      }
      ctx.consume(bus, topic, probe.handler(), { group: name, retry })
      await bus.start()
      const never = await bus.publish(topic, 'never')
      const again = await bus.publish(topic, 'again')
      const letters = await ctx.deadLetters(bus, topic, name, 2)
      const attempts = new Map(letters.map((letter) => [letter.message.id, letter.attempts]))
      assert.deepEqual([attempts.get(never.id), attempts.get(again.id)], [1, 3])
      assert.deepEqual(probe.attemptsOf(never.id), [1])
    },
  },
  {
    id: 'dead-letter/undecodable',
    group,
    invariant: 3,
    title: 'a body that can not be decoded is dead-lettered with its very bytes, at the first attempt',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name, transport] = [await ctx.bus(), ctx.topic(), ctx.group(), await ctx.transport()]
      const probe = ctx.probe((message) => message.data)
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(5) })
      await bus.start()
      const bodies = [Buffer.from('{"open":'), Buffer.from([0xff, 0xfe, 0x00, 0x80])]
      const ids = await publishRaw(
        transport,
        bodies.map((body) => outgoing(topic, { body, headers: { 'x-odd': 'yes' } })),
      )
      const letters = await ctx.deadLetters(bus, topic, name, 2)
      for (const [index, id] of ids.entries()) {
        const letter = letters.find(({ message }) => message.id === id) ?? assert.fail(`${id} is missing`)
        assert.equal(letter.reason, 'undecodable')
        assert.equal(letter.errorName, 'CodecError')
        assert.equal(letter.attempts, 1)
        assert.ok(bodies[index]?.equals(bodyOf(letter.message)))
        assert.equal(letter.message.headers['x-odd'], 'yes')
      }
      const { id } = await bus.publish(topic, 'fine')
      await probe.waitExactly([id])
    },
  },
  {
    id: 'dead-letter/invalid',
    group,
    invariant: 3,
    title: 'data that does not fit the schema never reaches the handler',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const event = defineEvent(topic, numberSchema)
      const probe = ctx.probe()
      ctx.consume(bus, event, probe.handler(), { group: name, retry: quick(5) })
      await bus.start()
      await assert.rejects(() => bus.publish(event, 'text' as never), { code: 'BUSBAR_VALIDATION' })
      const bad = await bus.publish(topic, 'text')
      const good = await bus.publish(event, 7)
      const letter = await only(ctx, topic, name, bus)
      assert.deepEqual(
        [letter.message.id, letter.reason, letter.errorName, letter.attempts],
        [bad.id, 'invalid', 'ValidationError', 1],
      )
      await probe.waitExactly([good.id])
      assert.equal(probe.started.length, 1)
      assert.equal(probe.handled[0]?.message.data, 7)
    },
  },
  {
    id: 'dead-letter/expired',
    group,
    invariant: 3,
    title: 'what expired before it was handled is dead-lettered, not handled',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name, gate] = [await ctx.bus(), ctx.topic(), ctx.group(), ctx.gate()]
      const probe = ctx.probe((message) => (message.data === 'slow' ? gate.opened : undefined))
      ctx.consume(bus, topic, probe.handler(), { group: name, concurrency: 1, order: 'none' })
      await bus.start()
      const slow = await bus.publish(topic, 'slow')
      await probe.waitStarted(1)
      const short = await bus.publish(topic, 'short', { ttlMs: 1 })
      const long = await bus.publish(topic, 'long', { ttlMs: 600_000 })
      const expiry = Date.now() + 1
      await ctx.waitUntil(() => Date.now() > expiry, 'the message to expire')
      gate.open()
      await probe.waitExactly([slow.id, long.id])
      const letter = await only(ctx, topic, name, bus)
      assert.deepEqual([letter.message.id, letter.reason], [short.id, 'expired'])
      assert.ok(!probe.started.some(({ id }) => id === short.id))
    },
  },
  {
    id: 'dead-letter/drop',
    group,
    invariant: 3,
    title: 'only with deadLetter drop is anything thrown away, and it is counted and reported',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const probe = ctx.probe((message) => {
        if (Number(message.data) % 2 === 0) throw new Planned('the even ones')
      })
      const record = ctx.recorder(bus)
      const handle = ctx.consume(bus, topic, probe.handler(), { group: name, deadLetter: 'drop', retry: quick(2) })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(10, 3))
      await probe.waitExactly(ids.filter((_, index) => index % 2 === 1))
      await ctx.waitUntil(
        () => handle.stats().dropped === 5,
        () => handle.stats(),
      )
      assertSame(
        record.of('drop').map(({ message }) => message.id),
        ids.filter((_, index) => index % 2 === 0),
      )
      await ctx.idle(bus, topic, name)
      assert.deepEqual(await bus.deadLetters(topic, name).list(), [])
    },
  },
  {
    id: 'dead-letter/odd-errors',
    group,
    invariant: 13,
    title: 'whatever a handler throws, the dead letter says something sensible of it',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const circular: Record<string, unknown> = {}
      circular['self'] = circular
      const thrown: Record<string, unknown> = {
        text: 'just text',
        nothing: undefined,
        null: null,
        number: 42,
        object: { code: 7 },
        circular,
        symbol: Symbol('odd'),
        bare: Object.create(null),
        long: new Error('x'.repeat(100_000)),
        lines: new Error('a\r\nb\0c 🌱'),
      }
      const probe = ctx.probe((message) => {
        throw thrown[String(message.data)]
      })
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(1) })
      await bus.start()
      const results = await publishAll(
        bus,
        topic,
        Object.keys(thrown).map((data) => ({ data })),
      )
      const letters = await ctx.deadLetters(bus, topic, name, results.length)
      const messages = new Map(
        letters.map((letter) => [JSON.parse(Buffer.from(letter.message.body ?? []).toString()), letter]),
      )
      for (const letter of letters) assert.ok(letter.errorName !== '' && letter.reason === 'exhausted')
      assert.equal(messages.get('text')?.errorMessage, 'just text')
      assert.equal(messages.get('lines')?.errorMessage, 'a\r\nb\0c 🌱')
      assert.match(messages.get('long')?.errorMessage ?? '', /^x{100,}$/)
    },
  },
  {
    id: 'dead-letter/cause',
    group,
    invariant: 3,
    title: 'the dead letter names what really failed: the cause of a retry, the chain of causes, their codes',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const refused = Object.assign(new Error('connect ECONNREFUSED ☎'), { code: 'ECONNREFUSED' })
      const failed = new TypeError('fetch failed', { cause: refused })
      const probe = ctx.probe((message, handler) => {
        if (message.data === 'retry') return handler.retry({ delayMs: 1, cause: failed })
        if (message.data === 'reject') return handler.reject('not for us', { cause: failed })
        throw Object.assign(new Error('duplicate key'), { code: 23505, errors: [failed] })
      })
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(2) })
      await bus.start()
      const kinds = ['retry', 'reject', 'throw']
      const ids = await publishAll(
        bus,
        topic,
        kinds.map((data) => ({ data })),
      )
      const letters = await ctx.deadLetters(bus, topic, name, 3)
      const [retried, rejected, thrown] = ids.map((id) => letters.find(({ message }) => message.id === id))
      const chain = [
        { name: 'TypeError', message: 'fetch failed', code: undefined },
        { name: 'Error', message: 'connect ECONNREFUSED ☎', code: 'ECONNREFUSED' },
      ]
      assert.deepEqual(
        [retried?.errorName, retried?.errorMessage, retried?.errorStack, retried?.errorCause],
        ['TypeError', 'fetch failed', failed.stack, chain.slice(1)],
      )
      assert.deepEqual(
        [rejected?.errorName, rejected?.errorMessage, rejected?.errorCause],
        ['RejectError', 'not for us', chain],
      )
      assert.deepEqual([thrown?.errorMessage, thrown?.errorCode, thrown?.errorCause], ['duplicate key', '23505', chain])
      assert.equal(thrown?.data(), 'throw')
    },
  },
  {
    id: 'dead-letter/nested',
    group,
    invariant: 6,
    title: 'a consumer of a dead-letter topic that fails leaves the first story as it was, also after a redrive',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const [bus, topic, name, watching] = [await ctx.bus(), ctx.topic(), ctx.group('failing'), ctx.group('alerts')]
      const letterTopic = deadLetterTopic(topic, name)
      const failing = ctx.probe(() => {
        throw new Planned('card refused')
      })
      let works = false
      const alerts = ctx.probe(() => {
        if (!works) throw new Planned('pager down')
      })
      ctx.consume(bus, topic, failing.handler(), { group: name, retry: quick(2) })
      ctx.consume(bus, letterTopic, alerts.handler(), { group: watching, retry: quick(1) })
      await bus.start()
      const { id } = await bus.publish(topic, { a: 1 }, { headers: { 'x-own': 'kept' } })
      const letter = await only(ctx, letterTopic, watching, bus)
      assert.deepEqual(
        [letter.message.id, letter.message.topic, letter.errorMessage, letter.redrives],
        [id, letterTopic, 'planned: pager down', 0],
      )
      assert.equal(letter.message.headers['busbar-dlq-message'], 'planned: card refused')
      works = true
      assert.equal((await bus.deadLetters(letterTopic, watching).redrive()).redriven, 1)
      await alerts.waitExactly([id])
      const { headers } = alerts.handled[0]?.message ?? assert.fail()
      assert.deepEqual(
        [headers['x-own'], headers['busbar-dlq-topic'], headers['busbar-dlq-group'], headers['busbar-dlq-attempts']],
        ['kept', topic, name, '2'],
      )
      assert.equal(headers['busbar-dlq-message'], 'planned: card refused')
      assert.match(headers['busbar-dlq-stack'] ?? '', /card refused/)
    },
  },
  {
    id: 'dead-letter/plain-topic',
    group,
    invariant: 6,
    title: 'the dead-letter topic is a topic: its consumers see the original message and the reasons in headers',
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const watch = ctx.probe()
      const probe = ctx.probe(() => {
        throw new Planned('always')
      })
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(2) })
      ctx.consume(bus, deadLetterTopic(topic, name), watch.handler(), { group: ctx.group('watch') })
      await bus.start()
      const { id } = await bus.publish(topic, { a: 1 }, { headers: { 'x-own': 'kept' } })
      await watch.waitExactly([id])
      const { message } = watch.handled[0] ?? assert.fail()
      assert.deepEqual(message.data, { a: 1 })
      assert.equal(message.headers['x-own'], 'kept')
      assert.equal(message.headers['busbar-dlq-topic'], topic)
      assert.equal(message.headers['busbar-dlq-group'], name)
      assert.equal(message.headers['busbar-dlq-reason'], 'exhausted')
      assert.equal(message.headers['busbar-dlq-attempts'], '2')
    },
  },
  {
    id: 'dead-letter/per-group',
    group,
    invariant: 6,
    title: 'each group has its own dead letters; the same message may be dead for one and handled by the other',
    needs: ['groups', 'admin'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const names = [ctx.group('a'), ctx.group('b'), ctx.group('well')] as const
      const failing = ctx.probe((_message, { group: name }) => {
        throw new Planned(`group ${name}`)
      })
      const well = ctx.probe()
      ctx.consume(bus, topic, failing.handler(), { group: names[0], retry: quick(1) })
      ctx.consume(bus, topic, failing.handler(), { group: names[1], retry: quick(1) })
      ctx.consume(bus, topic, well.handler(), { group: names[2] })
      await bus.start()
      const { id } = await bus.publish(topic, 1)
      for (const name of names.slice(0, 2)) {
        const letter = await only(ctx, topic, name, bus)
        assert.deepEqual([letter.message.id, letter.errorMessage], [id, `planned: group ${name}`])
      }
      await well.waitExactly([id])
      assert.deepEqual(await bus.deadLetters(topic, names[2]).list(), [])
    },
  },
  {
    id: 'dead-letter/largest',
    group,
    invariant: 4,
    title: 'a message that just fits the broker can still be dead-lettered',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const probe = ctx.probe((message) => {
        if (message.data instanceof Uint8Array) throw new Planned('too much')
      })
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(1), prefetchBytes: 64 * 1_048_576 })
      await bus.start()
      // Above 16 MiB the broker has enough room, but the test does not.
      const limit = Math.min(ctx.capabilities.maxMessageBytes, 16 * 1_048_576)
      const { id } = await bus.publish(topic, new Uint8Array(limit - 1_024).fill(7))
      const letter = await only(ctx, topic, name, bus)
      assert.equal(letter.message.id, id)
      assert.equal(letter.message.body?.byteLength, limit - 1_024)
      const after = await bus.publish(topic, 'after')
      await probe.waitExactly([after.id])
    },
  },
]

/** Fits numbers. */
const numberSchema: StandardSchema<number, number> = {
  '~standard': {
    version: 1,
    vendor: 'conformance',
    validate: (value) => (typeof value === 'number' ? { value } : { issues: [{ message: 'is not a number' }] }),
  },
}

async function only(
  ctx: ScenarioContext,
  topic: string,
  name: string,
  bus: Awaited<ReturnType<ScenarioContext['bus']>>,
): Promise<DeadLetter> {
  const [letter] = await ctx.deadLetters(bus, topic, name, 1)
  return letter ?? assert.fail()
}

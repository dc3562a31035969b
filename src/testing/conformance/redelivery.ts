import assert from 'node:assert/strict'
import { outgoing, publishRaw } from './raw.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, numbered, Planned, publishAll, quick, work } from './shorthand.ts'

const group = 'redelivery'

export const redeliveryScenarios: readonly Scenario[] = [
  ...(['auto', 'inline'] as const).map((mode): Scenario => ({
    id: `redelivery/retry-${mode}`,
    group,
    invariant: 7,
    title: `a failed message is tried again until it succeeds (mode ${mode}), each attempt with its number`,
    run: (ctx) => retryUntilSuccess(ctx, mode),
  })),
  {
    id: 'redelivery/retry-delayed',
    group,
    invariant: 7,
    title: 'a failed message is tried again until it succeeds (mode delayed), each attempt with its number',
    needs: ['redelivery', 'delay', 'attempts'],
    run: (ctx) => retryUntilSuccess(ctx, 'delayed'),
  },
  {
    id: 'redelivery/not-early',
    group,
    invariant: 7,
    title: 'a retry comes no earlier than its delay, and not much later',
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe((_message, { attempt }) => {
        if (attempt < 3) throw new Planned('twice')
      })
      ctx.consume(bus, topic, probe.handler(), { retry: quick(3, 150) })
      await bus.start()
      const { id } = await bus.publish(topic, 1, { key: 'k' })
      await probe.waitExactly([id])
      const [first, second, third] = probe.started.map(({ at }) => at) as [number, number, number]
      for (const waited of [second - first, third - second]) {
        assert.ok(waited >= 149, `waited ${waited} ms instead of 150`)
        assert.ok(waited <= 150 + ctx.precisionMs, `waited ${waited} ms instead of 150`)
      }
    },
  },
  {
    id: 'redelivery/other-group',
    group,
    invariant: 6,
    title: 'a retry of one group is not seen by another',
    needs: ['groups'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const failing = ctx.probe((_message, { attempt }) => {
        if (attempt < 4) throw new Planned('three times')
      })
      const well = ctx.probe()
      const groups = [ctx.group('failing'), ctx.group('well')] as const
      ctx.consume(bus, topic, failing.handler(), { group: groups[0], retry: quick(5) })
      ctx.consume(bus, topic, well.handler(), { group: groups[1] })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(10, 2))
      await failing.waitExactly(ids)
      await well.waitExactly(ids)
      await ctx.idle(bus, topic, groups[1])
      assert.equal(well.started.length, 10)
      assert.equal(failing.started.length, 40)
    },
  },
  {
    id: 'redelivery/not-now',
    group,
    invariant: 7,
    title: 'ctx.retry({ countAttempt: false }) puts a message off without using up an attempt',
    needs: ['redelivery'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      let left = 6
      const probe = ctx.probe((_message, handler) => {
        if (left-- > 0) handler.retry({ delayMs: 5, countAttempt: false })
      })
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, probe.handler(), { retry: quick(2) })
      await bus.start()
      const { id } = await bus.publish(topic, 1, { key: 'k' })
      await probe.waitExactly([id])
      assert.equal(probe.started.length, 7)
      assert.equal(record.count('deadLetter'), 0)
      assert.deepEqual(new Set(probe.attemptsOf(id)), new Set([1]), 'no attempt may be used up')
    },
  },
  {
    id: 'redelivery/attempts-survive-reopen',
    group,
    invariant: 7,
    title: 'attempts continue where they were when another instance takes over',
    needs: ['redelivery', 'attempts', 'delay'],
    async run(ctx) {
      const topic = ctx.topic()
      const failing = ctx.probe(() => {
        throw new Planned('always')
      })
      const first = await ctx.bus()
      const record = ctx.recorder(first)
      // Longer than closing takes: the second attempt goes to the other instance.
      ctx.consume(first, topic, failing.handler(), { retry: { ...quick(3, 400), mode: 'delayed' }, order: 'none' })
      await first.start()
      const { id } = await first.publish(topic, 1)
      await record.waitFor('retry')
      await first.close()
      assert.deepEqual(failing.attemptsOf(id), [1])
      const [second, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(second, topic, probe.handler(), { retry: quick(3), order: 'none' })
      await second.start()
      await probe.waitExactly([id])
      assert.deepEqual(probe.attemptsOf(id), [2])
    },
  },
  {
    id: 'redelivery/exhausted-across-reopen',
    group,
    invariant: 7,
    title: 'attempts of several instances together use up the attempts, no more and no less',
    needs: ['redelivery', 'attempts', 'delay', 'admin'],
    async run(ctx) {
      const topic = ctx.topic()
      const probe = ctx.probe(() => {
        throw new Planned('always')
      })
      const retry = { ...quick(4, 300), mode: 'delayed' as const }
      const first = await ctx.bus()
      const record = ctx.recorder(first)
      ctx.consume(first, topic, probe.handler('first'), { retry, order: 'none' })
      await first.start()
      const { id } = await first.publish(topic, 1)
      await record.waitFor('retry', ({ attempt }) => attempt === 2)
      await first.close()
      const second = await ctx.bus()
      ctx.consume(second, topic, probe.handler('second'), { retry: { ...retry, baseMs: 10 }, order: 'none' })
      await second.start()
      const [letter] = await ctx.deadLetters(second, topic, ctx.service, 1)
      assert.equal(letter?.attempts, 4)
      assert.deepEqual(probe.attemptsOf(id), [1, 2, 3, 4])
    },
  },
  {
    id: 'redelivery/closed-transport',
    group,
    invariant: 8,
    title: 'what a transport holds unsettled when it closes goes to others, soon',
    needs: ['redelivery'],
    async run(ctx) {
      const [transport, consumer, topic, name] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic(), ctx.group()]
      await consumer.subscribe(transport, { topic, group: name })
      consumer.request(10)
      const ids = await publishRaw(
        transport,
        Array.from({ length: 5 }, () => outgoing(topic)),
      )
      const taken = await consumer.take(5)
      await consumer.settle([taken[0] ?? assert.fail()])
      await transport.close()
      const [other, next] = [await ctx.transport(), ctx.rawConsumer()]
      await next.subscribe(other, { topic, group: name })
      next.request(10)
      const again = await next.take(4)
      assertSame(
        next.ids(),
        ids.filter((id) => id !== taken[0]?.message.id),
      )
      await next.settle(again)
    },
  },
  {
    id: 'redelivery/release-is-no-attempt',
    group,
    invariant: 7,
    title: 'a delivery that is handed back untouched comes again with the same number',
    needs: ['redelivery', 'attempts'],
    async run(ctx) {
      const [transport, consumer, topic] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic()]
      await consumer.subscribe(transport, { topic, group: ctx.group() })
      consumer.request(10)
      await publishRaw(transport, [outgoing(topic)])
      for (let round = 1; round <= 3; round++) {
        const all = await consumer.take(round)
        await consumer.settle([all[round - 1] ?? assert.fail()], { type: 'release', delayMs: 0 })
      }
      const released = await consumer.take(4)
      assert.deepEqual(
        released.map(({ attempt }) => attempt),
        [1, 1, 1, 1],
      )
      await consumer.settle([released[3] ?? assert.fail()], { type: 'nack', delayMs: 0 })
      const failed = await consumer.take(5)
      assert.equal(failed[4]?.attempt, 2, 'a nack counts')
      await consumer.settle([failed[4] ?? assert.fail()])
    },
  },
  {
    id: 'redelivery/nack-delay',
    group,
    invariant: 7,
    title: 'a nack with a delay comes again no earlier, while other messages flow',
    needs: ['redelivery', 'delay'],
    async run(ctx) {
      const [transport, consumer, topic] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic()]
      await consumer.subscribe(transport, { topic, group: ctx.group() })
      consumer.request(10)
      const [id] = await publishRaw(transport, [outgoing(topic)])
      const [first] = await consumer.take(1)
      const nackedAt = performance.now()
      await consumer.settle([first ?? assert.fail()], { type: 'nack', delayMs: 200 })
      const [other] = await publishRaw(transport, [outgoing(topic)])
      await consumer.take(2)
      const otherAfter = performance.now() - nackedAt
      await consumer.take(3)
      const after = performance.now() - nackedAt
      assert.deepEqual(
        consumer.ids(),
        [id, other, id],
        `the other came after ${otherAfter} ms, the nacked one after ${after} ms`,
      )
      assert.ok(after >= 199 && after <= 200 + ctx.precisionMs, `came again after ${after} ms instead of 200`)
      await consumer.settle(consumer.deliveries.slice(1))
    },
  },
  {
    id: 'redelivery/blocked-loop',
    group,
    invariant: 8,
    title: 'a handler that blocks the event loop for a while is neither run twice nor forgotten',
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe((message) => {
        if (message.data !== 0) return
        const until = performance.now() + 400
        while (performance.now() < until);
      })
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(10, 3))
      await probe.waitExactly(ids)
      await ctx.idle(bus, topic, ctx.service)
      probe.assertExactly(ids)
    },
  },
  {
    id: 'redelivery/slow-handler',
    group,
    invariant: 8,
    title: 'a handler that takes longer than a lease keeps its message, and what waits behind it, to itself',
    needs: ['redelivery', 'groups'],
    async run(ctx) {
      const [topic, name] = [ctx.topic(), ctx.group()]
      const { subscription } = await ctx.rawConsumer().subscribe(await ctx.transport(), { topic, group: ctx.group() })
      // Without a lease, a moment is enough; a lease longer than any test waits can't be tested.
      const slowMs = Math.min((subscription.leaseMs ?? 0) * 1.5 + 100, ctx.patienceMs / 2)
      const probe = ctx.probe((message) => (message.data === 0 ? work(slowMs) : undefined))
      const [first, second] = [await ctx.bus(), await ctx.bus()]
      ctx.consume(first, topic, probe.handler('first'), { group: name, concurrency: 1, prefetch: 10 })
      await first.start()
      const ids = await publishAll(
        first,
        topic,
        numbered(6).map((item) => ({ ...item, key: 'one' })),
      )
      await probe.waitStarted(1)
      ctx.consume(second, topic, probe.handler('second'), { group: name })
      await second.start()
      await probe.waitExactly(ids)
      await ctx.idle(second, topic, name)
      probe.assertExactly(ids)
      assert.deepEqual(probe.started[0]?.by, 'first')
      assert.equal(probe.started.filter(({ id }) => id === ids[0]).length, 1)
    },
  },
]

async function retryUntilSuccess(
  ctx: Parameters<Scenario['run']>[0],
  mode: 'auto' | 'inline' | 'delayed',
): Promise<void> {
  const [bus, topic] = [await ctx.bus(), ctx.topic()]
  const probe = ctx.probe((_message, { attempt }) => {
    if (attempt < 3) throw new Planned('twice')
  })
  const record = ctx.recorder(bus)
  const handle = ctx.consume(bus, topic, probe.handler(), { retry: { ...quick(5), mode } })
  await bus.start()
  const ids = await publishAll(bus, topic, numbered(12, 4))
  await probe.waitExactly(ids)
  for (const id of ids) assert.deepEqual(probe.attemptsOf(id), [1, 2, 3])
  await ctx.waitUntil(
    () => handle.stats().acked === 12,
    () => handle.stats(),
  )
  assert.equal(record.count('retry'), 24)
  assert.equal(record.count('deadLetter'), 0)
  assert.equal(handle.stats().retried, 24)
}

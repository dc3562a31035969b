import assert from 'node:assert/strict'
import type { Bus } from '../../core/bus-types.ts'
import type { ConsumeOptions } from '../../core/consume/consume-options.ts'
import type { ScenarioContext } from './context.ts'
import type { Probe } from './probe.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, idsOfKey, numbered, Planned, publishAll, quick, work } from './shorthand.ts'

const group = 'ordering'

export const orderingScenarios: readonly Scenario[] = [
  {
    id: 'ordering/key',
    group,
    invariant: 5,
    title: 'with much concurrency, messages of one key are handled one at a time and in order, keys side by side',
    needs: ['ordering'],
    async run(ctx) {
      const probe = ctx.probe(() => work(ctx.random.integer(0, 3)))
      await keyed(ctx, probe, 1, { concurrency: 32 }, { count: 400, keys: 20 })
      assert.ok(probe.maxRunning > 5, `keys must go on side by side, ran ${probe.maxRunning} at once`)
      assert.ok(probe.maxRunning <= 20)
    },
  },
  {
    id: 'ordering/key-retries',
    group,
    invariant: 5,
    title: 'failures and retries do not change the order within a key',
    needs: ['ordering', 'redelivery'],
    run: (ctx) => keyed(ctx, failing(ctx), 1, { concurrency: 16, retry: quick(4, 5) }, { count: 200, keys: 10 }),
  },
  {
    id: 'ordering/key-retries-inline',
    group,
    invariant: 5,
    title: 'retries that wait in the process do not change the order within a key',
    needs: ['ordering'],
    run: (ctx) =>
      keyed(
        ctx,
        failing(ctx),
        1,
        { concurrency: 16, retry: { ...quick(4, 5), mode: 'inline' } },
        { count: 200, keys: 10 },
      ),
  },
  {
    id: 'ordering/two-members',
    group,
    invariant: 5,
    title: 'across members too, messages of one key are handled one at a time and in order',
    needs: ['ordering:key'],
    run: (ctx) =>
      keyed(
        ctx,
        ctx.probe(() => work(ctx.random.integer(0, 2))),
        2,
        { concurrency: 8, prefetch: 16 },
        { count: 300, keys: 15 },
      ),
  },
  {
    id: 'ordering/two-members-retries',
    group,
    invariant: 5,
    title: 'across members, failures and retries do not change the order within a key',
    needs: ['ordering:key', 'redelivery'],
    run: (ctx) =>
      keyed(ctx, failing(ctx), 2, { concurrency: 8, prefetch: 16, retry: quick(4, 5) }, { count: 200, keys: 10 }),
  },
  {
    id: 'ordering/batch',
    group,
    invariant: 5,
    title: 'batches, with failures of single messages, keep the order within a key',
    needs: ['ordering', 'redelivery'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      const handler = probe.batchHandler(async (message, attempt) => {
        await work(0)
        return Number(message.data) % 11 === 3 && attempt < 3 ? new Planned('twice') : undefined
      })
      ctx.consume(bus, topic, handler, {
        batch: { size: 8, timeoutMs: 5 },
        concurrency: 4,
        retry: quick(4, 5),
      })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(200, 6))
      await probe.waitExactly(ids)
      probe.assertNoOverlap()
      for (let key = 0; key < 6; key++) probe.assertOrder(idsOfKey(ids, 6, key))
    },
  },
  {
    id: 'ordering/other-keys-go-on',
    group,
    invariant: 5,
    title: 'while one key waits for its retry, it alone waits',
    needs: ['ordering'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe((message, { attempt }) => {
        if (message.data === 'fails' && attempt === 1) throw new Planned('once')
      })
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, probe.handler(), { concurrency: 4, retry: quick(3, 600) })
      await bus.start()
      const fails = await bus.publish(topic, 'fails', { key: 'slow' })
      const behind = await bus.publish(topic, 'behind', { key: 'slow' })
      await record.waitFor('retry')
      const ids = await publishAll(bus, topic, numbered(40, 8))
      await probe.waitHandled(40)
      assertSame(probe.ids(), [...ids], 'the other keys must be done before the slow one')
      await probe.waitExactly([...ids, fails.id, behind.id])
      probe.assertOrder([fails.id, behind.id])
    },
  },
  {
    id: 'ordering/dead-letter-frees-the-key',
    group,
    invariant: 5,
    title: 'after a dead letter the key continues, in order',
    needs: ['ordering', 'admin'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe((message) => {
        if (message.data === 5) throw new Planned('always')
      })
      ctx.consume(bus, topic, probe.handler(), { retry: quick(3, 5) })
      await bus.start()
      const ids = await publishAll(
        bus,
        topic,
        numbered(12).map((item) => ({ ...item, key: 'one' })),
      )
      const rest = ids.filter((_, index) => index !== 5)
      await probe.waitExactly(rest)
      probe.assertOrder(rest)
      const order = probe.started.map(({ message }) => message.data)
      assert.ok(order.lastIndexOf(5) < order.indexOf(6), 'nothing may pass the failing message before it is dead')
      const [letter] = await ctx.deadLetters(bus, topic, ctx.service, 1)
      assert.equal(letter?.message.id, ids[5])
    },
  },
  {
    id: 'ordering/strict',
    group,
    invariant: 5,
    title: 'order strict: the whole topic one by one and in order, whatever the keys, also with failures',
    needs: ['ordering'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe(async (message, { attempt }) => {
        await work(0)
        if (Number(message.data) % 10 === 4 && attempt === 1) throw new Planned('once')
      })
      ctx.consume(bus, topic, probe.handler(), { order: 'strict', concurrency: 16, retry: quick(3, 5) })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(60, 7))
      await probe.waitExactly(ids)
      probe.assertOrder(ids)
      assert.equal(probe.maxRunning, 1)
    },
  },
  {
    id: 'ordering/strict-two-members',
    group,
    invariant: 5,
    title: 'order strict holds across members',
    needs: ['ordering', 'groups', 'redelivery'],
    async run(ctx) {
      const topic = ctx.topic()
      const probe = ctx.probe(() => work(1))
      const buses = [await ctx.bus(), await ctx.bus()] as const
      for (const bus of buses) ctx.consume(bus, topic, probe.handler(), { order: 'strict' })
      for (const bus of buses) await bus.start()
      const ids = await publishAll(buses[0], topic, numbered(60, 7))
      await probe.waitExactly(ids)
      probe.assertOrder(ids)
      assert.equal(probe.maxRunning, 1)
    },
  },
  {
    id: 'ordering/none',
    group,
    invariant: 5,
    title: 'order none: messages of one key do not wait for each other',
    async run(ctx) {
      const [bus, topic, gate] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const probe = ctx.probe((message) => (message.data === 0 ? gate.opened : undefined))
      ctx.consume(bus, topic, probe.handler(), { order: 'none', concurrency: 4 })
      await bus.start()
      const ids = await publishAll(
        bus,
        topic,
        numbered(10).map((item) => ({ ...item, key: 'one' })),
      )
      await probe.waitHandled(9)
      assertSame(probe.ids(), ids.slice(1))
      gate.open()
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'ordering/no-key',
    group,
    invariant: 5,
    title: 'messages without a key do not wait for each other',
    async run(ctx) {
      const [bus, topic, gate] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const probe = ctx.probe((message) => (message.data === 0 ? gate.opened : undefined))
      ctx.consume(bus, topic, probe.handler(), { concurrency: 4 })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(10))
      await probe.waitHandled(9)
      assertSame(probe.ids(), ids.slice(1))
      gate.open()
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'ordering/nacked-holds-its-key',
    group,
    invariant: 5,
    title: 'when the drained member hands a key back, the next one starts with the same message',
    needs: ['ordering', 'groups', 'redelivery'],
    async run(ctx) {
      const topic = ctx.topic()
      const failing = ctx.probe(() => {
        throw new Planned('always')
      })
      const first = await ctx.bus()
      const record = ctx.recorder(first)
      ctx.consume(first, topic, failing.handler(), { retry: quick(50, 20), concurrency: 1 })
      await first.start()
      const ids = await publishAll(
        first,
        topic,
        numbered(8).map((item) => ({ ...item, key: 'one' })),
      )
      await record.waitFor('retry')
      await first.close()
      assert.deepEqual(
        new Set(failing.started.map(({ id }) => id)),
        new Set([ids[0]]),
        'nothing may pass the first one',
      )
      const [second, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(second, topic, probe.handler(), { retry: quick(50, 20) })
      await second.start()
      await probe.waitExactly(ids)
      probe.assertOrder(ids)
    },
  },
  {
    id: 'ordering/pause-resume',
    group,
    invariant: 5,
    title: 'pausing and resuming again and again does not change the order within a key, nor repeat anything',
    needs: ['ordering', 'redelivery'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe(() => work(1))
      const handle = ctx.consume(bus, topic, probe.handler(), { concurrency: 4, prefetch: 20 })
      await bus.start()
      const publishing = publishAll(bus, topic, numbered(200, 5))
      for (let round = 1; round <= 8; round++) {
        await probe.waitHandled(round * 15)
        handle.pause()
        await ctx.waitUntil(
          () => handle.stats().running === 0 && handle.stats().buffered === 0,
          () => handle.stats(),
        )
        handle.resume()
      }
      const ids = await publishing
      await probe.waitExactly(ids)
      probe.assertNoOverlap()
      for (let key = 0; key < 5; key++) probe.assertOrder(idsOfKey(ids, 5, key))
      await ctx.idle(bus, topic, ctx.service)
      probe.assertExactly(ids)
    },
  },
]

/** Some fail once, some twice, as decided by the seed. */
function failing(ctx: ScenarioContext): Probe {
  const failures = new Map<string, number>()
  return ctx.probe(async (message, { attempt }) => {
    if (!failures.has(message.id)) failures.set(message.id, ctx.random.chance(0.2) ? ctx.random.integer(1, 2) : 0)
    await work(0)
    if (attempt <= (failures.get(message.id) ?? 0)) throw new Planned('now and then')
  })
}

async function keyed(
  ctx: ScenarioContext,
  probe: Probe,
  members: number,
  options: ConsumeOptions & { readonly batch?: undefined },
  load: { readonly count: number; readonly keys: number },
): Promise<void> {
  const topic = ctx.topic()
  const buses: Bus[] = []
  for (let member = 0; member < members; member++) {
    const bus = await ctx.bus()
    ctx.consume(bus, topic, probe.handler(`member ${member}`), options)
    await bus.start()
    buses.push(bus)
  }
  const ids = await publishAll(buses[0] ?? assert.fail(), topic, numbered(load.count, load.keys))
  await probe.waitExactly(ids)
  probe.assertNoOverlap()
  for (let key = 0; key < load.keys; key++) probe.assertOrder(idsOfKey(ids, load.keys, key))
}

import assert from 'node:assert/strict'
import { outgoing, publishRaw } from './raw.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, numbered, publishAll } from './shorthand.ts'

const group = 'back-pressure'

export const backPressureScenarios: readonly Scenario[] = [
  {
    id: 'back-pressure/credit-count',
    group,
    invariant: 10,
    title: 'a transport never hands over more deliveries than were requested; requests add up',
    async run(ctx) {
      const [transport, consumer, topic] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic()]
      const all = ctx.rawConsumer()
      const name = ctx.group()
      await consumer.subscribe(transport, { topic, group: name })
      await all.subscribe(await ctx.transport(), { topic, group: ctx.group() })
      all.request(100)
      consumer.request(2)
      consumer.request(3)
      await publishRaw(
        transport,
        Array.from({ length: 20 }, () => outgoing(topic)),
      )
      // The other group has all 20: any excess deliveries to this one are already in transit.
      await all.settle(await all.take(20))
      await consumer.take(5)
      assert.equal(consumer.deliveries.length, 5)
      await consumer.settle(consumer.deliveries.slice(0, 5))
      consumer.request(1)
      await consumer.take(6)
      assert.equal(consumer.deliveries.length, 6, 'settling is no request')
      consumer.request(14)
      await consumer.take(20)
      await consumer.settle(consumer.deliveries.slice(5))
      assert.equal(new Set(consumer.ids()).size, 20)
    },
  },
  {
    id: 'back-pressure/no-credit',
    group,
    invariant: 10,
    title: 'without a request nothing is delivered',
    async run(ctx) {
      const [transport, consumer, all, topic] = [
        await ctx.transport(),
        ctx.rawConsumer(),
        ctx.rawConsumer(),
        ctx.topic(),
      ]
      await consumer.subscribe(transport, { topic, group: ctx.group() })
      await all.subscribe(transport, { topic, group: ctx.group() })
      all.request(10)
      const ids = await publishRaw(transport, [outgoing(topic), outgoing(topic)])
      await all.settle(await all.take(2))
      assert.equal(consumer.deliveries.length, 0)
      consumer.request(2)
      await consumer.settle(await consumer.take(2))
      assertSame(consumer.ids(), [...ids])
    },
  },
  {
    id: 'back-pressure/credit-bytes',
    group,
    invariant: 10,
    title: 'of bytes, a transport overshoots what was requested by one message at most',
    async run(ctx) {
      const [transport, consumer, all, topic] = [
        await ctx.transport(),
        ctx.rawConsumer(),
        ctx.rawConsumer(),
        ctx.topic(),
      ]
      await consumer.subscribe(transport, { topic, group: ctx.group() })
      await all.subscribe(await ctx.transport(), { topic, group: ctx.group() })
      all.request(100)
      consumer.request(100, 25_000)
      await publishRaw(
        transport,
        Array.from({ length: 10 }, () => outgoing(topic, { body: new Uint8Array(10_000) })),
      )
      await all.settle(await all.take(10))
      await consumer.take(2)
      const taken = consumer.deliveries.length
      assert.ok(taken <= 3, `${taken} messages of 10,000 bytes on a credit of 25,000`)
      assert.ok(
        consumer.deliveries.every(({ bytes }) => bytes >= 10_000),
        'the body counts',
      )
      consumer.request(0, 200_000)
      await consumer.settle(await consumer.take(10))
      assert.equal(new Set(consumer.ids()).size, 10)
    },
  },
  {
    id: 'back-pressure/pause-keeps-credit',
    group,
    invariant: 10,
    title: 'a paused subscription gets nothing; when it resumes, its credit is still there',
    async run(ctx) {
      const [transport, consumer, all, topic] = [
        await ctx.transport(),
        ctx.rawConsumer(),
        ctx.rawConsumer(),
        ctx.topic(),
      ]
      await consumer.subscribe(transport, { topic, group: ctx.group() })
      await all.subscribe(await ctx.transport(), { topic, group: ctx.group() })
      all.request(100)
      consumer.request(5)
      consumer.subscription.pause()
      const ids = await publishRaw(
        transport,
        Array.from({ length: 5 }, () => outgoing(topic)),
      )
      await all.settle(await all.take(5))
      assert.equal(consumer.deliveries.length, 0)
      consumer.subscription.resume()
      await consumer.settle(await consumer.take(5))
      assertSame(consumer.ids(), [...ids])
    },
  },
  {
    id: 'back-pressure/never-returns',
    group,
    invariant: 10,
    title: 'with handlers that never return, this process holds `prefetch` messages and the broker keeps the rest',
    needs: ['redelivery', 'groups'],
    async run(ctx) {
      const [topic, name, gate] = [ctx.topic(), ctx.group(), ctx.gate()]
      const stuck = ctx.probe(() => gate.opened)
      const first = await ctx.bus()
      const options = { group: name, order: 'none' as const }
      const handle = ctx.consume(first, topic, stuck.handler(), { ...options, concurrency: 4, prefetch: 10 })
      await first.start()
      const ids = await publishAll(first, topic, numbered(200))
      await ctx.waitUntil(
        () => handle.stats().received === 10,
        () => handle.stats(),
      )
      const [second, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(second, topic, probe.handler(), options)
      await second.start()
      await probe.waitHandled(190)
      const { received, running, buffered } = handle.stats()
      assert.deepEqual({ received, running, buffered }, { received: 10, running: 4, buffered: 6 })
      assert.equal(probe.handled.length, 190)
      gate.open()
      await stuck.waitHandled(10)
      assertSame([...probe.ids(), ...stuck.ids()], [...ids])
    },
  },
  {
    id: 'back-pressure/prefetch-bytes',
    group,
    invariant: 10,
    title: 'what a consumer holds is bounded in bytes too',
    needs: ['redelivery'],
    async run(ctx) {
      const [bus, topic, gate] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const probe = ctx.probe(() => gate.opened)
      const handle = ctx.consume(bus, topic, probe.handler(), { order: 'none', concurrency: 2, prefetchBytes: 65_536 })
      await bus.start()
      const ids = await publishAll(
        bus,
        topic,
        Array.from({ length: 40 }, () => ({ data: ctx.random.bytes(10_000) })),
      )
      await ctx.waitUntil(
        () => handle.stats().bufferedBytes >= 50_000,
        () => handle.stats(),
      )
      // A round trip through the broker on another topic: what was in transit has arrived.
      const [other, sentinel] = [ctx.topic('other'), ctx.probe()]
      await ctx.consume(bus, other, sentinel.handler(), { group: ctx.group() }).ready
      await bus.publish(other, 1)
      await sentinel.waitHandled(1)
      const { bufferedBytes, received } = handle.stats()
      assert.ok(bufferedBytes <= 65_536 + 12_000, `${bufferedBytes} bytes are held`)
      assert.ok(received <= 8, `${received} messages are held`)
      gate.open()
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'back-pressure/pause-resume',
    group,
    invariant: 10,
    title: 'a paused consumer starts nothing and hands back what it holds; another member takes it',
    needs: ['redelivery', 'groups'],
    async run(ctx) {
      const [topic, name, gate] = [ctx.topic(), ctx.group(), ctx.gate()]
      const probe = ctx.probe((_message, _ctx, by) => (by === 'first' ? gate.opened : undefined))
      const first = await ctx.bus()
      const options = { group: name, order: 'none' as const, prefetch: 10 }
      const handle = ctx.consume(first, topic, probe.handler('first'), { ...options, concurrency: 1 })
      await first.start()
      const ids = await publishAll(first, topic, numbered(30))
      await ctx.waitUntil(
        () => handle.stats().received === 10,
        () => handle.stats(),
      )
      handle.pause()
      const second = await ctx.bus()
      ctx.consume(second, topic, probe.handler('second'), options)
      await second.start()
      await probe.waitHandled(29)
      assert.equal(probe.started.filter(({ by }) => by === 'first').length, 1, 'nothing starts while paused')
      gate.open()
      await probe.waitExactly(ids)
      await second.close()
      const more = await publishAll(first, topic, numbered(5))
      assert.equal(probe.started.filter(({ by }) => by === 'first').length, 1)
      handle.resume()
      await probe.waitExactly([...ids, ...more])
    },
  },
  {
    id: 'back-pressure/slow-neighbour',
    group,
    invariant: 10,
    title: 'a consumer that hangs does not hold up another one of the same bus',
    async run(ctx) {
      const [bus, hung, topic, gate] = [await ctx.bus(), ctx.topic('hung'), ctx.topic(), ctx.gate()]
      const stuck = ctx.probe(() => gate.opened)
      const probe = ctx.probe()
      ctx.consume(bus, hung, stuck.handler(), { concurrency: 1, prefetch: 2 })
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const waiting = await publishAll(bus, hung, numbered(50))
      await stuck.waitStarted(1)
      for (let round = 1; round <= 3; round++) {
        await publishAll(bus, topic, numbered(50, 5))
        await probe.waitHandled(round * 50)
      }
      gate.open()
      await stuck.waitExactly(waiting)
    },
  },
  {
    id: 'back-pressure/concurrency',
    group,
    invariant: 10,
    title: 'never more handlers at once than `concurrency`, and as many as that when there is work',
    async run(ctx) {
      const [bus, topic, gate] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const probe = ctx.probe(() => gate.opened)
      const handle = ctx.consume(bus, topic, probe.handler(), { order: 'none', concurrency: 6 })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(40))
      await ctx.waitUntil(
        () => handle.stats().received === 40,
        () => handle.stats(),
      )
      assert.equal(probe.running, 6)
      gate.open()
      await probe.waitExactly(ids)
      assert.equal(probe.maxRunning, 6)
    },
  },
]

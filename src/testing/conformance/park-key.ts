import assert from 'node:assert/strict'
import type { Scenario } from './scenario.ts'
import { numbered, publishAll, quick } from './shorthand.ts'

export const parkKeyScenarios: readonly Scenario[] = [
  {
    id: 'dead-letter/park-key',
    group: 'dead-letter',
    invariant: 5,
    title: 'with onDeadLetter: park-key, later messages of the key follow unhandled; a redrive restores their order',
    needs: ['ordering:key', 'admin', 'redelivery'],
    async run(ctx) {
      const topic = ctx.topic()
      let broken = true
      const probe = ctx.probe((message, handler) => {
        if (broken && message.key === 'k0' && message.data === 0) handler.reject('a bug')
      })
      const options = { onDeadLetter: 'park-key' as const, retry: quick(2) }
      const first = await ctx.bus()
      ctx.consume(first, topic, probe.handler(), options)
      await first.start()
      const ids = await publishAll(first, topic, numbered(8, 2))
      const ofKey = ids.filter((_, index) => index % 2 === 0)
      const letters = await ctx.deadLetters(first, topic, ctx.service, 4)
      assert.deepEqual(
        letters.map(({ reason }) => reason),
        ['rejected', 'prior-failed', 'prior-failed', 'prior-failed'],
      )
      assert.deepEqual(
        letters.map(({ message }) => message.id),
        ofKey,
      )
      await ctx.waitUntil(
        () => probe.ids().length === 4,
        () => `${probe.ids().length} of 4 messages of the other key handled`,
      )
      await first.close()
      // A member that starts later knows it too.
      const bus = await ctx.bus()
      ctx.consume(bus, topic, probe.handler(), options)
      await bus.start()
      const late = await bus.publish(topic, 8, { key: 'k0' })
      await ctx.deadLetters(bus, topic, ctx.service, 5)
      assert.equal(probe.started.filter(({ key }) => key === 'k0').length, 1)
      broken = false
      const report = await bus.deadLetters(topic, ctx.service).redrive()
      assert.equal(report.redriven, 5)
      await ctx.waitUntil(
        () => probe.ids().length === 9,
        () => `${probe.ids().length} of 9 handled after the redrive`,
      )
      probe.assertOrder([...ofKey, late.id])
      const next = await bus.publish(topic, 9, { key: 'k0' })
      await ctx.waitUntil(
        () => probe.ids().includes(next.id),
        'a key whose dead letters were redriven must not be parked any more',
      )
    },
  },
  {
    id: 'dead-letter/park-key-same-id',
    group: 'dead-letter',
    invariant: 5,
    title: 'with onDeadLetter: park-key, a later message of the key follows also when it has the id of the dead letter',
    needs: ['ordering:key', 'admin', 'redelivery', 'no-dedup'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      let broken = true
      const probe = ctx.probe((message, handler) => {
        if (broken && message.data === 0) handler.reject('a bug')
      })
      ctx.consume(bus, topic, probe.handler(), { onDeadLetter: 'park-key', retry: quick(2) })
      await bus.start()
      const publish = (data: number): Promise<unknown> =>
        bus.publish(topic, data, { id: 'customer-7', key: 'k', occurredAt: new Date(Date.UTC(2026, 0, 1, 0, 0, data)) })
      await publish(0)
      await ctx.deadLetters(bus, topic, ctx.service, 1)
      await publish(1)
      const letters = await ctx.deadLetters(bus, topic, ctx.service, 2)
      assert.deepEqual(
        letters.map(({ reason }) => reason),
        ['rejected', 'prior-failed'],
      )
      broken = false
      await bus.deadLetters(topic, ctx.service).redrive()
      await ctx.waitUntil(
        () => probe.handled.length === 2,
        () => `${probe.handled.length} of 2 handled after the redrive`,
      )
      assert.deepEqual(
        probe.handled.map(({ message }) => message.data),
        [0, 1],
      )
    },
  },
]

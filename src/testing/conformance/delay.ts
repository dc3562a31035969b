import assert from 'node:assert/strict'
import type { Scenario } from './scenario.ts'
import { assertSame, numbered, publishAll } from './shorthand.ts'

const group = 'delay'

export const delayScenarios: readonly Scenario[] = [
  {
    id: 'delay/in-time',
    group,
    invariant: 6,
    title: 'a delayed message comes no earlier than asked, and not much later',
    needs: ['delay'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const publishedAt = performance.now()
      const { id } = await bus.publish(topic, 1, { delayMs: 250 })
      await probe.waitExactly([id])
      inTime(ctx.precisionMs, (probe.handled[0]?.at ?? 0) - publishedAt, 250)
    },
  },
  {
    id: 'delay/deliver-at',
    group,
    invariant: 6,
    title: 'deliverAt names the instant; one that has passed means at once',
    needs: ['delay'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const publishedAt = performance.now()
      const later = await bus.publish(topic, 'later', { deliverAt: new Date(Date.now() + 300) })
      const past = await bus.publish(topic, 'past', { deliverAt: new Date(Date.now() - 60_000) })
      await probe.waitExactly([past.id, later.id])
      assert.deepEqual(probe.ids(), [past.id, later.id])
      inTime(ctx.precisionMs, (probe.handled[1]?.at ?? 0) - publishedAt, 299)
    },
  },
  {
    id: 'delay/blocks-nobody',
    group,
    invariant: 6,
    title: 'a delayed message holds up nothing that is published after it, of its key or of others',
    needs: ['delay'],
    waits: true,
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const delayed = await bus.publish(topic, 'delayed', { delayMs: 2_500, key: 'k0' })
      const ids = await publishAll(bus, topic, numbered(20, 4))
      await probe.waitHandled(20)
      assertSame(probe.ids(), [...ids], 'they must not wait for the delayed one')
      await probe.waitExactly([...ids, delayed.id])
    },
  },
  {
    id: 'delay/by-due-time',
    group,
    invariant: 6,
    title: 'delayed messages come in the order of their instants, not of publication',
    needs: ['delay'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const gap = Math.max(150, ctx.precisionMs)
      const third = await bus.publish(topic, 3, { delayMs: 3 * gap })
      const first = await bus.publish(topic, 1, { delayMs: gap })
      const second = await bus.publish(topic, 2, { delayMs: 2 * gap })
      await probe.waitExactly([first.id, second.id, third.id])
      assert.deepEqual(probe.ids(), [first.id, second.id, third.id])
    },
  },
  {
    id: 'delay/each-group-once',
    group,
    invariant: 6,
    title: 'a delayed message reaches every group, once each',
    needs: ['delay', 'groups'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probes = [ctx.probe(), ctx.probe()]
      const names = probes.map(() => ctx.group())
      for (const [index, probe] of probes.entries())
        ctx.consume(bus, topic, probe.handler(), { group: names[index] ?? assert.fail() })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(10, 2, { delayMs: 100 }))
      for (const probe of probes) await probe.waitExactly(ids)
      for (const name of names) await ctx.idle(bus, topic, name)
      for (const probe of probes) probe.assertExactly(ids)
    },
  },
  {
    id: 'delay/survives-reopen',
    group,
    invariant: 1,
    title: 'a delayed message is delivered even if its publisher has exited meanwhile',
    needs: ['delay', 'redelivery'],
    async run(ctx) {
      const [topic, probe, name] = [ctx.topic(), ctx.probe(), ctx.group()]
      const first = await ctx.bus()
      ctx.consume(first, topic, probe.handler('first'), { group: name })
      await first.start()
      const publishedAt = performance.now()
      const { id } = await first.publish(topic, 1, { delayMs: 500 })
      await first.close()
      const second = await ctx.bus()
      ctx.consume(second, topic, probe.handler('second'), { group: name })
      await second.start()
      await probe.waitExactly([id])
      const seen = probe.handled[0] ?? assert.fail()
      assert.equal(seen.by, 'second')
      assert.ok(seen.at - publishedAt >= 499, `came after ${seen.at - publishedAt} ms instead of 500`)
    },
  },
  {
    id: 'delay/counts-as-lag',
    group,
    invariant: 12,
    title: 'a delayed message is part of the lag, and not of what is ready',
    needs: ['delay', 'lag', 'admin'],
    waits: true,
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const { id } = await bus.publish(topic, 1, { delayMs: 5_000 })
      const info = await ctx.groupInfo(bus, topic, ctx.service)
      assert.equal(info?.lag, 1)
      assert.ok(info.ready === undefined || info.ready === 0)
      await probe.waitExactly([id])
      await ctx.idle(bus, topic, ctx.service)
    },
  },
  {
    id: 'delay/refused',
    group,
    invariant: 14,
    title: 'a transport that can not delay says so, and sends nothing at once instead',
    needs: ['no-delay'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      await assert.rejects(() => bus.publish(topic, 'later', { delayMs: 100 }), { code: 'BUSBAR_UNSUPPORTED' })
      const { id } = await bus.publish(topic, 'sentinel')
      await probe.waitExactly([id])
    },
  },
]

function inTime(precisionMs: number, waited: number, asked: number): void {
  // The wall clocks of publisher and broker count whole milliseconds.
  assert.ok(waited >= asked - 1.5, `it came after ${waited} ms instead of ${asked}`)
  assert.ok(waited <= asked + precisionMs, `it came after ${waited} ms instead of ${asked}`)
}

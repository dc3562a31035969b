import assert from 'node:assert/strict'
import type { Scenario } from './scenario.ts'
import { numbered, publishAll } from './shorthand.ts'

const group = 'observability'

/** Whatever stands still is reported by name, even when everything else flows. */
export const stuckScenarios: readonly Scenario[] = [
  {
    id: 'observability/stuck-message',
    group,
    invariant: 12,
    title: 'one message whose handler hangs is reported with its key while others flow, and fails health()',
    async run(ctx) {
      const [bus, topic, gate] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const keyed = ctx.capabilities.ordering !== 'none'
      const probe = ctx.probe(async (message) => {
        if (message.data === 0) await gate.opened
      })
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, probe.handler(), { stalledAfterMs: 400 })
      await bus.start()
      const [hung] = await publishAll(
        bus,
        topic,
        [0, 10, 20].map((data) => ({ data, key: keyed ? 'hot' : undefined })),
      )
      let flowed = 0
      await ctx.waitUntil(
        async () => {
          await bus.publish(topic, 1, { key: keyed ? `other-${flowed++}` : undefined })
          return record.count('stuck') > 0
        },
        () => record.counts(),
      )
      const [stuck] = record.of('stuck')
      assert.equal(stuck?.message.id, hung)
      assert.equal(stuck?.state, 'running')
      if (keyed) assert.equal(stuck?.queuedBehind, 2)
      assert.ok((stuck?.ageMs ?? 0) >= 400)
      assert.equal(record.count('stalled'), 0, 'the consumer itself continues')
      const sick = await bus.health()
      assert.equal(sick.status, 'down')
      assert.equal(sick.consumers[0]?.status, 'stuck')
      assert.match(sick.consumers[0]?.detail ?? '', new RegExp(hung ?? ''))
      gate.open()
      await ctx.waitUntil(
        async () => record.count('recovered') > 0 && (await bus.health()).status === 'ok',
        async () => bus.health(),
      )
      assert.equal(record.count('stuck'), 1, 'it is reported once')
    },
  },
  {
    id: 'groups/deleted-while-running',
    group: 'groups',
    invariant: 12,
    title: 'a group that is deleted under a running consumer is created again, or health() reports that it is missing',
    needs: ['groups', 'admin', 'redelivery'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe()
      ctx.consume(bus, topic, probe.handler(), { stalledAfterMs: 1_000 })
      await bus.start()
      const before = await publishAll(bus, topic, numbered(5))
      await probe.waitExactly(before)
      await ctx.idle(bus, topic, ctx.service)
      await bus.admin().deleteGroup(topic, ctx.service)
      let sent = 0
      await ctx.waitUntil(
        async () => {
          // Without consumers, a broker may refuse them: that is no loss.
          await bus.publish(topic, sent++).catch(() => undefined)
          const handled = probe.ids().length - before.length
          return handled >= 5 || (await bus.health()).status === 'down'
        },
        async () => ({ handled: probe.ids().length, health: await bus.health() }),
      )
    },
  },
]

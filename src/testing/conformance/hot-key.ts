import assert from 'node:assert/strict'
import type { Scenario } from './scenario.ts'
import { numbered, publishAll } from './shorthand.ts'

/** More than a consumer prefetches. */
const BACKLOG = 600
const OTHERS = 32

export const hotKeyScenarios: readonly Scenario[] = [
  {
    id: 'ordering/hot-key',
    group: 'ordering',
    invariant: 5,
    title: 'a key whose backlog is larger than the prefetch, and whose handler hangs, does not take the consumer',
    needs: ['ordering:key'],
    async run(ctx) {
      const [bus, topic, gate] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const probe = ctx.probe(async (message) => {
        if (message.key === 'hot') await gate.opened
      })
      ctx.consume(bus, topic, probe.handler(), { prefetch: 128 })
      await bus.start()
      await publishAll(
        bus,
        topic,
        numbered(BACKLOG).map((item) => ({ ...item, key: 'hot' })),
      )
      const others = await publishAll(bus, topic, numbered(OTHERS * 2, OTHERS))
      // Where keys share partitions, keys in the hot key's partition have to wait.
      const enough = others.length / 2
      await ctx.waitUntil(
        () => probe.ids().length >= enough,
        () => `${probe.ids().length} of at least ${enough} messages of other keys handled behind a hot one`,
      )
      gate.open()
      await ctx.waitUntil(
        () => probe.ids().length === BACKLOG + others.length,
        () => `${probe.ids().length} of ${BACKLOG + others.length} handled`,
      )
      probe.assertNoOverlap()
      assert.equal(new Set(probe.ids()).size, BACKLOG + others.length)
    },
  },
]

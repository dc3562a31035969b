import assert from 'node:assert/strict'
import type { Scenario } from './scenario.ts'
import { assertSame, numbered, publishAll } from './shorthand.ts'

export const publishOnAckScenarios: readonly Scenario[] = [
  {
    id: 'publish/on-ack',
    group: 'publish',
    invariant: 1,
    title: 'with publishOnAck a failed attempt publishes nothing, and a successful one everything, once and in order',
    needs: ['redelivery'],
    async run(ctx) {
      const [bus, topic, outputs] = [await ctx.bus(), ctx.topic('inputs'), ctx.topic('outputs')]
      const outputProbe = ctx.probe()
      const record = ctx.recorder(bus)
      const inputProbe = ctx.probe(async (message, handler) => {
        for (const part of ['a', 'b']) {
          const { position } = await handler.publish(outputs, part, {
            id: `${message.id}-${handler.attempt}-${part}`,
            key: message.key,
          })
          assert.equal(position, undefined, 'it is held')
        }
        if (handler.attempt === 1) throw new Error('the first attempt fails')
      })
      ctx.consume(bus, outputs, outputProbe.handler())
      ctx.consume(bus, topic, inputProbe.handler(), { publishOnAck: true, retry: { backoff: 'fixed', baseMs: 1 } })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(10, 2))
      await inputProbe.waitExactly(ids)
      const expected = ids.flatMap((id) => [`${id}-2-a`, `${id}-2-b`])
      await outputProbe.waitExactly(expected)
      await ctx.waitUntil(
        () => record.count('ack') === ids.length + expected.length,
        () => record.counts(),
      )
      if (ctx.capabilities.ordering === 'none') return
      for (const id of ids) {
        const own = outputProbe.handled.map((seen) => seen.id).filter((other) => other.startsWith(`${id}-`))
        assertSame(own, [`${id}-2-a`, `${id}-2-b`], 'the order of what one handler published')
      }
    },
  },
]

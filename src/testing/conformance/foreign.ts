import assert from 'node:assert/strict'
import type { Scenario } from './scenario.ts'
import { Planned, quick } from './shorthand.ts'

const group = 'foreign'

export const foreignScenarios: readonly Scenario[] = [
  {
    id: 'foreign/consumed',
    group,
    invariant: 3,
    title: 'a message that another program wrote, without any of our headers, is handled anyway',
    needs: ['foreign'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      await ctx.foreign.publish(topic, Buffer.from('{"from":"outside"}'), { 'x-theirs': 'kept' })
      await probe.waitHandled(1)
      const { message } = probe.handled[0] ?? assert.fail()
      assert.deepEqual(message.data, { from: 'outside' })
      assert.equal(message.topic, topic)
      assert.equal(message.type, topic)
      assert.ok(message.id.length > 0 && message.source.length > 0)
      assert.equal(message.headers['x-theirs'], 'kept')
      assert.ok(!Number.isNaN(message.time.getTime()))
    },
  },
  {
    id: 'foreign/stable-id',
    group,
    invariant: 3,
    title: 'its id comes from its position: the same at each attempt and in each group, another for its twin',
    needs: ['foreign', 'groups', 'redelivery'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const retrying = ctx.probe((_message, { attempt }) => {
        if (attempt === 1) throw new Planned('once')
      })
      const other = ctx.probe()
      ctx.consume(bus, topic, retrying.handler(), { group: ctx.group(), retry: quick(3) })
      ctx.consume(bus, topic, other.handler(), { group: ctx.group() })
      await bus.start()
      await ctx.foreign.publish(topic, Buffer.from('1'))
      await ctx.foreign.publish(topic, Buffer.from('1'))
      await retrying.waitHandled(2)
      await other.waitHandled(2)
      assert.equal(new Set(retrying.ids()).size, 2, 'twins are two messages')
      assert.deepEqual(new Set(other.ids()), new Set(retrying.ids()))
      for (const id of retrying.ids()) assert.deepEqual(retrying.attemptsOf(id), [1, 2])
    },
  },
  {
    id: 'foreign/undecodable',
    group,
    invariant: 3,
    title: 'one that can not be read is dead-lettered with its very bytes, and can be redriven',
    needs: ['foreign', 'admin', 'redelivery'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      let strict = true
      const probe = ctx.probe((message) => (strict ? message.data : message.body))
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(3) })
      await bus.start()
      const body = Buffer.from([0x00, 0x7b, 0xff])
      await ctx.foreign.publish(topic, body)
      const [letter] = await ctx.deadLetters(bus, topic, name, 1)
      assert.equal(letter?.reason, 'undecodable')
      assert.ok(body.equals(letter?.message.body ?? new Uint8Array(0)))
      strict = false
      assert.equal((await bus.deadLetters(topic, name).redrive()).redriven, 1)
      await probe.waitExactly([letter?.message.id ?? assert.fail()])
      assert.ok(body.equals(probe.handled[0]?.message.body ?? new Uint8Array(0)))
    },
  },
]

import assert from 'node:assert/strict'
import type { Bus } from '../../core/bus-types.ts'
import { deadLetterTopic } from '../../core/topic.ts'
import type { Scenario } from './scenario.ts'
import { idsOfKey, numbered, Planned, publishAll, quick } from './shorthand.ts'

const group = 'patterns'

/** Makes the topic known to the broker before the first subscription: patterns must find old topics as well as new ones. */
async function ensure(bus: Bus, topic: string): Promise<void> {
  await bus.admin().ensureTopic(topic)
}

export const patternScenarios: readonly Scenario[] = [
  {
    id: 'patterns/star',
    group,
    invariant: 6,
    title: '`*` stands for exactly one token',
    needs: ['patterns'],
    async run(ctx) {
      const [bus, base, probe] = [await ctx.bus(), ctx.topic('orders'), ctx.probe()]
      const sentinel = ctx.probe()
      ctx.consume(bus, `${base}.*.placed`, probe.handler(), { group: ctx.group() })
      ctx.consume(bus, `${base}.>`, sentinel.handler(), { group: ctx.group() })
      await bus.start()
      const fits = [`${base}.eu.placed`, `${base}.us.placed`, `${base}.e-u_1.placed`]
      const not = [`${base}.placed`, `${base}.eu.west.placed`, `${base}.eu.placed.late`, `${base}.eu.paid`]
      const ids: string[] = []
      for (const topic of not) await bus.publish(topic, topic)
      for (const topic of fits) ids.push((await bus.publish(topic, topic)).id)
      await probe.waitExactly(ids)
      await sentinel.waitHandled(fits.length + not.length)
      probe.assertExactly(ids)
      for (const { message } of probe.handled) assert.equal(message.topic, message.data, 'the topic is the real one')
    },
  },
  {
    id: 'patterns/tail',
    group,
    invariant: 6,
    title: 'a trailing `>` stands for zero or more tokens; `#` is another spelling of it',
    needs: ['patterns'],
    async run(ctx) {
      const [bus, base] = [await ctx.bus(), ctx.topic('orders')]
      const [tail, hash] = [ctx.probe(), ctx.probe()]
      ctx.consume(bus, `${base}.>`, tail.handler(), { group: ctx.group() })
      ctx.consume(bus, `${base}.#`, hash.handler(), { group: ctx.group() })
      // A broker without a log may refuse messages without a consumer.
      ctx.consume(bus, `${base}x`, ctx.probe().handler(), { group: ctx.group() })
      await bus.start()
      const ids: string[] = []
      await bus.publish(`${base}x`, 'not this one')
      for (const topic of [base, `${base}.eu`, `${base}.eu.west`, `${base}.eu.west.placed`])
        ids.push((await bus.publish(topic, 1)).id)
      await tail.waitExactly(ids)
      await hash.waitExactly(ids)
    },
  },
  {
    id: 'patterns/new-topics',
    group,
    invariant: 6,
    title: 'topics that appear after the subscription are found, from their first message on',
    needs: ['patterns'],
    async run(ctx) {
      const [bus, base, probe] = [await ctx.bus(), ctx.topic('orders'), ctx.probe()]
      ctx.consume(bus, `${base}.>`, probe.handler())
      await bus.start()
      const ids: string[] = []
      for (let number = 0; number < 5; number++) {
        ids.push(...(await publishAll(bus, `${base}.new-${number}`, numbered(3, 1))))
        await probe.waitExactly(ids)
      }
    },
  },
  {
    id: 'patterns/old-topics',
    group,
    invariant: 6,
    title: 'what topics held before the subscription is delivered too, where the transport can replay',
    needs: ['patterns', 'replay:position', 'admin'],
    async run(ctx) {
      const [bus, base, probe] = [await ctx.startedBus(), ctx.topic('orders'), ctx.probe()]
      const topics = [`${base}.a`, `${base}.b`]
      for (const topic of topics) await ensure(bus, topic)
      const before = await Promise.all(topics.map((topic) => publishAll(bus, topic, numbered(4, 2))))
      const handle = ctx.consume(bus, `${base}.>`, probe.handler(), { from: 'earliest' })
      await handle.ready
      const after = await Promise.all(topics.map((topic) => publishAll(bus, topic, numbered(4, 2))))
      await probe.waitExactly([...before.flat(), ...after.flat()])
    },
  },
  {
    id: 'patterns/members-share',
    group,
    invariant: 6,
    title: 'members that read a pattern share the messages of all its topics, in order by key',
    needs: ['patterns', 'groups', 'ordering:key'],
    async run(ctx) {
      const [base, probe] = [ctx.topic('orders'), ctx.probe()]
      const buses = [await ctx.bus(), await ctx.bus()] as const
      for (const bus of buses) ctx.consume(bus, `${base}.*`, probe.handler(), { prefetch: 8 })
      for (const bus of buses) await bus.start()
      const ids = await Promise.all(
        ['a', 'b', 'c'].map((token) => publishAll(buses[0], `${base}.${token}`, numbered(40, 4))),
      )
      await probe.waitExactly(ids.flat())
      for (const ofTopic of ids) for (let key = 0; key < 4; key++) probe.assertOrder(idsOfKey(ofTopic, 4, key))
    },
  },
  {
    id: 'patterns/not-dead-letters',
    group,
    invariant: 3,
    title: 'a pattern does not reach dead-letter topics, which would loop forever',
    needs: ['patterns', 'admin'],
    async run(ctx) {
      const [bus, base] = [await ctx.bus(), ctx.topic('orders')]
      const topic = `${base}.placed`
      const failing = ctx.probe(() => {
        throw new Planned('always')
      })
      const wide = ctx.probe()
      const names = [ctx.group('failing'), ctx.group('wide')] as const
      ctx.consume(bus, `${base}.>`, failing.handler(), { group: names[0], retry: quick(1) })
      ctx.consume(bus, `${base}.>`, wide.handler(), { group: names[1] })
      await bus.start()
      const { id } = await bus.publish(topic, 1)
      const [letter] = await ctx.deadLetters(bus, topic, names[0], 1)
      assert.equal(letter?.message.id, id)
      assert.equal(letter.message.topic, topic, 'the dead letter is that of the real topic, not of the pattern')
      // Published after the dead letter: a consumer that received the sentinel would have received the dead letter
      // before it.
      const sentinel = await bus.publish(topic, 2)
      await wide.waitExactly([id, sentinel.id])
      await ctx.deadLetters(bus, topic, names[0], 2)
      assert.deepEqual(
        failing.started.map((seen) => seen.id),
        [id, sentinel.id],
      )
    },
  },
  {
    id: 'patterns/of-dead-letters',
    group,
    invariant: 3,
    title: 'a pattern that ends in `.dlq` reads dead letters, for those who watch them',
    needs: ['patterns'],
    async run(ctx) {
      const [bus, base] = [await ctx.bus(), ctx.topic('orders')]
      const topic = `${base}.placed`
      const watch = ctx.probe()
      const name = ctx.group('failing')
      const failing = ctx.probe(() => {
        throw new Planned('always')
      })
      ctx.consume(bus, topic, failing.handler(), { group: name, retry: quick(1) })
      ctx.consume(bus, `${base}.*.*.dlq`, watch.handler(), { group: ctx.group('watch') })
      await bus.start()
      const { id } = await bus.publish(topic, { hello: 1 })
      await watch.waitExactly([id])
      const { message } = watch.handled[0] ?? assert.fail()
      assert.equal(message.topic, deadLetterTopic(topic, name))
      assert.deepEqual(message.data, { hello: 1 })
    },
  },
  {
    id: 'patterns/refused',
    group,
    invariant: 14,
    title: 'without the capability, a pattern is refused when the consumer is added, by name',
    async run(ctx) {
      if (ctx.capabilities.patterns) {
        // The reverse of the same promise: what the capability claims is accepted.
        const bus = await ctx.bus()
        const handle = ctx.consume(bus, `${ctx.topic()}.*`, ctx.probe().handler())
        await bus.start()
        await handle.ready
        return
      }
      const bus = await ctx.bus()
      assert.throws(() => ctx.consume(bus, `${ctx.topic()}.*`, ctx.probe().handler()), { code: 'BUSBAR_UNSUPPORTED' })
    },
  },
]

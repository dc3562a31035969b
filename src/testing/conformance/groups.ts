import assert from 'node:assert/strict'
import { defineEvent } from '../../core/define.ts'
import { defineEvents } from '../../core/event-set.ts'
import type { Scenario } from './scenario.ts'
import { idsOfKey, numbered, publishAll, work } from './shorthand.ts'

const group = 'groups'

export const groupScenarios: readonly Scenario[] = [
  {
    id: 'groups/members-share',
    group,
    invariant: 6,
    title: 'members of a group share the messages: each message goes to one, each member gets some',
    needs: ['groups'],
    async run(ctx) {
      const [topic, name] = [ctx.topic(), ctx.group()]
      const probe = ctx.probe(() => work(3))
      const options = { group: name, concurrency: 2, prefetch: 8 }
      const buses = await Promise.all(
        ['a', 'b', 'c'].map(async (member) => {
          const bus = await ctx.bus()
          ctx.consume(bus, topic, probe.handler(member), options)
          await bus.start()
          return bus
        }),
      )
      const ids: string[] = []
      // Members may still be distributing the work when the first messages come.
      await ctx.waitUntil(
        async () => {
          ids.push(...(await publishAll(buses[0] ?? assert.fail(), topic, numbered(90, 30))))
          await probe.waitExactly(ids)
          return new Set(probe.handled.map(({ by }) => by)).size === 3
        },
        () => `only ${[...new Set(probe.handled.map(({ by }) => by))].join(', ')} got messages`,
      )
      await ctx.idle(buses[0] ?? assert.fail(), topic, name)
      probe.assertExactly(ids)
    },
  },
  {
    id: 'groups/skips-others',
    group,
    invariant: 1,
    title: 'a group that takes some events of a topic handles each of them once, and has nothing left of the others',
    needs: ['groups'],
    async run(ctx) {
      const [bus, topic, name, other] = [await ctx.bus(), ctx.topic(), ctx.group(), ctx.group('all')]
      const [some, all] = [ctx.probe(), ctx.probe()]
      const Wanted = defineEvent<number>(topic, { type: 'wanted' })
      const Second = defineEvent<number>(topic, { type: 'wanted', version: 2 })
      const Other = defineEvent<number>(topic, { type: 'other' })
      const unordered = ctx.capabilities.ordering === 'none' ? ({ order: 'none' } as const) : {}
      bus.consume(defineEvents(topic, [Wanted, Second], { others: 'skip' }), some.handler(), {
        group: name,
        ...unordered,
      })
      ctx.consume(bus, topic, all.handler(), { group: other })
      await bus.start()
      const wanted: string[] = []
      const rest: string[] = []
      for (let number = 0; number < 30; number++) {
        const key = `k${number % 3}`
        wanted.push((await bus.publish(number % 2 === 0 ? Wanted : Second, number, { key })).id)
        rest.push((await bus.publish(Other, number, { key })).id)
      }
      await all.waitExactly([...wanted, ...rest])
      await some.waitExactly(wanted)
      await ctx.idle(bus, topic, name)
      some.assertExactly(wanted)
      // What was skipped does not come to a member that takes everything.
      const late = ctx.probe()
      const second = await ctx.bus()
      ctx.consume(second, topic, late.handler(), { group: name })
      await second.start()
      await ctx.idle(second, topic, name)
      late.assertExactly([])
    },
  },
  {
    id: 'groups/each-gets-all',
    group,
    invariant: 6,
    title: 'every group gets every message',
    needs: ['groups'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probes = [ctx.probe(), ctx.probe(), ctx.probe()]
      for (const probe of probes) ctx.consume(bus, topic, probe.handler(), { group: ctx.group() })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(60, 6))
      for (const probe of probes) await probe.waitExactly(ids)
    },
  },
  {
    id: 'groups/default-is-service',
    group,
    invariant: 6,
    title: 'without a group, buses of one service share and another service gets its own copy',
    needs: ['groups'],
    async run(ctx) {
      const topic = ctx.topic()
      const [shared, other] = [ctx.probe(), ctx.probe()]
      const buses = [await ctx.bus(), await ctx.bus(), await ctx.bus({ service: ctx.group('other') })] as const
      for (const [index, bus] of buses.entries()) ctx.consume(bus, topic, (index < 2 ? shared : other).handler())
      for (const bus of buses) await bus.start()
      const ids = await publishAll(buses[0], topic, numbered(40, 8))
      await shared.waitExactly(ids)
      await other.waitExactly(ids)
    },
  },
  {
    id: 'groups/broadcast',
    group,
    invariant: 6,
    title: 'with broadcast every instance gets its own copy',
    async run(ctx) {
      const topic = ctx.topic()
      const probes = [ctx.probe(), ctx.probe(), ctx.probe()]
      const buses = await Promise.all(
        probes.map(async (probe) => {
          const bus = await ctx.bus()
          ctx.consume(bus, topic, probe.handler(), { broadcast: true })
          await bus.start()
          return bus
        }),
      )
      const ids = await publishAll(buses[0] ?? assert.fail(), topic, numbered(20, 4))
      for (const probe of probes) await probe.waitExactly(ids)
    },
  },
  {
    id: 'groups/broadcast-keeps-nothing',
    group,
    invariant: 6,
    title: 'a broadcast instance gets what comes from now on, and leaves no group behind',
    needs: ['admin', 'replay:position'],
    async run(ctx) {
      const topic = ctx.topic()
      const publisher = await ctx.startedBus()
      await publishAll(publisher, topic, numbered(5))
      const [bus, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { broadcast: true })
      await bus.start()
      const ids = await publishAll(publisher, topic, numbered(5))
      await probe.waitExactly(ids)
      await bus.close()
      await ctx.waitUntil(
        async () => (await publisher.admin().groups(topic)).length === 0,
        'the group of the broadcast instance to be forgotten',
      )
    },
  },
  {
    id: 'groups/late-earliest',
    group,
    invariant: 6,
    title: 'a new group that starts at the earliest gets what was published before it, in order',
    needs: ['groups', 'replay:position'],
    async run(ctx) {
      const topic = ctx.topic()
      const publisher = await ctx.startedBus()
      const ids = await publishAll(
        publisher,
        topic,
        numbered(30).map((item) => ({ ...item, key: 'k' })),
      )
      const [bus, explicit, byDefault] = [await ctx.bus(), ctx.probe(), ctx.probe()]
      ctx.consume(bus, topic, explicit.handler(), { group: ctx.group(), from: 'earliest' })
      ctx.consume(bus, topic, byDefault.handler(), { group: ctx.group() })
      await bus.start()
      for (const probe of [explicit, byDefault]) {
        await probe.waitExactly(ids)
        probe.assertOrder(ids)
      }
    },
  },
  {
    id: 'groups/late-latest',
    group,
    invariant: 6,
    title: 'a new group that starts at the latest gets nothing of what was before, and all from then on',
    needs: ['groups', 'replay:position'],
    async run(ctx) {
      const topic = ctx.topic()
      const publisher = await ctx.startedBus()
      await publishAll(publisher, topic, numbered(10, 2))
      const [bus, probe, name] = [await ctx.bus(), ctx.probe(), ctx.group()]
      ctx.consume(bus, topic, probe.handler(), { group: name, from: 'latest' })
      await bus.start()
      const ids = await publishAll(publisher, topic, numbered(10, 2))
      await probe.waitExactly(ids)
      await ctx.idle(bus, topic, name)
      probe.assertExactly(ids)
    },
  },
  {
    id: 'groups/keeps-its-place',
    group,
    invariant: 6,
    title: 'what was published while no member was there waits for the group, whatever `from` says then',
    needs: ['groups', 'redelivery'],
    async run(ctx) {
      const [topic, name, probe] = [ctx.topic(), ctx.group(), ctx.probe()]
      const publisher = await ctx.startedBus()
      const first = await ctx.bus()
      ctx.consume(first, topic, probe.handler(), { group: name })
      await first.start()
      const before = await publishAll(publisher, topic, numbered(5, 5))
      await probe.waitExactly(before)
      await first.close()
      const meanwhile = await publishAll(publisher, topic, numbered(20, 5))
      const second = await ctx.bus()
      ctx.consume(second, topic, probe.handler(), { group: name, from: 'latest' })
      await second.start()
      await probe.waitExactly([...before, ...meanwhile])
    },
  },
  {
    id: 'groups/member-leaves',
    group,
    invariant: 8,
    title: 'the unsettled messages of a member that leaves go to the others',
    needs: ['groups', 'redelivery'],
    async run(ctx) {
      const [topic, name] = [ctx.topic(), ctx.group()]
      const stuck = ctx.probe(() => new Promise(() => undefined))
      const leaver = await ctx.bus()
      ctx.consume(leaver, topic, stuck.handler(), {
        group: name,
        concurrency: 4,
        prefetch: 4,
        order: 'none',
        abandonAfterMs: 10,
      })
      await leaver.start()
      const ids = await publishAll(leaver, topic, numbered(12))
      await stuck.waitStarted(4)
      const [stayer, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(stayer, topic, probe.handler(), { group: name, order: 'none' })
      await stayer.start()
      await leaver.close({ timeoutMs: 50 })
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'groups/joining-and-leaving',
    group,
    invariant: 11,
    title: 'members that join and leave in an orderly way while messages flow: each message is handled, once',
    needs: ['groups', 'redelivery'],
    async run(ctx) {
      const [topic, name] = [ctx.topic(), ctx.group()]
      const probe = ctx.probe(() => work(1))
      const member = async (by: string): Promise<Awaited<ReturnType<typeof ctx.bus>>> => {
        const bus = await ctx.bus()
        ctx.consume(bus, topic, probe.handler(by), { group: name, concurrency: 4, prefetch: 16 })
        await bus.start()
        return bus
      }
      const publisher = await ctx.startedBus()
      const first = await member('first')
      const ids: string[] = []
      const publish = async (): Promise<void> =>
        void ids.push(...(await publishAll(publisher, topic, numbered(100, 10))))
      await publish()
      await probe.waitHandled(20)
      const [second] = await Promise.all([member('second'), publish()])
      await probe.waitHandled(ids.length - 60)
      await Promise.all([first.close(), publish()])
      const [third] = await Promise.all([member('third'), publish()])
      await Promise.all([second.close(), publish()])
      await probe.waitExactly(ids)
      await ctx.idle(third, topic, name)
      probe.assertExactly(ids)
      if (ctx.capabilities.ordering !== 'key') return
      probe.assertNoOverlap()
      for (let key = 0; key < 10; key++) probe.assertOrder(idsOfKey(ids, 10, key))
    },
  },
  {
    id: 'groups/topics-apart',
    group,
    invariant: 6,
    title: 'a group that reads two topics gets each from its own, and from no other',
    async run(ctx) {
      const bus = await ctx.bus()
      const topics = [ctx.topic('a'), ctx.topic('ab'), ctx.topic('a-b')]
      const probes = topics.map(() => ctx.probe())
      for (const [index, topic] of topics.entries()) ctx.consume(bus, topic, probes[index]?.handler() ?? assert.fail())
      await bus.start()
      const ids = await Promise.all(topics.map((topic) => publishAll(bus, topic, numbered(10, 2))))
      for (const [index, probe] of probes.entries()) await probe.waitExactly(ids[index] ?? [])
      for (const [index, probe] of probes.entries())
        assert.ok(probe.handled.every(({ message }) => message.topic === topics[index]))
    },
  },
  {
    id: 'groups/backlog',
    group,
    invariant: 6,
    title: 'a backlog of thousands is worked off by a group that comes back: each message once, in order by key',
    needs: ['groups', 'redelivery'],
    async run(ctx) {
      const [topic, name, probe] = [ctx.topic(), ctx.group(), ctx.probe()]
      const publisher = await ctx.startedBus()
      const first = await ctx.bus()
      ctx.consume(first, topic, ctx.probe().handler(), { group: name })
      await first.start()
      await first.close()
      const ids = await publishAll(publisher, topic, numbered(6_000, 40))
      ctx.consume(publisher, topic, probe.handler(), { group: name, concurrency: 64 })
      await probe.waitExactly(ids)
      if (ctx.capabilities.ordering === 'none') return
      for (let key = 0; key < 40; key++) probe.assertOrder(idsOfKey(ids, 40, key))
    },
  },
]

// Longer than most files: a list of scenarios, each independent of the others.
import assert from 'node:assert/strict'
import type { Bus } from '../../core/bus-types.ts'
import type { BusEventName } from '../../core/events.ts'
import type { HandlerContext } from '../../core/handler.ts'
import type { PartitionInfo } from '../../core/transport.ts'
import type { ScenarioContext } from './context.ts'
import type { Scenario } from './scenario.ts'
import { numbered, Planned, publishAll, quick } from './shorthand.ts'

const group = 'observability'

export const observabilityScenarios: readonly Scenario[] = [
  {
    id: 'observability/happy-path',
    group,
    invariant: 14,
    title: 'connect, publish, delivery and ack are reported, each exactly as often as it happened',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      assert.equal(record.count('connect'), 1)
      const ids = await publishAll(bus, topic, numbered(30, 3))
      await probe.waitExactly(ids)
      await ctx.waitUntil(
        () => record.count('ack') === 30,
        () => record.counts(),
      )
      assert.equal(record.count('delivery'), 30)
      assert.equal(
        record.of('published').reduce((total, { count }) => total + count, 0),
        30,
      )
      for (const name of ['retry', 'deadLetter', 'drop', 'settleFailed', 'doubleSettle', 'lost', 'error'] as const)
        assert.equal(record.count(name), 0, name)
      for (const event of [...record.of('delivery'), ...record.of('ack')]) {
        assert.equal(event.topic, topic)
        assert.equal(event.group, ctx.service)
        assert.equal(event.transport, 'main')
        assert.equal(event.attempt, 1)
      }
      assert.ok(record.of('ack').every(({ durationMs }) => durationMs >= 0))
      await bus.close()
      const [disconnect] = record.of('disconnect')
      assert.ok(disconnect === undefined || disconnect.planned, 'a close is planned')
    },
  },
  {
    id: 'observability/failure-path',
    group,
    invariant: 14,
    title: 'each attempt, retry and dead letter is reported once and in order',
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const probe = ctx.probe(() => {
        throw new Planned('always')
      })
      const record = ctx.recorder(bus)
      const handle = ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(3, 5) })
      await bus.start()
      const { id } = await bus.publish(topic, 1)
      await record.waitFor('deadLetter')
      const told: [BusEventName, number][] = []
      for (const { name: event, event: payload } of record.all)
        if (event === 'delivery' || event === 'retry' || event === 'deadLetter' || event === 'ack')
          told.push([event, (payload as { attempt: number }).attempt])
      assert.deepEqual(told, [
        ['delivery', 1],
        ['retry', 1],
        ['delivery', 2],
        ['retry', 2],
        ['delivery', 3],
        ['deadLetter', 3],
      ])
      for (const retry of record.of('retry')) {
        assert.equal(retry.message.id, id)
        assert.equal((retry.error as Error).message, 'planned: always')
        assert.ok(retry.delayMs >= 0)
      }
      const [dead] = record.of('deadLetter')
      assert.deepEqual([dead?.reason, dead?.message.id, dead?.group], ['exhausted', id, name])
      const { failed, retried, deadLettered, acked } = handle.stats()
      assert.deepEqual({ failed, retried, deadLettered, acked }, { failed: 3, retried: 2, deadLettered: 1, acked: 0 })
    },
  },
  {
    id: 'observability/pause',
    group,
    invariant: 14,
    title: 'pause and resume are reported with their reason, and health says paused',
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const record = ctx.recorder(bus)
      const handle = ctx.consume(bus, topic, ctx.probe().handler())
      await bus.start()
      handle.pause()
      handle.pause()
      const paused = (await bus.health()).consumers.find((consumer) => consumer.topic === topic)
      assert.equal(paused?.status, 'paused')
      assert.equal((await bus.health()).status, 'ok', 'a pause is no fault')
      handle.resume()
      assert.deepEqual([record.count('pause'), record.count('resume')], [1, 1])
      assert.equal(record.of('pause')[0]?.reason, record.of('resume')[0]?.reason)
      assert.equal((await bus.health()).consumers.find((consumer) => consumer.topic === topic)?.status, 'ok')
    },
  },
  {
    id: 'observability/stalled',
    group,
    invariant: 12,
    title: 'a consumer that makes no progress though there is work says so and fails health; an idle one does not',
    async run(ctx) {
      const [bus, topic, idle, gate] = [await ctx.bus(), ctx.topic(), ctx.topic('idle'), ctx.gate()]
      const record = ctx.recorder(bus)
      const probe = ctx.probe(() => gate.opened)
      ctx.consume(bus, idle, ctx.probe().handler(), { stalledAfterMs: 100 })
      ctx.consume(bus, topic, probe.handler(), { stalledAfterMs: 200, concurrency: 1, prefetch: 2 })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(5))
      assert.equal((await bus.health()).status, 'ok')
      const stalled = await record.waitFor('stalled')
      assert.equal(stalled.topic, topic)
      assert.ok(stalled.idleMs >= 200)
      assert.ok(stalled.outstanding >= 1)
      const health = await bus.health()
      assert.equal(health.status, 'down')
      assert.equal(health.consumers.find((consumer) => consumer.topic === topic)?.status, 'stalled')
      assert.equal(health.consumers.find((consumer) => consumer.topic === idle)?.status, 'ok')
      gate.open()
      await record.waitFor('recovered')
      await probe.waitExactly(ids)
      await ctx.waitUntil(
        async () => (await bus.health()).status === 'ok',
        () => bus.health(),
      )
      assert.equal(record.count('stalled'), 1, 'once for each episode')
    },
  },
  {
    id: 'observability/health',
    group,
    invariant: 14,
    title: 'health says down before the start and after the close, and ok between',
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      ctx.consume(bus, topic, ctx.probe().handler())
      assert.deepEqual([(await bus.health()).status, (await bus.health()).state], ['down', 'idle'])
      await bus.start()
      const health = await bus.health()
      assert.deepEqual([health.status, health.state], ['ok', 'running'])
      assert.equal(health.transports['main']?.connected, true)
      assert.deepEqual(
        health.consumers.map((consumer) => [consumer.topic, consumer.status]),
        [[topic, 'ok']],
      )
      await bus.close()
      const closed = await bus.health()
      assert.deepEqual([closed.status, closed.state], ['down', 'closed'])
      assert.equal(closed.transports['main']?.connected, false)
    },
  },
  {
    id: 'observability/lag',
    group,
    invariant: 12,
    title: 'the lag of a group is exactly what it has not acked, with the age of the oldest',
    needs: ['lag', 'admin', 'groups', 'redelivery'],
    async run(ctx) {
      const [topic, name, gate] = [ctx.topic(), ctx.group(), ctx.gate()]
      const first = await ctx.bus()
      ctx.consume(first, topic, ctx.probe().handler(), { group: name })
      await first.start()
      await first.close()
      const [bus, before] = [await ctx.startedBus(), Date.now()]
      await publishAll(bus, topic, numbered(7))
      const waiting = await ctx.groupInfo(bus, topic, name)
      assert.equal(waiting?.lag, 7)
      assert.ok(waiting.inFlight === undefined || waiting.inFlight === 0)
      assert.ok(waiting.members === undefined || waiting.members === 0)
      const { oldestUnackedAt } = waiting
      if (oldestUnackedAt !== undefined)
        assert.ok(oldestUnackedAt >= before - 1_000 && oldestUnackedAt <= Date.now() + 1_000)
      const probe = ctx.probe((message) => (Number(message.data) >= 4 ? gate.opened : undefined))
      ctx.consume(bus, topic, probe.handler(), { group: name, order: 'none' })
      await probe.waitHandled(4)
      await ctx.waitUntil(async () => (await ctx.groupInfo(bus, topic, name))?.lag === 3, 'the lag to come down to 3')
      const working = await ctx.groupInfo(bus, topic, name)
      assert.ok(working?.inFlight === undefined || working.inFlight === 3)
      assert.ok(working?.members === undefined || working.members === 1)
      gate.open()
      await ctx.idle(bus, topic, name)
      assert.equal((await ctx.groupInfo(bus, topic, name))?.oldestUnackedAt, undefined)
    },
  },
  {
    id: 'observability/partitions',
    group,
    invariant: 12,
    title: 'the state of a group by partition adds up, positions follow what is acked, and members are named',
    needs: ['lag', 'admin', 'groups', 'redelivery'],
    async run(ctx) {
      const [bus, topic, name, gate] = [await ctx.startedBus(), ctx.topic(), ctx.group(), ctx.gate()]
      const probe = ctx.probe(() => gate.opened)
      await ctx.consume(bus, topic, probe.handler(), { group: name, concurrency: 50 }).ready
      const empty = await partitionsOf(ctx, bus, topic, name)
      if (empty === undefined) return
      for (const { position, head, start, oldestUnackedAt } of empty)
        assert.deepEqual({ position, head, start, oldestUnackedAt }, NOWHERE, 'an empty topic has no positions')

      const before = Date.now()
      const ids = await publishAll(bus, topic, [...numbered(20, 10), ...numbered(5)])
      const busy = await ctx.waitUntil(async () => {
        const found = await partitionsOf(ctx, bus, topic, name)
        return sum(found?.map(({ lag }) => lag)) === 25 ? found : undefined
      }, 'the lags of the partitions to add up to 25')
      for (const { lag, position, head, oldestUnackedAt } of busy) {
        assert.equal(position, undefined, 'nothing is settled')
        if (lag === 0) assert.deepEqual([head, oldestUnackedAt], [undefined, undefined])
        else if (oldestUnackedAt !== undefined) assert.ok(Math.abs(oldestUnackedAt - before) < 60_000)
      }

      gate.open()
      await probe.waitExactly(ids)
      await ctx.idle(bus, topic, name)
      const done = await ctx.waitUntil(async () => {
        const found = await partitionsOf(ctx, bus, topic, name)
        return found?.every(({ lag }) => lag === 0) ? found : undefined
      }, 'every partition to be done')
      for (const [index, { position, head, start, oldestUnackedAt }] of done.entries()) {
        assert.deepEqual(position, head, 'the position of a group that has caught up is the head')
        assert.equal(start === undefined, head === undefined)
        assert.equal(oldestUnackedAt, undefined)
        if (busy[index]?.head !== undefined) assert.notEqual(position, undefined)
      }

      await bus.admin().purge(topic)
      for (const { lag, head, start } of (await partitionsOf(ctx, bus, topic, name)) ?? [])
        assert.deepEqual(
          { lag, head, start },
          { lag: 0, head: undefined, start: undefined },
          'the topic is empty again',
        )

      const other = await ctx.startedBus()
      await ctx.consume(other, topic, probe.handler(), { group: name }).ready
      const members = new Set([bus, other].flatMap((each) => each.snapshot().consumers.map((one) => one.consumerId)))
      await ctx.waitUntil(
        async () => {
          const owned = (await partitionsOf(ctx, bus, topic, name))?.flatMap(({ member }) => member ?? [])
          const named = new Set(owned)
          return [...named].every((id) => members.has(id)) && named.size === Math.min(2, owned?.length ?? 0)
        },
        async () => [members, await partitionsOf(ctx, bus, topic, name)],
      )
    },
  },
  {
    id: 'observability/origin',
    group,
    invariant: 14,
    title: 'handlers and observers know the server, and handlers where on it their message was',
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const seen: Pick<HandlerContext, 'transport' | 'destination' | 'partition'>[] = []
      const observed: unknown[] = []
      const probe = ctx.probe((_message, { transport, destination, partition }) => {
        seen.push({ transport: { ...transport }, destination, partition })
      })
      bus.observe({
        publishStart: ({ transport }) => void observed.push({ ...transport }),
        settleStart: ({ transport }) => void observed.push({ ...transport }),
      })
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const ids = await publishAll(bus, topic, [
        { data: 1, key: 'k' },
        { data: 2, key: 'k' },
      ])
      await probe.waitExactly(ids)
      await ctx.waitUntil(() => observed.length >= 2, 'a settlement to be observed')
      const [first, second] = seen
      assert.deepEqual(first, second, 'messages of one key come from one place')
      const { transport, destination, partition } = first as (typeof seen)[number]
      assert.equal(transport.name, 'main')
      for (const each of observed) assert.deepEqual(each, transport)
      if (transport.server !== undefined) {
        assert.deepEqual(Object.keys(transport.server).sort(), ['host', 'port'])
        assert.match(transport.server.host, /^[^@/\s]+$/, 'a name or an address, and no credentials')
        assert.ok(Number.isInteger(transport.server.port) && transport.server.port > 0)
      }
      assert.equal(typeof destination, 'string')
      assert.notEqual(destination, '')
      if (partition === undefined || !ctx.capabilities.lag) return
      const names = (await partitionsOf(ctx, bus, topic, ctx.service))?.map((each) => each.partition)
      assert.ok(names === undefined || names.includes(partition), `${partition} is none of ${names?.join(', ')}`)
    },
  },
  {
    id: 'observability/admin',
    group,
    invariant: 14,
    title: 'the admin side lists topics and groups, purges a topic and forgets a group',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const [topic, name, probe] = [ctx.topic(), ctx.group(), ctx.probe()]
      const bus = await ctx.startedBus()
      const admin = bus.admin()
      await admin.ensureTopic(topic)
      await admin.ensureTopic(topic)
      assert.ok((await admin.topics()).some((info) => info.topic === topic))
      const handle = ctx.consume(bus, topic, probe.handler(), { group: name })
      await handle.ready
      assert.deepEqual(
        (await admin.groups(topic)).map((info) => info.group),
        [name],
      )
      assert.ok((await admin.groups()).some((info) => info.topic === topic && info.group === name))
      const ids = await publishAll(bus, topic, numbered(5))
      await probe.waitExactly(ids)
      await handle.close()
      await publishAll(bus, topic, numbered(4))
      const purged = await admin.purge(topic)
      assert.ok(purged === undefined || purged >= 4)
      await admin.deleteGroup(topic, name)
      await ctx.waitUntil(async () => (await admin.groups(topic)).length === 0, 'the group to be forgotten')
      const [again] = [ctx.probe()]
      await ctx.consume(bus, topic, again.handler(), { group: name }).ready
      const after = await publishAll(bus, topic, numbered(3))
      await again.waitExactly(after)
    },
  },
  {
    id: 'observability/bad-listeners',
    group,
    invariant: 13,
    title: 'listeners that throw or reject do no harm to messages',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      bus.events.onAny(() => {
        throw new Planned('listener')
      })
      // oxlint-disable-next-line typescript/no-misused-promises -- that is the mistake
      bus.events.on('delivery', async () => {
        await Promise.resolve()
        throw new Planned('async listener')
      })
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(10, 2))
      await probe.waitExactly(ids)
      await ctx.waitUntil(
        () => record.count('ack') === 10,
        () => record.counts(),
      )
    },
  },
  {
    id: 'observability/bad-handlers',
    group,
    invariant: 13,
    title: 'handlers that misbehave in every way end in a retry or a dead letter, never in an unhandled rejection',
    needs: ['admin'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      const misbehave: (() => unknown)[] = [
        () => {
          throw new Planned('at once')
        },
        () => Promise.reject(new Planned('later')),
        () => ({
          // oxlint-disable-next-line unicorn/no-thenable -- that is the point
          then(_resolve: unknown, reject: (error: unknown) => void) {
            reject(new Planned('thenable'))
          },
        }),
        () => ({
          // oxlint-disable-next-line unicorn/no-thenable -- that is the point
          then() {
            throw new Planned('throwing thenable')
          },
        }),
        () => Promise.reject(undefined),
      ]
      const calls: number[] = []
      ctx.consume(
        bus,
        topic,
        (message) => {
          calls.push(Number(message.data))
          return misbehave[Number(message.data)]?.()
        },
        { group: name, retry: quick(2) },
      )
      await bus.start()
      await publishAll(bus, topic, numbered(misbehave.length))
      await ctx.deadLetters(bus, topic, name, misbehave.length)
      assert.equal(calls.length, 2 * misbehave.length)
      assert.equal((await bus.health()).status, 'ok')
    },
  },
]

const NOWHERE = { position: undefined, head: undefined, start: undefined, oldestUnackedAt: undefined }

/** The partitions of a group, after a check that they add up; undefined where the transport does not report them. */
async function partitionsOf(
  ctx: ScenarioContext,
  bus: Bus,
  topic: string,
  name: string,
): Promise<readonly PartitionInfo[] | undefined> {
  const info = await ctx.groupInfo(bus, topic, name)
  const partitions = info?.partitions
  if (info === undefined || partitions === undefined) return undefined
  assert.ok(partitions.length > 0)
  assert.equal(new Set(partitions.map(({ partition }) => partition)).size, partitions.length, 'names are unique')
  for (const { lag, inFlight, ready } of partitions)
    for (const count of [lag, inFlight, ready])
      assert.ok(count === undefined || (Number.isInteger(count) && count >= 0))
  for (const field of ['lag', 'inFlight', 'ready'] as const) {
    const total = sum(partitions.map((each) => each[field]))
    assert.ok(total === undefined || total === info[field], `${field}: ${total} in all, ${info[field]} of the group`)
  }
  return partitions
}

/** Undefined when any of them is unknown. */
function sum(numbers: readonly (number | undefined)[] = []): number | undefined {
  return numbers.reduce((total, each) => (total === undefined || each === undefined ? undefined : total + each), 0)
}

// Longer than most files: a list of scenarios, each independent of the others.
import assert from 'node:assert/strict'
import type { Bus } from '../../core/bus-types.ts'
import { sleep, systemClock } from '../../core/clock.ts'
import { PublishError } from '../../core/errors.ts'
import type { Scenario } from './scenario.ts'
import { idsOfKey, numbered, Planned, publishAll, quick, work } from './shorthand.ts'

const group = 'lifecycle'

export const lifecycleScenarios: readonly Scenario[] = [
  {
    id: 'lifecycle/drain',
    group,
    invariant: 11,
    title: 'drain finishes what runs and hands the rest back at once, to another member',
    needs: ['redelivery', 'groups'],
    async run(ctx) {
      const [topic, gate] = [ctx.topic(), ctx.gate()]
      const probe = ctx.probe((_message, _ctx, by) => (by === 'first' ? gate.opened : undefined))
      const [first, second] = [await ctx.bus(), await ctx.bus()]
      const handle = ctx.consume(first, topic, probe.handler('first'), { order: 'none', concurrency: 2, prefetch: 20 })
      await first.start()
      const ids = await publishAll(first, topic, numbered(30))
      await ctx.waitUntil(
        () => handle.stats().received === 20,
        () => handle.stats(),
      )
      const draining = handle.drain()
      ctx.consume(second, topic, probe.handler('second'), { order: 'none' })
      await second.start()
      await probe.waitHandled(28)
      assert.ok(probe.handled.every(({ by }) => by === 'second'))
      assert.equal(probe.started.filter(({ by }) => by === 'first').length, 2, 'intake must stop at once')
      gate.open()
      await draining
      await probe.waitExactly(ids)
      assert.equal(handle.stats().acked, 2)
      await ctx.idle(second, topic, ctx.service)
      probe.assertExactly(ids)
    },
  },
  {
    id: 'lifecycle/close-finishes',
    group,
    invariant: 11,
    title: 'close waits for running handlers, and what they finished is acked',
    needs: ['redelivery'],
    async run(ctx) {
      const [topic, gate] = [ctx.topic(), ctx.gate()]
      const probe = ctx.probe((_message, _ctx, by) => (by === 'first' ? gate.opened : undefined))
      const first = await ctx.bus({ closeTimeoutMs: 60_000 })
      ctx.consume(first, topic, probe.handler('first'))
      await first.start()
      const { id } = await first.publish(topic, 1)
      await probe.waitStarted(1)
      let closed = false
      const closing = first.close().then(() => (closed = true))
      const second = await ctx.startedBus()
      assert.equal(closed, false, 'close must wait for the handler')
      gate.open()
      await closing
      assert.equal(first.state, 'closed')
      ctx.consume(second, topic, probe.handler('second'))
      const sentinel = await second.publish(topic, 2)
      await probe.waitExactly([id, sentinel.id])
    },
  },
  {
    id: 'lifecycle/close-deadline',
    group,
    invariant: 11,
    title:
      'close ends within its deadline even if a handler is stuck; that handler is aborted, and its message comes back',
    needs: ['redelivery'],
    async run(ctx) {
      const topic = ctx.topic()
      let aborted = false
      const stuck = ctx.probe((_message, { signal }) => {
        signal.addEventListener('abort', () => (aborted = true), { once: true })
        return new Promise(() => undefined)
      })
      const first = await ctx.bus()
      ctx.consume(first, topic, stuck.handler())
      await first.start()
      const { id } = await first.publish(topic, 1)
      await stuck.waitStarted(1)
      const startedAt = performance.now()
      await first.close({ timeoutMs: 150 })
      const took = performance.now() - startedAt
      assert.ok(took >= 140 && took < 150 + 2_000, `close with a deadline of 150 ms took ${took} ms`)
      assert.ok(aborted, 'the signal of the stuck handler must abort')
      const [second, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(second, topic, probe.handler())
      await second.start()
      await probe.waitExactly([id])
    },
  },
  {
    id: 'lifecycle/close-with-retries',
    group,
    invariant: 11,
    title:
      'messages that wait for their retry go to another member when this one closes: in order, and not before their time',
    needs: ['redelivery'],
    waits: true,
    async run(ctx) {
      const topic = ctx.topic()
      const delayMs = 2_500
      const failing = ctx.probe(() => {
        throw new Planned('always')
      })
      const first = await ctx.bus()
      const record = ctx.recorder(first)
      ctx.consume(first, topic, failing.handler(), { retry: { ...quick(5, delayMs), mode: 'inline' } })
      await first.start()
      const ids = await publishAll(first, topic, numbered(6, 2))
      await ctx.waitUntil(
        () => record.count('retry') >= 2,
        () => record.counts(),
      )
      const closingAt = performance.now()
      await first.close()
      assert.ok(performance.now() - closingAt < 2_000, 'close must not wait for a retry')
      const [second, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(second, topic, probe.handler())
      await second.start()
      await probe.waitExactly(ids)
      for (const failed of failing.started) {
        const waited = (probe.started.find(({ id }) => id === failed.id)?.at ?? 0) - failed.at
        assert.ok(waited >= delayMs - 50, `${failed.id} was tried again ${Math.round(waited)} ms after its failure`)
      }
      if (ctx.capabilities.ordering === 'none') return
      for (const key of [0, 1]) probe.assertOrder(idsOfKey(ids, 2, key))
    },
  },
  {
    id: 'lifecycle/start-waits',
    group,
    invariant: 11,
    title: 'start waits for a broker that is not up yet, and everything works then',
    needs: ['fault:restartBroker'],
    async run(ctx) {
      const [topic, probe] = [ctx.topic(), ctx.probe()]
      const restarting = ctx.faults.restartBroker?.()
      // Some reach the broker while it goes down, some while it is away.
      const buses: Bus[] = []
      const starting: Promise<void>[] = []
      while (buses.length < 5) {
        const bus = await ctx.bus({ startTimeoutMs: ctx.patienceMs * 3 })
        ctx.consume(bus, topic, probe.handler())
        buses.push(bus)
        const start = bus.start()
        starting.push(start)
        await Promise.race([start, sleep(systemClock, 100)])
      }
      await restarting
      await Promise.all(starting)
      const ids = await Promise.all(buses.map(async (bus) => (await bus.publish(topic, 1)).id))
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'lifecycle/after-close',
    group,
    invariant: 11,
    title: 'a closed bus refuses to publish, to consume and to start; closing twice is fine',
    async run(ctx) {
      const [bus, topic] = [await ctx.startedBus(), ctx.topic()]
      await Promise.all([bus.close(), bus.close()])
      await bus.close()
      assert.equal(bus.state, 'closed')
      await assert.rejects(() => bus.publish(topic, 1), { code: 'BUSBAR_STATE' })
      await assert.rejects(() => bus.publishMany(topic, [{ data: 1 }]), { code: 'BUSBAR_STATE' })
      assert.throws(() => ctx.consume(bus, topic, ctx.probe().handler()), { code: 'BUSBAR_STATE' })
      await assert.rejects(() => bus.start(), { code: 'BUSBAR_STATE' })
      const never = await ctx.bus()
      await assert.rejects(() => never.publish(topic, 1), { code: 'BUSBAR_STATE' })
      await never.close()
      await assert.rejects(() => never.start(), { code: 'BUSBAR_STATE' })
    },
  },
  {
    id: 'lifecycle/publish-then-close',
    group,
    invariant: 11,
    title: 'publishes that are under way when the bus closes are all settled, truthfully',
    needs: ['redelivery'],
    async run(ctx) {
      const [topic, name, book] = [ctx.topic(), ctx.group(), ctx.ledger()]
      const [receiver, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(receiver, topic, probe.handler(), { group: name })
      await receiver.start()
      const bus = await ctx.startedBus({ publish: { maxBatchSize: 10 } })
      const results = Array.from({ length: 300 }, (_, number) => {
        const id = `${topic}-${number}`
        return bus.publish(topic, number, { id, key: 'one' }).then(
          () => book.published(id, 'confirmed', 'one'),
          (error: unknown) => {
            assert.ok(error instanceof PublishError, `it must be a PublishError, got ${String(error)}`)
            book.published(id, error.outcome)
          },
        )
      })
      await bus.close()
      await Promise.all(results)
      const { confirmed } = book.report()
      await ctx.waitUntil(
        () => probe.handled.length >= confirmed,
        () => `${probe.handled.length} of ${confirmed} handled`,
      )
      await ctx.idle(receiver, topic, name)
      for (const id of probe.ids()) book.handled(id)
      book.check()
    },
  },
  {
    id: 'lifecycle/consume-after-start',
    group,
    invariant: 11,
    title: 'a consumer may be added to a running bus, and closed alone, while others continue',
    async run(ctx) {
      const bus = await ctx.startedBus()
      const [left, right] = [ctx.topic('left'), ctx.topic('right')]
      const [probe, other] = [ctx.probe(), ctx.probe()]
      const handle = ctx.consume(bus, left, probe.handler())
      const stays = ctx.consume(bus, right, other.handler())
      await Promise.all([handle.ready, stays.ready])
      const ids = await publishAll(bus, left, numbered(5))
      await probe.waitExactly(ids)
      await handle.close()
      const rest = await publishAll(bus, right, numbered(5))
      await other.waitExactly(rest)
      assert.equal((await bus.health()).status, 'ok')
      if (!ctx.capabilities.redelivery) return
      const missed = await publishAll(bus, left, numbered(3))
      const again = ctx.probe()
      await ctx.consume(bus, left, again.handler()).ready
      await again.waitExactly(missed)
    },
  },
  {
    id: 'lifecycle/extension',
    group,
    invariant: 11,
    title: 'an extension publishes while it starts, drains and closes, and its figures are plain data',
    async run(ctx) {
      const [topic, probe] = [ctx.topic(), ctx.probe()]
      const other = await ctx.bus()
      ctx.consume(other, topic, probe.handler())
      await other.start()
      const ids: string[] = []
      const bus = await ctx.bus()
      const publish = async (step: string): Promise<void> => void ids.push((await bus.publish(topic, step)).id)
      await bus.use({
        name: 'steps',
        start: () => publish('start'),
        drain: () => publish('drain'),
        close: () => publish('close'),
      })
      await bus.start()
      const snapshot = bus.snapshot()
      assert.deepEqual(JSON.parse(JSON.stringify(snapshot)), snapshot)
      assert.deepEqual(
        snapshot.published.topics.map((count) => [count.topic, count.confirmed]),
        [[topic, 1]],
      )
      assert.deepEqual((await bus.health()).extensions, { steps: { status: 'ok' } })
      await bus.close()
      assert.equal(ids.length, 3)
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'lifecycle/async-dispose',
    group,
    invariant: 11,
    title: '`await using` closes the bus',
    async run(ctx) {
      const bus = await ctx.bus()
      await bus.start()
      assert.equal(bus.state, 'running')
      // What `await using` calls; the statement itself is a syntax error on Node 22, which runs this file as it is.
      await bus[Symbol.asyncDispose]()
      assert.equal(bus.state, 'closed')
    },
  },
  {
    id: 'lifecycle/two-buses',
    group,
    invariant: 11,
    title: 'two buses in one process do not disturb each other; closing one leaves the other at work',
    async run(ctx) {
      const topic = ctx.topic()
      const buses = [
        await ctx.bus({ service: ctx.group('one') }),
        await ctx.bus({ service: ctx.group('two') }),
      ] as const
      const probes = [ctx.probe(), ctx.probe()] as const
      for (const [index, bus] of buses.entries()) ctx.consume(bus, topic, probes[index]?.handler() ?? assert.fail())
      await Promise.all(buses.map((bus) => bus.start()))
      const ids = await publishAll(buses[0], topic, numbered(10, 2))
      for (const probe of probes) await probe.waitExactly(ids)
      await buses[0].close()
      const more = await publishAll(buses[1], topic, numbered(10, 2))
      await probes[1].waitExactly([...ids, ...more])
      probes[0].assertExactly(ids)
    },
  },
  {
    id: 'lifecycle/nothing-left',
    group,
    invariant: 11,
    title: 'after close no timer, socket or listener of the bus is left in the process',
    async run(ctx) {
      const cycle = async (): Promise<void> => {
        const [bus, probe, topic] = [await ctx.bus(), ctx.probe(), ctx.topic()]
        ctx.consume(bus, topic, probe.handler(), { retry: quick(2, 60_000) })
        await bus.start()
        await bus.publish(topic, 1)
        await probe.waitHandled(1)
        await bus.close()
      }
      // What a client library allocates permanently, it allocates the first time.
      await cycle()
      const before = resources()
      const listeners = listenerCounts()
      for (let round = 0; round < 3; round++) await cycle()
      await ctx.waitUntil(
        () => {
          const now = resources()
          return [...now].every(([type, count]) => count <= (before.get(type) ?? 0))
        },
        () => ({ before, now: resources() }),
      )
      assert.deepEqual(listenerCounts(), listeners, 'listeners on `process` must go with the bus')
    },
  },
  {
    id: 'lifecycle/process-ends',
    group,
    invariant: 11,
    title: 'a process that has closed its bus ends by itself',
    needs: ['child'],
    async run(ctx) {
      const publisher = await ctx.childPublisher({ topic: ctx.topic(), count: 10 })
      if (ctx.capabilities.durable) {
        const topic = ctx.topic('consumed')
        const consumer = await ctx.childConsumer({ topic })
        const bus = await ctx.startedBus()
        await publishAll(bus, topic, numbered(10, 2))
        await consumer.waitFor('acked', 10, { timeoutMs: ctx.patienceMs })
        assert.deepEqual(await consumer.stop({ timeoutMs: ctx.patienceMs }), { code: 0, signal: null })
        assert.equal(new Set(consumer.ids('done')).size, 10)
        assert.equal(consumer.ids('done').length, 10)
      }
      assert.deepEqual(await publisher.stop({ timeoutMs: ctx.patienceMs }), { code: 0, signal: null })
    },
  },
  {
    id: 'lifecycle/close-while-starting',
    group,
    invariant: 11,
    title: 'a bus that is closed while it starts ends, leaves nothing behind and holds no messages',
    needs: ['redelivery'],
    async run(ctx) {
      const [topic, probe] = [ctx.topic(), ctx.probe()]
      for (const settled of [0, 1, 5]) {
        const bus = await ctx.bus()
        ctx.consume(bus, topic, probe.handler('early'))
        const starting = bus.start().then(
          () => undefined,
          (error: unknown) => error,
        )
        // Immediately, and in the middle of starting.
        if (settled > 0) await work(settled)
        await bus.close()
        const error = await starting
        assert.ok(error === undefined || error instanceof Error)
        assert.equal(bus.state, 'closed')
      }
      const bus = await ctx.bus()
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(10, 3))
      await probe.waitExactly(ids)
      assert.ok(probe.handled.every(({ by }) => by === ''))
    },
  },
  {
    id: 'lifecycle/many-consumers',
    group,
    invariant: 11,
    title: 'one bus carries many consumers',
    async run(ctx) {
      const bus = await ctx.bus()
      const topics = Array.from({ length: 30 }, (_, number) => ctx.topic(`t${number}`))
      const probes = topics.map((topic) => {
        const probe = ctx.probe()
        ctx.consume(bus, topic, probe.handler())
        return probe
      })
      await bus.start()
      const ids = await Promise.all(topics.map((topic) => publishAll(bus, topic, numbered(5, 2))))
      for (const [index, probe] of probes.entries()) await probe.waitExactly(ids[index] ?? [])
    },
  },
]

/** Kinds that come and go with any asynchronous work, ours or the runner's. */
const PASSING = new Set([
  'Immediate',
  'FSReqPromise',
  'FSReqCallback',
  'CloseReq',
  'TTYWrap',
  'PipeWrap',
  'MessagePort',
])

function resources(): Map<string, number> {
  const counts = new Map<string, number>()
  for (const type of process.getActiveResourcesInfo())
    if (!PASSING.has(type)) counts.set(type, (counts.get(type) ?? 0) + 1)
  return counts
}

function listenerCounts(): Record<string, number> {
  return Object.fromEntries(process.eventNames().map((name) => [String(name), process.listenerCount(name)]))
}

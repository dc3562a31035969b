import assert from 'node:assert/strict'
import type { Scenario } from './scenario.ts'
import { numbered, Planned, publishAll, work } from './shorthand.ts'

const group = 'delay'
const DELAY_MS = 2_000
const MANY = 100

/** Events that must not shorten the delay of a retry. */
export const delaysKeptScenarios: readonly Scenario[] = [
  {
    id: 'delay/kept-by-pause',
    group,
    invariant: 4,
    title: 'a retry that waits keeps its time when its consumer is paused and resumed, and its key waits with it',
    needs: ['redelivery'],
    waits: true,
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe((message, handler) => {
        if (message.data === 0 && handler.attempt === 1) handler.retry({ delayMs: DELAY_MS })
      })
      const record = ctx.recorder(bus)
      const consumer = ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(3, 1))
      await ctx.waitUntil(
        () => record.count('retry') === 1,
        () => record.counts(),
      )
      consumer.pause()
      consumer.resume()
      await probe.waitExactly(ids)
      const [failed, again] = probe.started.filter(({ id }) => id === ids[0])
      const waited = (again?.at ?? 0) - (failed?.at ?? 0)
      assert.ok(waited >= DELAY_MS - 50, `it was tried again after ${Math.round(waited)} ms`)
      if (ctx.capabilities.ordering !== 'none') probe.assertOrder(ids)
    },
  },
  {
    id: 'delay/kept-by-many-pauses',
    group,
    invariant: 5,
    title: 'nothing overtakes a retry that waits when its consumer is paused and resumed while messages arrive',
    needs: ['redelivery', 'ordering:key'],
    waits: true,
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe((message, handler) => {
        if (message.data === 0 && handler.attempt === 1) handler.retry({ delayMs: DELAY_MS })
      })
      const consumer = ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const ids: string[] = []
      for (const { data, ...options } of numbered(MANY, 1)) {
        ids.push((await bus.publish(topic, data, options)).id)
        if (ids.length === 1) await probe.waitStarted(1)
        // Its message may arrive before, in and after this turn.
        if (ctx.random.chance(0.3)) await work(ctx.random.integer(0, 3))
        consumer.pause()
        if (ctx.random.chance(0.2)) await work(ctx.random.integer(0, 3))
        consumer.resume()
      }
      await probe.waitExactly(ids)
      probe.assertOrder(ids)
    },
  },
  {
    id: 'delay/kept-by-drain',
    group,
    invariant: 4,
    title: 'a handler that fails while its bus closes has its retry after its delay, at another member',
    needs: ['redelivery'],
    async run(ctx) {
      const [topic, gate] = [ctx.topic(), ctx.gate()]
      const failing = ctx.probe(async (_message, handler) => {
        await gate.opened
        handler.retry({ delayMs: DELAY_MS })
      })
      const first = await ctx.bus()
      ctx.consume(first, topic, failing.handler())
      await first.start()
      const ids = await publishAll(first, topic, numbered(3, 1))
      await failing.waitStarted(1)
      const closing = first.close()
      gate.open()
      await closing
      const failedAt = performance.now()
      const [second, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(second, topic, probe.handler())
      await second.start()
      await probe.waitExactly(ids)
      const waited = (probe.started.find(({ id }) => id === ids[0])?.at ?? 0) - failedAt
      assert.ok(waited >= DELAY_MS - 300, `it was tried again after ${Math.round(waited)} ms`)
      if (ctx.capabilities.ordering !== 'none') probe.assertOrder(ids)
    },
  },
  {
    id: 'delay/kept-by-crash',
    group,
    invariant: 4,
    title: 'a retry that waits in a process keeps its time, and its key its order, when that process is killed',
    needs: ['redelivery', 'attempts', 'child', 'durable', 'ordering:key'],
    async run(ctx) {
      const [bus, topic, name] = [await ctx.startedBus(), ctx.topic(), ctx.group()]
      const delayMs = 6_000
      const retry = { attempts: 5, mode: 'inline' as const }
      const handler = { failUpTo: 1, retryDelayMs: delayMs, workMs: 50 }
      const child = await ctx.childConsumer({ topic, options: { group: name, retry }, handler })
      const ids = await publishAll(bus, topic, numbered(3, 1))
      await child.waitFor('failed', 1, { timeoutMs: ctx.patienceMs })
      const failedAt = Date.now()
      // The retry is recorded right after the failure; its neighbour with another key shows that the broker has it.
      const other = await bus.publish(topic, 'other', { key: 'other' })
      await ctx.waitUntil(
        () => child.records().some(({ type, id }) => type === 'failed' && id === other.id),
        'the neighbour must have failed too',
      )
      await child.kill()
      const probe = ctx.probe()
      ctx.consume(bus, topic, probe.handler(), { group: name, retry })
      await ctx.waitUntil(
        () => probe.ids().length >= 4,
        () => `${probe.ids().length} of 4 handled`,
      )
      const first = probe.started.find(({ id }) => id === ids[0])
      const waited = Date.now() - failedAt - (performance.now() - (first?.at ?? 0))
      assert.ok(waited >= delayMs - 600, `it was tried again after ${Math.round(waited)} ms`)
      assert.equal(first?.attempt, 2)
      probe.assertOrder(ids)
    },
  },
  {
    id: 'delay/kept-by-restarts',
    group,
    invariant: 4,
    title: 'a service that restarts again and again does not use up the retries of a message that waits',
    needs: ['redelivery', 'admin'],
    async run(ctx) {
      const topic = ctx.topic()
      const failing = ctx.probe(() => {
        throw new Planned('always')
      })
      const retry = { attempts: 3, backoff: 'fixed' as const, baseMs: 60_000, maxMs: 60_000 }
      for (let life = 0; life < 4; life++) {
        const bus = await ctx.bus()
        ctx.consume(bus, topic, failing.handler(), { retry })
        await bus.start()
        if (life === 0) await bus.publish(topic, 1, { key: 'k' })
        await failing.waitStarted(1)
        const { id } = await bus.publish(topic, 2, { key: `other-${life}` })
        await ctx.waitUntil(
          () => failing.started.some((seen) => seen.id === id),
          () => `life ${life}: the other message must be tried`,
        )
        await bus.close()
      }
      const first = failing.started[0]?.id ?? ''
      assert.deepEqual(failing.attemptsOf(first), [1], 'its retry is due in a minute')
    },
  },
]

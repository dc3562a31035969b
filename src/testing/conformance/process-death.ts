import assert from 'node:assert/strict'
import type { Child } from '../child-process.ts'
import type { ChildRecord } from '../child-protocol.ts'
import type { Scenario } from './scenario.ts'
import { FREEZE_MS, numbered, publishAll, quick, work } from './shorthand.ts'

const group = 'redelivery'

/** What happens to messages when our own processes are killed or frozen. */
export const processDeathScenarios: readonly Scenario[] = [
  {
    id: 'publish/killed-publisher',
    group: 'publish',
    invariant: 1,
    title: 'what a publisher had confirmed before SIGKILL is handled; what it had not sent is not',
    needs: ['durable', 'child'],
    async run(ctx) {
      const [bus, topic, probe, book] = [await ctx.bus(), ctx.topic(), ctx.probe(), ctx.ledger()]
      ctx.consume(bus, topic, probe.handler(), { concurrency: 50 })
      await bus.start()
      const child = await ctx.childPublisher({ topic, count: 100_000, keys: 4, outstanding: 8 })
      await child.waitFor('confirmed', 50, { timeoutMs: ctx.patienceMs })
      await child.killAtRandom(ctx.random, 50)
      const confirmed = new Set(child.ids('confirmed'))
      for (const { id, key } of child.records().filter(({ type }) => type === 'sent'))
        book.published(id, confirmed.has(id) ? 'confirmed' : 'unknown', key)
      await ctx.waitUntil(
        () => {
          const handled = new Set(probe.ids())
          return [...confirmed].every((id) => handled.has(id))
        },
        () => `${probe.handled.length} handled of ${confirmed.size} confirmed`,
      )
      await ctx.idle(bus, topic, ctx.service)
      for (const id of probe.ids()) book.handled(id)
      // Eight publishes run at once, each in another worker: their order is not guaranteed.
      book.check({ order: false })
    },
  },
  {
    id: 'redelivery/sigkill',
    group,
    invariant: 8,
    title: 'what a killed process had not acked goes to another one; what it had acked does not',
    needs: ['redelivery', 'child', 'durable'],
    waits: true,
    async run(ctx) {
      const [bus, topic, name] = [await ctx.startedBus(), ctx.topic(), ctx.group()]
      const options = { group: name, concurrency: 20 }
      const child = await ctx.childConsumer({ topic, options, handler: { hangUpTo: 0 } })
      const done = await publishAll(bus, topic, numbered(20, 0))
      await child.waitFor('acked', 20, { timeoutMs: ctx.patienceMs })
      await child.kill()
      const stuck = await ctx.childConsumer({ topic, options, handler: { hangUpTo: 9 } })
      const ids = await publishAll(bus, topic, numbered(20, 0))
      await stuck.waitFor('start', 20, { timeoutMs: ctx.patienceMs })
      await stuck.kill()
      const probe = ctx.probe()
      ctx.consume(bus, topic, probe.handler(), options)
      await probe.waitExactly(ids)
      await ctx.idle(bus, topic, name)
      probe.assertExactly(ids)
      assert.ok(!probe.ids().some((id) => done.includes(id)))
    },
  },
  {
    id: 'redelivery/sigkill-at-random',
    group,
    invariant: 8,
    title: 'consumers killed at random instants: nothing is lost, nothing acked comes back, order by key holds',
    needs: ['redelivery', 'child', 'durable', 'ordering:key'],
    waits: true,
    async run(ctx) {
      const [bus, topic, name, book] = [await ctx.startedBus(), ctx.topic(), ctx.group(), ctx.ledger()]
      const [count, keys, kills] = [600, 8, 3]
      const options = { group: name, concurrency: 8, prefetch: 32 }
      const acked = new Set<string>()
      const handled: string[] = []
      const note = (records: readonly ChildRecord[]): void => {
        const before = new Set(acked)
        for (const { type, id } of records) {
          assert.ok(!(type === 'start' && before.has(id)), `${id} was acked and came back`)
          if (type === 'done') handled.push(id)
          if (type === 'acked') acked.add(id)
        }
      }
      const done = (child: Child): number => new Set([...handled, ...child.ids('done')]).size
      for (let round = 0; round <= kills; round++) {
        const child = await ctx.childConsumer({ topic, options, handler: { workMs: 5 } })
        if (round === 0) {
          const ids = await publishAll(bus, topic, numbered(count, keys))
          for (const [index, id] of ids.entries()) book.published(id, 'confirmed', `k${index % keys}`)
        }
        const enough = round === kills ? count : Math.min(count, new Set(handled).size + 20)
        await ctx.waitUntil(
          () => done(child) >= enough,
          () => `${done(child)} of ${enough} handled in round ${round}`,
        )
        if (round === kills) await ctx.idle(bus, topic, name)
        else await child.killAtRandom(ctx.random, 60)
        note(child.records())
      }
      for (const id of handled) book.handled(id)
      const { duplicates } = book.check({ duplicates: 'any' })
      // Handled, but killed before the ack arrived: at most what one process runs at once, for each kill.
      const most = kills * (options.concurrency + options.prefetch)
      assert.ok(duplicates.length <= most, `${duplicates.length} messages were handled twice, ${most} can be explained`)
    },
  },
  {
    id: 'redelivery/attempts-survive-sigkill',
    group,
    invariant: 7,
    title: 'attempts survive the death of the process that made them',
    needs: ['redelivery', 'attempts', 'child', 'durable'],
    waits: true,
    async run(ctx) {
      const [bus, topic, name] = [await ctx.startedBus(), ctx.topic(), ctx.group()]
      const child = await ctx.childConsumer({ topic, options: { group: name }, handler: { hangUpTo: 9 } })
      const { id } = await bus.publish(topic, 1)
      await child.waitFor('lasting', 1, { timeoutMs: ctx.patienceMs })
      await child.kill()
      const probe = ctx.probe()
      ctx.consume(bus, topic, probe.handler(), { group: name })
      await probe.waitExactly([id])
      assert.deepEqual(probe.attemptsOf(id), [2])
    },
  },
  {
    id: 'redelivery/deadly-message',
    group,
    invariant: 7,
    title: 'a message whose every attempt ends its process is dead-lettered when its attempts are used up',
    needs: ['redelivery', 'attempts', 'child', 'durable', 'admin'],
    waits: true,
    async run(ctx) {
      const [bus, topic, name] = [await ctx.startedBus(), ctx.topic(), ctx.group()]
      const options = { group: name, retry: quick(2) }
      let id: string | undefined
      for (let attempt = 1; attempt <= 2; attempt++) {
        const child = await ctx.childConsumer({ topic, options, handler: { hangUpTo: 9 } })
        id ??= (await bus.publish(topic, 1)).id
        await child.waitFor('lasting', 1, { timeoutMs: ctx.patienceMs })
        await child.kill()
      }
      const probe = ctx.probe()
      ctx.consume(bus, topic, probe.handler(), options)
      const [letter] = await ctx.deadLetters(bus, topic, name, 1)
      assert.equal(letter?.message.id, id)
      assert.equal(letter?.reason, 'exhausted')
      assert.equal(letter?.attempts, 2)
      assert.equal(probe.started.length, 0, 'it must not be tried a third time')
    },
  },
  {
    id: 'redelivery/frozen-process',
    group,
    invariant: 8,
    title: 'a process that freezes and wakes up late loses nothing, and acks nothing that others have',
    needs: ['redelivery', 'child', 'durable'],
    waits: true,
    async run(ctx) {
      const [bus, topic, name, book] = [await ctx.startedBus(), ctx.topic(), ctx.group(), ctx.ledger()]
      const options = { group: name, concurrency: 4, prefetch: 16, order: 'none' as const }
      const child = await ctx.childConsumer({ topic, options, handler: { workMs: 20 } })
      const ids = await publishAll(bus, topic, numbered(80))
      await child.waitFor('done', 8, { timeoutMs: ctx.patienceMs })
      child.freeze()
      const probe = ctx.probe(() => work(5))
      await ctx.consume(bus, topic, probe.handler(), options).ready
      const more = await publishAll(bus, topic, numbered(20))
      // The duration of the freeze is part of the fault.
      await work(FREEZE_MS)
      child.thaw()
      const all = [...ids, ...more]
      for (const id of all) book.published(id, 'confirmed')
      const done = (): string[] => [...child.ids('done'), ...probe.ids()]
      await ctx.waitUntil(
        () => new Set(done()).size === all.length,
        () => `${new Set(done()).size} of ${all.length} handled`,
      )
      await ctx.idle(bus, topic, name)
      for (const id of done()) book.handled(id)
      const { duplicates } = book.check({ duplicates: 'any' })
      assert.ok(duplicates.length <= options.prefetch, `${duplicates.length} were handled twice, 16 can be explained`)
    },
  },
]

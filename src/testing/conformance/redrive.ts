import assert from 'node:assert/strict'
import type { Bus } from '../../core/bus-types.ts'
import { InterruptedError } from '../../core/errors.ts'
import type { ScenarioContext } from './context.ts'
import type { Probe } from './probe.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, numbered, Planned, publishAll, quick } from './shorthand.ts'

const group = 'dead-letter'

interface Broken {
  readonly bus: Bus
  readonly topic: string
  readonly name: string
  readonly probe: Probe
  readonly ids: readonly string[]
  /** Makes the handler succeed from now on. */
  readonly repair: () => void
}

export const redriveScenarios: readonly Scenario[] = [
  {
    id: 'dead-letter/redrive-all',
    group,
    invariant: 6,
    title: 'redriven messages are handled by the group that failed, oldest first, and removed from the dead letters',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const { bus, topic, name, probe, ids, repair } = await broken(ctx, 8, { key: 'one' })
      const letters = bus.deadLetters(topic, name)
      const record = ctx.recorder(bus)
      repair()
      const report = await letters.redrive()
      assert.deepEqual(report, { matched: 8, redriven: 8, failed: [] })
      await probe.waitExactly(ids)
      probe.assertOrder(ids)
      assert.deepEqual(await letters.list(), [])
      for (const id of ids) assert.deepEqual(probe.attemptsOf(id), [1, 1], 'attempts start again')
      assert.deepEqual(
        probe.handled.map(({ message }) => message.data),
        [0, 1, 2, 3, 4, 5, 6, 7],
      )
      assert.deepEqual(
        record.of('redrive').map(({ redriven }) => redriven),
        [8],
      )
      await ctx.idle(bus, topic, name)
      probe.assertExactly(ids)
    },
  },
  {
    id: 'dead-letter/tombstone',
    group,
    invariant: 6,
    title: 'a message without a body is dead-lettered, listed and redriven without one',
    needs: ['admin', 'redelivery', 'tombstones'],
    async run(ctx) {
      let works = false
      const probe = ctx.probe(() => {
        if (!works) throw new Planned('not yet')
      })
      const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group()]
      ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(2) })
      await bus.start()
      const { id } = await bus.publish(topic, null, { key: 'k' })
      const letters = bus.deadLetters(topic, name)
      const [letter] = await ctx.deadLetters(bus, topic, name, 1)
      assert.equal(letter?.message.body, null)
      assert.equal(letter?.data(), null)
      works = true
      assert.deepEqual(await letters.redrive(), { matched: 1, redriven: 1, failed: [] })
      await probe.waitExactly([id])
      assert.equal(probe.handled[0]?.message.body, null)
      assert.equal(probe.handled[0]?.message.data, null)
      assert.equal(probe.handled[0]?.key, 'k')
    },
  },
  {
    id: 'dead-letter/redrive-one-group',
    group,
    invariant: 6,
    title: 'a redrive is seen by the group that failed alone, and by none that comes later',
    needs: ['admin', 'redelivery', 'groups'],
    async run(ctx) {
      const well = ctx.probe()
      const other = ctx.group('other')
      const { bus, topic, name, probe, ids, repair } = await broken(ctx, 5, {
        before: (on, at) => ctx.consume(on, at, well.handler(), { group: other }),
      })
      await well.waitExactly(ids)
      repair()
      await bus.deadLetters(topic, name).redrive()
      await probe.waitExactly(ids)
      // Published after the copies: a consumer that gets copies would have them by now.
      const sentinel = await bus.publish(topic, 'sentinel')
      await well.waitExactly([...ids, sentinel.id])
      await ctx.idle(bus, topic, other)
      assert.equal(well.started.length, 6)
      if (!ctx.capabilities.replay.includes('position')) return
      const late = ctx.probe()
      await ctx.consume(bus, topic, late.handler(), { group: ctx.group('late'), from: 'earliest' }).ready
      await late.waitExactly([...ids, sentinel.id])
    },
  },
  {
    id: 'dead-letter/redrive-selection',
    group,
    invariant: 6,
    title: 'one, a filter, a limit or a dry run: exactly what was asked for moves',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const { bus, topic, name, probe, ids, repair } = await broken(ctx, 10)
      const letters = bus.deadLetters(topic, name)
      const left = async (): Promise<string[]> => (await letters.list()).map(({ message }) => message.id).sort()
      repair()
      const dry = await letters.redrive({ dryRun: true })
      assert.deepEqual([dry.matched, dry.redriven], [10, 0])
      assert.equal((await left()).length, 10)

      const [first, second] = ids as [string, string]
      assert.equal((await letters.get(second))?.message.id, second)
      assert.equal(await letters.get('no such id'), undefined)
      assert.deepEqual((await letters.redrive({ ids: [second] })).redriven, 1)
      await probe.waitExactly([second])

      const even = await letters.redrive({
        filter: ({ message }) => Number(Buffer.from(message.body ?? []).toString()) % 2 === 0,
      })
      assert.equal(even.redriven, 5)
      await probe.waitExactly([second, ...ids.filter((_, index) => index % 2 === 0)])
      assert.ok(probe.ids().includes(first))

      const limited = await letters.redrive({ limit: 2 })
      assert.deepEqual([limited.matched, limited.redriven], [2, 2])
      await probe.waitHandled(8)
      const handled = new Set(probe.ids())
      assert.deepEqual(await left(), ids.filter((id) => !handled.has(id)).sort())
      assert.equal(probe.handled.length, 8)
    },
  },
  {
    id: 'dead-letter/redrive-rate',
    group,
    invariant: 6,
    title: 'a redrive with a rate takes its time and loses nothing',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const { bus, topic, name, probe, ids, repair } = await broken(ctx, 12)
      repair()
      const startedAt = performance.now()
      const report = await bus.deadLetters(topic, name).redrive({ ratePerSecond: 40 })
      const took = performance.now() - startedAt
      assert.equal(report.redriven, 12)
      // Twelve at forty a second: the last one is sent after at least about 275 ms, whatever the step.
      assert.ok(took >= 180, `12 messages at 40 a second took ${took} ms`)
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'dead-letter/redrive-again',
    group,
    invariant: 6,
    title: 'what fails again after a redrive is dead again, counted, and left alone by maxRedrives',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const { bus, topic, name, probe, ids, repair } = await broken(ctx, 2)
      const letters = bus.deadLetters(topic, name)
      for (let round = 1; round <= 2; round++) {
        assert.equal((await letters.redrive()).redriven, 2)
        const again = await ctx.waitUntil(async () => {
          const list = await letters.list()
          return list.length === 2 && list.every(({ redrives }) => redrives === round) ? list : undefined
        }, `both messages to be dead again in round ${round}`)
        assertSame(
          again.map(({ message }) => message.id),
          [...ids],
        )
        for (const { message, attempts } of again) {
          assert.deepEqual({ ...message.headers }, {}, 'the notes of Busbar are not the message’s headers')
          assert.equal(attempts, 1)
        }
      }
      const guarded = await letters.redrive({ maxRedrives: 2 })
      assert.deepEqual([guarded.matched, guarded.redriven], [0, 0])
      repair()
      await letters.redrive({ maxRedrives: 3 })
      await probe.waitExactly(ids)
      assert.deepEqual(await letters.list(), [])
    },
  },
  {
    id: 'dead-letter/redrive-while-away',
    group,
    invariant: 6,
    title: 'a redrive while no member of the group is there waits for the group',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const { bus, topic, name, ids } = await broken(ctx, 3)
      await bus.close()
      const operator = await ctx.startedBus({ service: ctx.group('operator') })
      assert.equal((await operator.deadLetters(topic, name).redrive()).redriven, 3)
      const [next, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(next, topic, probe.handler(), { group: name })
      await next.start()
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'dead-letter/redrive-aborted',
    group,
    invariant: 6,
    title: 'an aborted redrive says what it did; what is left stays, and the next call does the rest',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const { bus, topic, name, probe, ids, repair } = await broken(ctx, 30)
      const letters = bus.deadLetters(topic, name)
      const record = ctx.recorder(bus)
      repair()
      const aborting = new AbortController()
      const redrive = letters.redrive({ ratePerSecond: 20, signal: aborting.signal })
      await probe.waitHandled(3)
      aborting.abort()
      const error: unknown = await redrive.then(
        () => undefined,
        (thrown: unknown) => thrown,
      )
      assert.ok(InterruptedError.is(error), `it must reject with an InterruptedError, got ${String(error)}`)
      const { matched, redriven, failed } = error.report
      assert.equal(error.name, 'AbortError')
      assert.equal(matched, 30)
      assert.ok(redriven >= 3 && redriven < 30, `${redriven} of 30 were redriven`)
      assert.deepEqual(
        record.of('redrive').map((event) => [event.redriven, event.failed, event.complete]),
        [[redriven, failed.length, false]],
      )
      assert.equal((await letters.list()).length, 30 - redriven)
      assert.equal((await letters.redrive()).redriven, 30 - redriven)
      // A copy whose confirmation was not awaited may exist twice.
      await ctx.waitUntil(
        () => new Set(probe.ids()).size === 30,
        () => probe.ids(),
      )
      assertSame([...new Set(probe.ids())], [...ids])
    },
  },
  {
    id: 'dead-letter/purge',
    group,
    invariant: 3,
    title: 'purge deletes what was chosen, says how many, and nothing comes back',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const { bus, topic, name, probe, ids, repair } = await broken(ctx, 6)
      const letters = bus.deadLetters(topic, name)
      assert.equal(await letters.purge({ ids: ids.slice(0, 2) }), 2)
      assertSame(
        (await letters.list()).map(({ message }) => message.id),
        ids.slice(2),
      )
      repair()
      assert.equal((await letters.redrive({ limit: 1 })).redriven, 1)
      await probe.waitHandled(1)
      assert.equal(await letters.purge(), 3)
      assert.deepEqual(await letters.list(), [])
      assert.equal((await letters.redrive()).matched, 0)
    },
  },
  {
    id: 'dead-letter/many',
    group,
    invariant: 3,
    title: 'hundreds of dead letters are all listed, in order, and all redriven',
    needs: ['admin', 'redelivery'],
    async run(ctx) {
      const { bus, topic, name, probe, ids, repair } = await broken(ctx, 450, { key: 'one' })
      const letters = bus.deadLetters(topic, name)
      assert.deepEqual(
        (await letters.list()).map(({ message }) => message.id),
        ids,
      )
      assert.equal((await letters.list({ limit: 7 })).length, 7)
      repair()
      assert.equal((await letters.redrive()).redriven, 450)
      await probe.waitExactly(ids)
      assert.deepEqual(await letters.list(), [])
    },
  },
]

/** A bus whose consumer has dead-lettered everything, waiting to be repaired. */
async function broken(
  ctx: ScenarioContext,
  count: number,
  more: { readonly key?: string; readonly before?: (bus: Bus, topic: string) => unknown } = {},
): Promise<Broken> {
  const [bus, topic, name] = [await ctx.bus(), ctx.topic(), ctx.group('failing')]
  let works = false
  const probe = ctx.probe(() => {
    if (!works) throw new Planned('not yet')
  })
  const handle = ctx.consume(bus, topic, probe.handler(), { group: name, retry: quick(1) })
  more.before?.(bus, topic)
  await bus.start()
  const ids = await publishAll(
    bus,
    topic,
    numbered(count).map((item) => ({ ...item, key: more.key })),
  )
  // Before any query to the broker: listing hundreds of them repeatedly would take the time that creating them needs.
  await ctx.waitUntil(
    () => handle.stats().deadLettered === count,
    () => handle.stats(),
  )
  await ctx.deadLetters(bus, topic, name, count)
  return {
    bus,
    topic,
    name,
    probe,
    ids,
    repair: () => {
      works = true
    },
  }
}

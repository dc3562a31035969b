// Longer than most files: a list of scenarios, each independent of the others.
import assert from 'node:assert/strict'
import type { Bus } from '../../core/bus-types.ts'
import { PublishError } from '../../core/errors.ts'
import type { Ledger } from '../ledger.ts'
import type { ScenarioContext } from './context.ts'
import type { Probe } from './probe.ts'
import { outgoing, publishRaw } from './raw.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, numbered, publishAll, work } from './shorthand.ts'
import { cause, FAULTS_UNDER_LOAD } from './under-load.ts'

const group = 'reconnect'
const PREFETCH = 32
const KEYS = 4
const FAR_AHEAD = 500

export const reconnectScenarios: readonly Scenario[] = [
  ...FAULTS_UNDER_LOAD.map(({ name, title, need, times }): Scenario => ({
    id: `reconnect/${name}-under-load`,
    group,
    invariant: 9,
    title: `${title} while messages flow: every promise is settled, nothing confirmed is lost, order by key holds`,
    needs: [need, 'durable', 'redelivery', 'ordering'],
    run: (ctx) => faultUnderLoad(ctx, () => cause(ctx, need), times),
  })),
  {
    id: 'reconnect/events',
    group,
    invariant: 14,
    title: 'a lost session is reported, and so is its return; health follows',
    needs: ['fault:cutConnections'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      assert.equal(record.count('connect'), 1)
      await ctx.faults.cutConnections?.()
      const { planned } = await record.waitFor('disconnect')
      assert.equal(planned, false)
      const { downMs, attempts } = await record.waitFor('reconnect')
      assert.ok(downMs >= 0 && attempts >= 1)
      await ctx.waitUntil(
        async () => (await bus.health()).status === 'ok',
        () => bus.health(),
      )
      const { id } = await bus.publish(topic, 1)
      await probe.waitExactly([id])
      assert.equal(record.count('connect'), 1, 'connect is for the first time')
    },
  },
  {
    id: 'reconnect/idle',
    group,
    invariant: 9,
    title: 'an idle consumer whose connection was cut is subscribed again at once',
    needs: ['fault:cutConnections', 'redelivery'],
    async run(ctx) {
      const [bus, publisher, topic, probe] = [await ctx.bus(), await ctx.startedBus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      await ctx.faults.cutConnections?.()
      const ids: string[] = []
      for (let number = 0; number < 5; number++) {
        // A publish may fall into the gap; only confirmed ones count.
        const [result] = await publisher.publishMany(topic, [{ data: number }], { allowFailures: true })
        if (result?.error === undefined) ids.push(result?.id ?? '')
      }
      const last = await ctx.waitUntil(
        async () => (await publisher.publishMany(topic, [{ data: 'last' }], { allowFailures: true }))[0],
        'a publish',
      )
      if (last.error === undefined) ids.push(last.id)
      assert.ok(ids.length > 0, 'the publisher must come back')
      await ctx.waitUntil(
        () => ids.every((id) => probe.ids().includes(id)),
        () => `${probe.handled.length} of ${ids.length} handled`,
      )
    },
  },
  {
    id: 'reconnect/old-handlers',
    group,
    invariant: 9,
    title: 'handlers that outlive their session are aborted, and their messages come again in the new one',
    needs: ['fault:cutConnections', 'redelivery', 'lag', 'admin'],
    async run(ctx) {
      const [bus, publisher, topic] = [await ctx.bus(), await ctx.startedBus(), ctx.topic()]
      const record = ctx.recorder(bus)
      // The first calls hang during the disconnect; those of the new session hang until the old ones have ended.
      const [old, fresh] = [ctx.gate(), ctx.gate()]
      let oldRunning = 10
      const probe = ctx.probe(async (_message, { signal }) => {
        const isOld = probe.started.length <= 10
        await (isOld ? old.opened : fresh.opened)
        if (isOld) oldRunning--
        signal.throwIfAborted()
      })
      ctx.consume(bus, topic, probe.handler(), { order: 'none', concurrency: 40 })
      await bus.start()
      const ids = await publishAll(publisher, topic, numbered(10))
      await probe.waitStarted(10)
      await ctx.faults.cutConnections?.()
      await record.waitFor('reconnect')
      old.open()
      await ctx.waitUntil(() => oldRunning === 0, 'the handlers of the old session to end')
      fresh.open()
      const more = await ctx.waitUntil(async () => {
        const results = await publisher.publishMany(topic, numbered(10), { allowFailures: true })
        return results.every(({ error }) => error === undefined) ? results : undefined
      }, 'publishing to work again')
      await ctx.waitUntil(
        () => new Set(probe.ids()).size >= 20,
        () => `${new Set(probe.ids()).size} of 20 handled`,
      )
      await ctx.idle(bus, topic, ctx.service)
      const handled = new Set(probe.ids())
      assert.deepEqual(
        [...ids, ...more.map(({ id }) => id)].filter((id) => !handled.has(id)),
        [],
        'what was lost with the old session must come again',
      )
    },
  },
  {
    id: 'reconnect/old-settles',
    group,
    invariant: 9,
    title: 'no settle of an old session reaches a message of the new one',
    needs: ['fault:cutConnections', 'redelivery'],
    async run(ctx) {
      const [transport, consumer, topic] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic()]
      await consumer.subscribe(transport, { topic, group: ctx.group() })
      consumer.request(100)
      const ids = await publishRaw(
        transport,
        Array.from({ length: 5 }, () => outgoing(topic)),
      )
      await consumer.take(5)
      const old = consumer.deliveries.slice()
      await ctx.faults.cutConnections?.()
      await ctx.waitUntil(
        () => consumer.lostDeliveries.length === 5,
        () => `${consumer.lostDeliveries.length} of 5 deliveries were reported as lost`,
      )
      assert.ok(old.every((delivery) => delivery.lost))
      await consumer.take(10)
      const failures = await consumer.subscription.settle(
        old.map((delivery) => ({ delivery, outcome: { type: 'ack' as const } })),
      )
      assert.deepEqual(
        failures.map(({ index }) => index),
        [0, 1, 2, 3, 4],
        'each ack of the old session must be refused',
      )
      // If one of them had settled a message of the new session, it could not come again now.
      await consumer.settle(consumer.deliveries.slice(5, 10), { type: 'nack', delayMs: 0 })
      await consumer.take(15)
      assertSame(
        consumer.deliveries.slice(10, 15).map(({ message }) => message.id),
        ids,
      )
      await consumer.settle(consumer.deliveries.slice(10, 15))
    },
  },
  {
    id: 'reconnect/lost-before-refused',
    group,
    invariant: 9,
    title: 'all deliveries of a lost connection are reported before the outcome of any of them is refused',
    needs: ['fault:cutConnections', 'redelivery'],
    async run(ctx) {
      const [transport, consumer, topic] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic()]
      await consumer.subscribe(transport, { topic, group: ctx.group() })
      consumer.request(20)
      await publishRaw(
        transport,
        Array.from({ length: 20 }, () => outgoing(topic)),
      )
      const deliveries = (await consumer.take(20)).slice()
      const cut = ctx.faults.cutConnections?.()
      const unreported: string[] = []
      await Promise.all(
        deliveries.map(async (delivery, turns) => {
          // Some outcomes leave before the connection ends, some after it.
          await work(turns)
          const failures = await consumer.subscription.settle([{ delivery, outcome: { type: 'ack' } }])
          if (failures.length === 0) return
          const reported = new Set(consumer.lostDeliveries)
          for (const one of deliveries) if (one.lost && !reported.has(one)) unreported.push(one.message.id)
        }),
      )
      await cut
      assert.deepEqual(unreported, [])
    },
  },
  {
    id: 'reconnect/cut-mid-publish',
    group,
    invariant: 9,
    title: 'publishes that are cut off say the truth: confirmed is there, not-sent is not',
    needs: ['fault:cutConnections', 'redelivery'],
    async run(ctx) {
      const [receiver, topic, probe, book] = [await ctx.bus(), ctx.topic(), ctx.probe(), ctx.ledger()]
      ctx.consume(receiver, topic, probe.handler(), { concurrency: 50 })
      await receiver.start()
      const bus = await ctx.startedBus({ publish: { deliveryTimeoutMs: ctx.patienceMs, maxBatchSize: 10 } })
      const publish = async (id: string, key: string): Promise<void> => {
        try {
          await bus.publish(topic, ctx.random.bytes(1_000), { id, key })
          book.published(id, 'confirmed')
        } catch (error) {
          if (!(error instanceof PublishError)) throw error
          book.published(id, error.outcome)
        }
      }
      for (let round = 0; round < 8; round++) {
        const sending = Array.from({ length: 100 }, (_, number) =>
          publish(`${topic}-${round}-${number}`, `k${number % 9}`),
        )
        // The random time is part of the fault.
        await work(ctx.random.integer(0, 4))
        await ctx.faults.cutConnections?.()
        await Promise.all(sending)
      }
      await everythingHandled(ctx, book, probe)
      await ctx.idle(receiver, topic, ctx.service)
      for (const id of probe.ids()) book.handled(id)
      book.check({ duplicates: 'any' })
    },
  },
  {
    id: 'reconnect/broadcast',
    group,
    invariant: 14,
    title: 'a broadcast consumer whose connection was cut gets what was published meanwhile, or reports a loss',
    needs: ['fault:cutConnections'],
    async run(ctx) {
      const [listener, other, topic, probe] = [await ctx.bus(), await ctx.bus(), ctx.topic(), ctx.probe()]
      const record = ctx.recorder(listener)
      ctx.consume(listener, topic, probe.handler(), { broadcast: true })
      // Another group takes the messages, so that a broker without a log confirms them.
      ctx.consume(other, topic, () => {}, { group: ctx.group() })
      await listener.start()
      await other.start()
      const publisher = await ctx.startedBus({ publish: { deliveryTimeoutMs: ctx.patienceMs } })
      const [confirmed, stop] = [new Set<string>(), new AbortController()]
      const publishing = Promise.all(
        numbered(4).map(async ({ data }) => {
          while (!stop.signal.aborted) {
            await publisher.publish(topic, data).then(
              ({ id }) => confirmed.add(id),
              (error: unknown) => assert.ok(error instanceof PublishError),
            )
            await work(1)
          }
        }),
      )
      const flowing = async (): Promise<void> => {
        const before = probe.ids().length
        await ctx.waitUntil(() => probe.ids().length > before + 20, 'messages to flow')
      }
      for (let cut = 1; cut <= 5; cut++) {
        await flowing()
        await ctx.faults.cutConnections?.()
        await ctx.waitUntil(
          () => record.count('reconnect') >= cut,
          () => `${record.count('reconnect')} of ${cut} reconnects`,
        )
      }
      await flowing()
      stop.abort()
      await publishing
      if (record.count('loss', (loss) => loss.topic === topic) > 0) return
      const missing = (): string[] => [...confirmed].filter((id) => !probe.ids().includes(id))
      await ctx.waitUntil(
        () => missing().length === 0,
        () => `${missing().length} of ${confirmed.size} are missing, and no loss was reported`,
      )
    },
  },
  {
    id: 'reconnect/publish-deadline',
    group,
    invariant: 9,
    title: 'while the broker does not answer, publish rejects by its deadline and says how sure that is',
    needs: ['fault:pauseBroker', 'redelivery'],
    async run(ctx) {
      const [receiver, topic, probe, book] = [await ctx.bus(), ctx.topic(), ctx.probe(), ctx.ledger()]
      ctx.consume(receiver, topic, probe.handler())
      await receiver.start()
      const bus = await ctx.startedBus({ publish: { deliveryTimeoutMs: 700 } })
      const record = ctx.recorder(bus)
      await bus.publish(topic, 'warm', { id: `${topic}-warm` })
      book.published(`${topic}-warm`, 'confirmed')
      const paused = ctx.faults.pauseBroker?.(3_000) ?? assert.fail()
      const startedAt = performance.now()
      let rejected = 0
      await Promise.all(
        Array.from({ length: 10 }, async (_, number) => {
          const id = `${topic}-${number}`
          try {
            await bus.publish(topic, number, { id })
            book.published(id, 'confirmed')
          } catch (error) {
            assert.ok(error instanceof PublishError)
            rejected++
            book.published(id, error.outcome)
          }
        }),
      )
      const took = performance.now() - startedAt
      assert.ok(took < 2_500, `promises took ${took} ms with a delivery timeout of 700`)
      assert.equal(record.count('publishFailed'), rejected, 'each rejection is an event')
      await paused
      const after = await ctx.waitUntil(async () => {
        const [result] = await bus.publishMany(topic, [{ data: 'after' }], { allowFailures: true })
        book.published(result?.id ?? assert.fail(), result?.error === undefined ? 'confirmed' : 'unknown')
        return result?.error === undefined
      }, 'publishing to work again')
      assert.ok(after)
      await everythingHandled(ctx, book, probe)
      await ctx.idle(receiver, topic, ctx.service)
      for (const id of probe.ids()) book.handled(id)
      book.check({ duplicates: 'any' })
    },
  },
  {
    id: 'reconnect/delayed-survives',
    group,
    invariant: 9,
    title: 'a delayed message survives the death of the broker',
    needs: ['fault:killBroker', 'durable', 'delay'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const { id } = await bus.publish(topic, 1, { delayMs: 1_000 })
      await ctx.faults.killBroker?.()
      await probe.waitHandled(1)
      assert.deepEqual(new Set(probe.ids()), new Set([id]))
    },
  },
]

async function faultUnderLoad(ctx: ScenarioContext, fault: () => Promise<void>, times: number): Promise<void> {
  const [topic, name, book] = [ctx.topic(), ctx.group(), ctx.ledger()]
  // Slower than the flow, so that messages wait here; and what was lost meanwhile does not count as handled.
  let held: ReturnType<typeof ctx.gate> | undefined
  const probe = ctx.probe(async (_message, { signal }) => {
    await (held?.opened ?? work(3))
    signal.throwIfAborted()
  })
  const bus = await ctx.bus()
  ctx.consume(bus, topic, probe.handler(), { group: name, concurrency: 4, prefetch: PREFETCH })
  await bus.start()
  const publisher = await ctx.startedBus({ publish: { deliveryTimeoutMs: ctx.patienceMs } })
  const flow = startFlow(publisher, topic, book, () => probe.handled.length)
  await probe.waitHandled(50)
  for (let time = 0; time < times; time++) {
    // A handler is running when the fault happens, however slow the machine: something unacked is always at stake.
    const running = (held = ctx.gate())
    await probe.waitStarted(probe.started.length + 1)
    await fault()
    held = undefined
    running.open()
    // Proof of life before the next fault: something published after it has been handled.
    const before = probe.handled.length
    await ctx.waitUntil(
      () => probe.handled.length > before + 20 && flow.confirmed() > before + 20,
      () => `after the fault: ${probe.handled.length - before} handled, ${flow.confirmed()} confirmed in all`,
    )
  }
  await flow.stop()
  await everythingHandled(ctx, book, probe)
  for (const id of probe.ids()) book.handled(id)
  const { duplicates } = book.check({ duplicates: 'any' })
  // A fault explains a second handling only of what was held here unacked.
  const most = times * (PREFETCH + 4)
  assert.ok(duplicates.length <= most, `${duplicates.length} messages were handled twice; the faults explain ${most}`)
  if (ctx.capabilities.lag) await ctx.idle(bus, topic, name)
}

/** The ledger does not know yet what was handled: that is added at the end. */
async function everythingHandled(ctx: ScenarioContext, book: Ledger, probe: Probe): Promise<void> {
  await ctx.waitUntil(
    () => {
      const handled = new Set(probe.ids())
      return book.report().missing.every((id) => handled.has(id))
    },
    () => `${book.report().confirmed} confirmed, ${new Set(probe.ids()).size} handled`,
  )
}

/**
 * Publishes continuously, one after another within each key, and records it in the ledger. Slower when it is far ahead of the handlers:
 * they are held up for as long as a fault lasts, and have a time limit for what is left then.
 */
function startFlow(
  bus: Bus,
  topic: string,
  book: Ledger,
  handled: () => number,
): { confirmed(): number; stop(): Promise<void> } {
  const until = new AbortController()
  let confirmed = 0
  const publishKey = async (key: string): Promise<void> => {
    for (let number = 0; !until.signal.aborted; number++) {
      const id = `${topic}-${key}-${number}`
      try {
        await bus.publish(topic, number, { id, key })
        confirmed++
        book.published(id, 'confirmed', key)
      } catch (error) {
        if (!(error instanceof PublishError)) throw error
        book.published(id, error.outcome, key)
      }
      await work(confirmed - handled() > FAR_AHEAD ? 50 : 1)
    }
  }
  const done = Promise.all(Array.from({ length: KEYS }, (_, key) => publishKey(`k${key}`)))
  return {
    confirmed: () => confirmed,
    async stop() {
      until.abort()
      await done
    },
  }
}

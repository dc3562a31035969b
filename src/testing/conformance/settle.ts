import assert from 'node:assert/strict'
import { deadLetterTopic } from '../../core/topic.ts'
import { SettlementError, StateError } from '../../core/errors.ts'
import type { Delivery } from '../../core/transport.ts'
import { farTooLarge, outgoing, publishRaw } from './raw.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, numbered, Planned, publishAll, quick } from './shorthand.ts'

const group = 'settle'

export const settleScenarios: readonly Scenario[] = [
  {
    id: 'settle/ack-after-success',
    group,
    invariant: 2,
    title: 'a message counts as unacked for as long as its handler runs',
    needs: ['lag', 'admin'],
    async run(ctx) {
      const [bus, topic, gate] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const probe = ctx.probe(() => gate.opened)
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      const { id } = await bus.publish(topic, 1)
      await probe.waitStarted(1)
      assert.equal((await ctx.groupInfo(bus, topic, ctx.service))?.lag, 1)
      assert.equal(record.count('ack'), 0, 'no ack before the handler has succeeded')
      gate.open()
      await record.waitFor('ack', ({ message }) => message.id === id)
      await ctx.idle(bus, topic, ctx.service)
      probe.assertExactly([id])
    },
  },
  {
    id: 'settle/no-ack-without-success',
    group,
    invariant: 2,
    title: 'a message whose handler never ended is delivered to the next member',
    needs: ['redelivery'],
    async run(ctx) {
      const topic = ctx.topic()
      const stuck = ctx.probe(() => new Promise(() => undefined))
      const first = await ctx.bus()
      ctx.consume(first, topic, stuck.handler(), { abandonAfterMs: 10 })
      await first.start()
      const { id } = await first.publish(topic, 1)
      await stuck.waitStarted(1)
      await first.close({ timeoutMs: 50 })
      const [second, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(second, topic, probe.handler())
      await second.start()
      await probe.waitExactly([id])
      stuck.assertExactly([])
    },
  },
  {
    id: 'settle/acked-stays-away',
    group,
    invariant: 8,
    title: 'what was acked does not come back when the group does',
    needs: ['redelivery'],
    async run(ctx) {
      const [topic, probe] = [ctx.topic(), ctx.probe()]
      const first = await ctx.bus()
      ctx.consume(first, topic, probe.handler('first'))
      await first.start()
      const ids = await publishAll(first, topic, numbered(40, 4))
      await probe.waitExactly(ids)
      await first.close()
      const second = await ctx.bus()
      ctx.consume(second, topic, probe.handler('second'))
      await second.start()
      const more = await publishAll(second, topic, numbered(8, 4))
      await probe.waitExactly([...ids, ...more])
      await ctx.idle(second, topic, ctx.service)
      probe.assertExactly([...ids, ...more])
    },
  },
  {
    id: 'settle/second-refused',
    group,
    invariant: 2,
    title: 'the second settle of one delivery is refused and has no effect',
    needs: ['redelivery'],
    async run(ctx) {
      const [transport, consumer, topic] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic()]
      await consumer.subscribe(transport, { topic, group: ctx.group() })
      consumer.request(10)
      const ids = await publishRaw(transport, [outgoing(topic), outgoing(topic)])
      const [first, second] = (await consumer.take(2)) as [Delivery, Delivery]
      await consumer.settle([first])
      const failures = await consumer.subscription.settle([{ delivery: first, outcome: { type: 'nack', delayMs: 0 } }])
      assert.equal(failures.length, 1, 'the second settle must fail')
      const error = failures[0]?.error
      assert.ok(SettlementError.is(error) || StateError.is(error), `it must be a Busbar error, got ${String(error)}`)
      // The session must have survived it, and the acked one must not come back.
      await consumer.settle([second])
      const [sentinel] = await publishRaw(transport, [outgoing(topic)])
      const all = await consumer.take(3)
      assertSame(consumer.ids(), [...ids, sentinel])
      await consumer.settle([all[2] as Delivery])
    },
  },
  {
    id: 'settle/mixed-batch',
    group,
    invariant: 2,
    title: 'a batch with every kind of outcome does to each delivery what was said of it',
    needs: ['redelivery', 'admin'],
    async run(ctx) {
      const [transport, consumer, topic, name] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic(), ctx.group()]
      const dead = deadLetterTopic(topic, name)
      await consumer.subscribe(transport, { topic, group: name })
      consumer.request(100)
      const ids = await publishRaw(
        transport,
        Array.from({ length: 6 }, () => outgoing(topic)),
      )
      await consumer.take(6)
      const of = (index: number): Delivery =>
        consumer.deliveries.find(({ message }) => message.id === ids[index]) ?? assert.fail()
      const deadLetter = outgoing(dead, { id: ids[3] as string, body: of(3).message.body })
      const failures = await consumer.subscription.settle([
        { delivery: of(0), outcome: { type: 'ack' } },
        { delivery: of(1), outcome: { type: 'nack', delayMs: 0 } },
        { delivery: of(2), outcome: { type: 'release', delayMs: 0 } },
        { delivery: of(3), outcome: { type: 'reject', deadLetter } },
        { delivery: of(4), outcome: { type: 'reject', deadLetter: undefined } },
        { delivery: of(5), outcome: { type: 'ack' } },
      ])
      assert.deepEqual(failures, [])
      const all = await consumer.take(8)
      const again = all.slice(6)
      assertSame(
        again.map(({ message }) => message.id),
        [ids[1], ids[2]],
      )
      const stored = await transport.admin?.read(dead, { limit: 10 })
      assert.deepEqual(
        stored?.map(({ message }) => message.id),
        [ids[3]],
      )
      await consumer.settle(again)
    },
  },
  {
    id: 'settle/out-of-order',
    group,
    invariant: 8,
    title: 'acks in any order: exactly the unacked ones come back',
    needs: ['redelivery'],
    async run(ctx) {
      const [transport, consumer, topic, name] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic(), ctx.group()]
      await consumer.subscribe(transport, { topic, group: name })
      consumer.request(10)
      const ids = await publishRaw(
        transport,
        Array.from({ length: 6 }, () => outgoing(topic)),
      )
      await consumer.take(6)
      const of = (index: number): Delivery =>
        consumer.deliveries.find(({ message }) => message.id === ids[index]) ?? assert.fail()
      await consumer.settle([of(5)])
      await consumer.settle([of(1), of(3)])
      await consumer.close()
      const [other, next] = [await ctx.transport(), ctx.rawConsumer()]
      await next.subscribe(other, { topic, group: name })
      next.request(10)
      await next.take(3)
      const [sentinel] = await publishRaw(other, [outgoing(topic)])
      const all = await next.take(4)
      assertSame(next.ids(), [ids[0], ids[2], ids[4], sentinel])
      await next.settle(all)
    },
  },
  {
    id: 'settle/unconfirmed-dead-letter',
    group,
    invariant: 4,
    title: 'when the dead letter can not be stored, its source is not settled',
    needs: ['redelivery', 'small-limit'],
    async run(ctx) {
      const [transport, consumer, topic, name] = [await ctx.transport(), ctx.rawConsumer(), ctx.topic(), ctx.group()]
      await consumer.subscribe(transport, { topic, group: name })
      consumer.request(10)
      const [id] = await publishRaw(transport, [outgoing(topic)])
      const [delivery] = (await consumer.take(1)) as [Delivery]
      const deadLetter = outgoing(deadLetterTopic(topic, name), {
        body: farTooLarge(transport),
      })
      const failures = await consumer.subscription.settle([{ delivery, outcome: { type: 'reject', deadLetter } }])
      assert.deepEqual(
        failures.map(({ index }) => index),
        [0],
        'the settlement must fail: a dead letter over the limit can not be stored',
      )
      await consumer.close()
      const [other, next] = [await ctx.transport(), ctx.rawConsumer()]
      await next.subscribe(other, { topic, group: name })
      next.request(10)
      const again = await next.take(1)
      assert.deepEqual(next.ids(), [id])
      await next.settle(again)
    },
  },
  {
    id: 'settle/ack-events-and-counts',
    group,
    invariant: 2,
    title: 'every delivery is settled once: acks, and nothing else, in events and counters',
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      const record = ctx.recorder(bus)
      const handle = ctx.consume(bus, topic, probe.handler(), { concurrency: 7 })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(100, 9))
      await probe.waitExactly(ids)
      await ctx.waitUntil(
        () => handle.stats().acked === 100,
        () => handle.stats(),
      )
      assertSame(
        record.of('ack').map(({ message }) => message.id),
        [...ids],
      )
      const { received, handled, failed, retried, deadLettered, doubleSettled, settleFailed, lost } = handle.stats()
      assert.deepEqual(
        { received, handled, failed, retried, deadLettered, doubleSettled, settleFailed, lost },
        {
          received: 100,
          handled: 100,
          failed: 0,
          retried: 0,
          deadLettered: 0,
          doubleSettled: 0,
          settleFailed: 0,
          lost: 0,
        },
      )
    },
  },
  {
    id: 'settle/late-success',
    group,
    invariant: 2,
    title: 'a handler that was given up and ends after all is a second settle: refused, counted, and no ack',
    needs: ['redelivery'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const [first, second] = [ctx.gate(), ctx.gate()]
      const record = ctx.recorder(bus)
      const probe = ctx.probe((_message, { attempt }) => (attempt === 1 ? first.opened : second.opened))
      const handle = ctx.consume(bus, topic, probe.handler(), {
        timeoutMs: 20,
        abandonAfterMs: 20,
        retry: quick(1_000, 5),
        order: 'none',
      })
      await bus.start()
      const { id } = await bus.publish(topic, 1)
      await record.waitFor('abandoned', ({ attempt }) => attempt === 1)
      first.open()
      await record.waitFor('doubleSettle')
      assert.equal(record.count('ack'), 0, 'the late end must not ack')
      second.open()
      await record.waitFor('ack')
      await ctx.waitUntil(
        () => handle.stats().running === 0,
        () => handle.stats(),
      )
      assert.equal(record.count('ack'), 1)
      assert.ok(handle.stats().doubleSettled >= 1)
      assert.ok(probe.started.every((seen) => seen.id === id))
    },
  },
  {
    id: 'settle/deadline',
    group,
    invariant: 2,
    title: 'an attempt that exceeds its deadline is aborted, and counts as failed',
    needs: ['redelivery'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const probe = ctx.probe(async (_message, { attempt, signal }) => {
        if (attempt > 1) return
        await new Promise((_resolve, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
        })
      })
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, probe.handler(), { timeoutMs: 30, retry: quick(3) })
      await bus.start()
      const { id } = await bus.publish(topic, 1)
      await probe.waitExactly([id])
      assert.deepEqual(probe.attemptsOf(id), [1, 2])
      const [retry] = record.of('retry')
      assert.equal((retry?.error as { code?: string } | undefined)?.code, 'BUSBAR_TIMEOUT')
    },
  },
  {
    id: 'settle/batch-results',
    group,
    invariant: 2,
    title: 'a batch handler settles each message by its own result',
    needs: ['redelivery'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      const record = ctx.recorder(bus)
      const handler = probe.batchHandler((message, attempt) =>
        Number(message.data) % 5 === 0 && attempt === 1 ? new Planned('every fifth') : undefined,
      )
      const handle = ctx.consume(bus, topic, handler, {
        batch: { size: 10, timeoutMs: 5 },
        retry: quick(3),
        order: 'none',
      })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(60))
      await probe.waitExactly(ids)
      await ctx.waitUntil(
        () => handle.stats().acked === 60,
        () => handle.stats(),
      )
      assert.equal(record.count('retry'), 12)
      for (const [index, id] of ids.entries())
        assert.deepEqual(probe.attemptsOf(id), index % 5 === 0 ? [1, 2] : [1], `message ${index}`)
    },
  },
]

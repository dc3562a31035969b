import assert from 'node:assert/strict'
import { UnsupportedError } from '../../core/errors.ts'
import type { Transaction } from '../../core/publish/transaction.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, FREEZE_MS, numbered, Planned, work } from './shorthand.ts'

const group = 'transactions'
const invariant = 16

/** `bus.transaction`: messages of any topics, all or none. */
export const transactionScenarios: readonly Scenario[] = [
  {
    id: 'transactions/all',
    group,
    invariant,
    title: 'the messages of a transaction are all handled, once each, in the order of their keys',
    needs: ['transactions'],
    async run(ctx) {
      const [bus, one, two] = [await ctx.bus(), ctx.topic('one'), ctx.topic('two')]
      const [ones, twos] = [ctx.probe(), ctx.probe()]
      ctx.consume(bus, one, ones.handler())
      ctx.consume(bus, two, twos.handler())
      await bus.start()
      let held: readonly string[] = []
      const ids = await bus.transaction(async (tx) => {
        const receipts = await tx.publishMany(one, numbered(40, 4))
        const { id, position } = await tx.publish(two, 'last', { key: 'k', headers: { part: '41' } })
        assert.equal(position, undefined, 'it is held')
        held = [...ones.ids(), ...twos.ids()]
        return [...receipts.map((receipt) => receipt.id), id]
      })
      assert.deepEqual(held, [], 'nothing may be handled before the callback has ended')
      await ones.waitExactly(ids.slice(0, 40))
      await twos.waitExactly(ids.slice(40))
      assert.equal(twos.handled[0]?.message.headers['part'], '41')
      await ctx.idle(bus, one, ctx.service)
      ones.assertExactly(ids.slice(0, 40))
      if (ctx.capabilities.ordering === 'none') return
      for (let key = 0; key < 4; key++) ones.assertOrder(ids.slice(0, 40).filter((_, index) => index % 4 === key))
    },
  },
  {
    id: 'transactions/none',
    group,
    invariant,
    title: 'nothing is handled of a transaction whose callback failed, or one of whose messages could not be made',
    needs: ['transactions'],
    async run(ctx) {
      const [bus, one, two] = [await ctx.bus(), ctx.topic('one'), ctx.topic('two')]
      const probe = ctx.probe()
      ctx.consume(bus, one, probe.handler('one'))
      ctx.consume(bus, two, probe.handler('two'))
      await bus.start()
      const failing: readonly ((tx: Transaction) => unknown)[] = [
        async (tx) => {
          await tx.publish(one, 'never')
          await tx.publish(two, 'never')
          throw new Planned('the callback fails')
        },
        // Neither waited for nor caught: it fails the transaction all the same.
        (tx) => {
          void tx.publish(one, 'never')
          void tx.publish(two, 'never', { headers: { 'not a name': '' } })
        },
        async (tx) => {
          await tx.publish(one, 'never')
          await tx.publish(two, 1n).catch(() => undefined)
        },
      ]
      for (const work of failing) await assert.rejects(bus.transaction(work))
      // Behind them in both topics.
      const last = [(await bus.publish(one, 'last')).id, (await bus.publish(two, 'last')).id]
      await probe.waitExactly(last)
      await ctx.idle(bus, one, ctx.service)
      await ctx.idle(bus, two, ctx.service)
      probe.assertExactly(last)
    },
  },
  {
    id: 'transactions/many-at-once',
    group,
    invariant,
    title: 'transactions overlap with each other and with other publishes, and each message is handled once',
    needs: ['transactions'],
    async run(ctx) {
      const [bus, one, two] = [await ctx.bus(), ctx.topic('one'), ctx.topic('two')]
      const probe = ctx.probe()
      ctx.consume(bus, one, probe.handler('one'))
      ctx.consume(bus, two, probe.handler('two'))
      await bus.start()
      const [transactions, size] = [25, 6]
      const expected: string[] = []
      const publishing: Promise<unknown>[] = []
      for (let number = 0; number < transactions; number++) {
        const ids = Array.from({ length: size }, (_, part) => `${ctx.service}-${number}-${part}`)
        expected.push(...ids, `${ctx.service}-${number}-alone`)
        publishing.push(
          bus.transaction(async (tx) => {
            for (const [part, id] of ids.entries())
              await tx.publish(part % 2 === 0 ? one : two, number, { id, key: `k${number}` })
          }),
          bus.publish(one, number, { id: `${ctx.service}-${number}-alone` }),
        )
      }
      await Promise.all(publishing)
      await probe.waitExactly(expected)
      if (ctx.capabilities.ordering === 'none') return
      for (let number = 0; number < transactions; number++)
        for (const first of [0, 1])
          probe.assertOrder([0, 2, 4].map((part) => `${ctx.service}-${number}-${first + part}`))
    },
  },
  {
    id: 'transactions/large',
    group,
    invariant,
    title: 'a transaction takes more messages than one batch of publishes',
    needs: ['transactions'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus({ publish: { maxBatchSize: 100 } }), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { concurrency: 50 })
      await bus.start()
      const ids = await bus.transaction(async (tx) => {
        const receipts = await tx.publishMany(topic, numbered(1_500, 20))
        return receipts.map(({ id }) => id)
      })
      await probe.waitExactly(ids)
    },
  },
  {
    id: 'transactions/tombstone',
    group,
    invariant,
    title: 'a transaction may delete: messages without a body arrive as null, beside others',
    needs: ['transactions', 'tombstones'],
    async run(ctx) {
      const [bus, topic, probe] = [await ctx.bus(), ctx.topic(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler())
      await bus.start()
      await bus.transaction(async (tx) => {
        await tx.publish(topic, { price: 1 }, { id: `${ctx.service}-new`, key: 'new' })
        await tx.publish(topic, null, { id: `${ctx.service}-old`, key: 'old' })
      })
      await probe.waitExactly([`${ctx.service}-new`, `${ctx.service}-old`])
      const old = probe.handled.find(({ key }) => key === 'old')?.message
      assert.deepEqual([old?.data, old?.body], [null, null])
      assert.deepEqual(probe.handled.find(({ key }) => key === 'new')?.message.data, { price: 1 })
    },
  },
  {
    id: 'transactions/killed-publisher',
    group,
    invariant,
    title: 'a publisher killed at any instant: of each transaction all messages are handled, or none',
    needs: ['transactions', 'durable', 'child'],
    waits: true,
    async run(ctx) {
      const [bus, topic, other, probe] = [await ctx.bus(), ctx.topic('one'), ctx.topic('two'), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { concurrency: 50 })
      ctx.consume(bus, other, probe.handler(), { concurrency: 50 })
      await bus.start()
      const transaction = { size: 3, otherTopic: other }
      const [confirmed, sent] = [new Set<string>(), new Set<string>()]
      for (let kill = 0; kill < 5; kill++) {
        const child = await ctx.childPublisher({ topic, count: 30_000, outstanding: 6, transaction })
        await child.waitFor('confirmed', 30, { timeoutMs: ctx.patienceMs })
        await child.killAtRandom(ctx.random, 50)
        for (const id of child.ids('confirmed')) confirmed.add(id)
        for (const id of child.ids('sent')) sent.add(id)
      }
      await ctx.waitUntil(
        () => {
          const handled = new Set(probe.ids())
          return [...confirmed].every((id) => handled.has(id))
        },
        () => `${probe.handled.length} handled of ${confirmed.size} confirmed`,
      )
      await ctx.idle(bus, topic, ctx.service)
      await ctx.idle(bus, other, ctx.service)
      const counts = new Map<string, number>()
      for (const id of probe.ids()) {
        assert.ok(sent.has(id), `${id} was never sent`)
        const of = id.slice(0, id.lastIndexOf('.'))
        counts.set(of, (counts.get(of) ?? 0) + 1)
      }
      const partial = [...counts].filter(([, count]) => count !== transaction.size)
      assert.deepEqual(partial, [], 'a transaction must be handled as a whole, and once')
    },
  },
  {
    id: 'transactions/unsupported',
    group,
    invariant,
    title: 'a transport without transactions refuses them by name, before the callback runs',
    needs: ['no-transactions'],
    async run(ctx) {
      const transport = await ctx.transport()
      assert.ok(!('transaction' in transport), 'it must not have the method')
      const bus = await ctx.startedBus()
      let ran = false
      const error: unknown = await bus.transaction(() => (ran = true)).catch((reason: unknown) => reason)
      assert.ok(UnsupportedError.is(error), `it must be an UnsupportedError: ${String(error)}`)
      assert.ok(error.message.includes(transport.system), error.message)
      assert.equal(ran, false)
    },
  },
]

/** `guarantee: 'exactly-once'`: what a handler publishes is stored with its ack, or not at all. */
export const exactlyOnceScenarios: readonly Scenario[] = [
  {
    id: 'transactions/exactly-once',
    group,
    invariant,
    title: 'exactly once: failed attempts publish nothing, a successful one everything, once and in order',
    needs: ['publish-on-ack', 'redelivery'],
    async run(ctx) {
      const [bus, inputs, outputs] = [await ctx.bus(), ctx.topic('inputs'), ctx.topic('outputs')]
      const outputProbe = ctx.probe()
      const inputProbe = ctx.probe(async (message, handler) => {
        for (const part of ['a', 'b'])
          await handler.publish(outputs, part, { id: `${message.id}-${handler.attempt}-${part}`, key: message.key })
        if (handler.attempt === 1) throw new Planned('the first attempt fails')
        if (message.data === 3) handler.reject('it is three')
      })
      ctx.consume(bus, outputs, outputProbe.handler())
      const options = { guarantee: 'exactly-once', retry: { backoff: 'fixed', baseMs: 1 } } as const
      ctx.consume(bus, inputs, inputProbe.handler(), options)
      await bus.start()
      const ids = (await bus.publishMany(inputs, numbered(12, 3))).map(({ id }) => id)
      const accepted = ids.filter((_, index) => index !== 3)
      const expected = accepted.flatMap((id) => [`${id}-2-a`, `${id}-2-b`])
      await outputProbe.waitExactly(expected)
      await ctx.idle(bus, inputs, ctx.service)
      await ctx.idle(bus, outputs, ctx.service)
      outputProbe.assertExactly(expected)
      assertSame(inputProbe.ids(), accepted, 'the handlers that succeeded')
      if (ctx.capabilities.ordering === 'none') return
      for (const id of accepted) outputProbe.assertOrder([`${id}-2-a`, `${id}-2-b`])
    },
  },
  {
    id: 'transactions/exactly-once-killed',
    group,
    invariant,
    title: 'exactly once: processes of a chain of two steps killed at any instant; each input has one output',
    needs: ['publish-on-ack', 'redelivery', 'durable', 'child', 'lag'],
    waits: true,
    async run(ctx) {
      const [bus, inputs, middle, outputs] = [
        await ctx.bus(),
        ctx.topic('inputs'),
        ctx.topic('middle'),
        ctx.topic('outputs'),
      ]
      const [count, keys, kills] = [400, 5, 4]
      const name = ctx.group()
      const seen: number[] = []
      const order = new Map<string, number[]>()
      ctx.consume(bus, outputs, (message) => {
        seen.push(message.data as number)
        const key = String(message.key)
        order.set(key, [...(order.get(key) ?? []), message.data as number])
      })
      await bus.start()
      for (const topic of [inputs, middle]) await bus.admin().ensureTopic(topic)
      const step = (topic: string, publishTo: string) =>
        ctx.childConsumer({
          topic,
          options: {
            group: name,
            guarantee: 'exactly-once',
            concurrency: 10,
            order: ctx.capabilities.ordering === 'none' ? 'none' : 'key',
          },
          handler: { publishTo, workMs: 2 },
        })
      let [first, second] = await Promise.all([step(inputs, middle), step(middle, outputs)])
      await bus.publishMany(inputs, numbered(count, keys))
      for (let kill = 0; kill < kills; kill++) {
        const enough = Math.min(count, seen.length + 20)
        await ctx.waitUntil(
          () => seen.length >= enough,
          () => `${seen.length} of ${count} outputs before kill ${kill}`,
        )
        if (kill % 2 === 0) {
          await first.killAtRandom(ctx.random, 60)
          first = await step(inputs, middle)
        } else {
          await second.killAtRandom(ctx.random, 60)
          second = await step(middle, outputs)
        }
      }
      await ctx.waitUntil(
        () => new Set(seen).size === count,
        () => `${new Set(seen).size} of ${count} outputs`,
      )
      await ctx.idle(bus, inputs, name)
      await ctx.idle(bus, middle, name)
      await ctx.idle(bus, outputs, ctx.service)
      const twice = seen.filter((value, index) => seen.indexOf(value) !== index)
      assert.deepEqual(twice, [], 'no input may have two outputs')
      if (ctx.capabilities.ordering !== 'key') return
      for (const [key, values] of order)
        assert.deepEqual(
          values,
          values.toSorted((a, b) => a - b),
          `the order of ${key}`,
        )
    },
  },
  {
    id: 'transactions/exactly-once-frozen',
    group,
    invariant,
    title: 'exactly once: a process that freezes and wakes up late stores no second output',
    needs: ['publish-on-ack', 'redelivery', 'durable', 'child', 'lag'],
    waits: true,
    async run(ctx) {
      const [bus, inputs, outputs, name] = [await ctx.bus(), ctx.topic('inputs'), ctx.topic('outputs'), ctx.group()]
      const seen: number[] = []
      ctx.consume(bus, outputs, (message) => void seen.push(message.data as number))
      await bus.start()
      await bus.admin().ensureTopic(inputs)
      const count = 200
      const start = () =>
        ctx.childConsumer({
          topic: inputs,
          options: { group: name, guarantee: 'exactly-once', concurrency: 4, prefetch: 16, order: 'none' },
          handler: { publishTo: outputs, workMs: 20 },
        })
      const [frozen] = await Promise.all([start(), start()])
      // With keys, so that both have some where a message without one may go to the partition of the one before.
      await bus.publishMany(inputs, numbered(count, 40))
      await frozen.waitFor('done', 8, { timeoutMs: ctx.patienceMs })
      // The other one gets what this one holds, which then wakes up in the middle of its handlers.
      frozen.freeze()
      await work(FREEZE_MS)
      frozen.thaw()
      await ctx.waitUntil(
        () => new Set(seen).size === count,
        () => `${new Set(seen).size} of ${count} outputs`,
      )
      await frozen.stop({ timeoutMs: ctx.patienceMs })
      await ctx.idle(bus, inputs, name)
      await ctx.idle(bus, outputs, ctx.service)
      const twice = seen.filter((value, index) => seen.indexOf(value) !== index)
      assert.deepEqual(twice, [], 'no input may have two outputs')
    },
  },
  {
    id: 'transactions/exactly-once-unsupported',
    group,
    invariant,
    title:
      'a transport that can not store outputs with the ack refuses exactly-once consumers by name, when they are added',
    needs: ['no-publish-on-ack'],
    async run(ctx) {
      const bus = await ctx.startedBus()
      const { system } = await ctx.transport()
      let error: unknown
      try {
        ctx.consume(bus, ctx.topic(), () => {}, { guarantee: 'exactly-once' })
      } catch (thrown) {
        error = thrown
      }
      assert.ok(UnsupportedError.is(error), `it must be an UnsupportedError: ${String(error)}`)
      assert.ok(error.message.includes(system) && error.message.includes('exactly-once'), error.message)
    },
  },
]

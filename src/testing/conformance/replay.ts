import assert from 'node:assert/strict'
import type { Position } from '../../core/message.ts'
import type { Scenario } from './scenario.ts'
import { assertSame, idsOfKey, numbered, publishAll } from './shorthand.ts'

const group = 'replay'
const one = { key: 'one' }

export const replayScenarios: readonly Scenario[] = [
  {
    id: 'replay/from-position',
    group,
    invariant: 6,
    title: 'a new group may start at the position of a message',
    needs: ['replay:position', 'groups'],
    async run(ctx) {
      const [bus, topic] = [await ctx.startedBus(), ctx.topic()]
      const receipts = []
      for (let number = 0; number < 10; number++) receipts.push(await bus.publish(topic, number, one))
      const ids = receipts.map(({ id }) => id)
      // Receipts, handlers and the admin interface must give the same kind of position.
      const stored = await bus.admin().read(topic, { limit: 100 })
      const position = receipts[6]?.position ?? stored[6]?.position ?? assert.fail('no position to start from')
      assert.deepEqual(stored[6]?.position, position)
      const probe = ctx.probe()
      await ctx.consume(bus, topic, probe.handler(), { group: ctx.group(), from: { position } }).ready
      const after = await bus.publish(topic, 'after', one)
      await probe.waitExactly([...ids.slice(6), after.id])
      probe.assertOrder([...ids.slice(6), after.id])
    },
  },
  {
    id: 'replay/from-time',
    group,
    invariant: 6,
    title: 'a new group may start at an instant',
    needs: ['replay:time', 'groups'],
    async run(ctx) {
      const [bus, topic] = [await ctx.startedBus(), ctx.topic()]
      await publishAll(bus, topic, numbered(5))
      const before = Date.now()
      // Two times that differ even on another process's clock of whole milliseconds.
      await ctx.waitUntil(() => Date.now() > before + 20, 'the clock to move on')
      const timeMs = Date.now() - 5
      const ids = await publishAll(bus, topic, numbered(5))
      const probe = ctx.probe()
      await ctx.consume(bus, topic, probe.handler(), { group: ctx.group(), from: { timeMs } }).ready
      const after = await bus.publish(topic, 'after')
      await probe.waitExactly([...ids, after.id])
    },
  },
  {
    id: 'replay/seek-back',
    group,
    invariant: 6,
    title: 'seek to the earliest: the group gets everything again, in order; other groups notice nothing',
    needs: ['replay:position', 'groups', 'admin'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const [probe, other] = [ctx.probe(), ctx.probe()]
      const names = [ctx.group('moved'), ctx.group('other')] as const
      ctx.consume(bus, topic, probe.handler(), { group: names[0] })
      ctx.consume(bus, topic, other.handler(), { group: names[1] })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(20, 4))
      await probe.waitExactly(ids)
      await ctx.idle(bus, topic, names[0])
      await bus.admin().seek(topic, names[0], 'earliest')
      await probe.waitHandled(40)
      await ctx.idle(bus, topic, names[0])
      assertSame(probe.ids(), [...ids, ...ids], 'each message once more')
      const again = probe.handled.slice(20).map(({ id }) => id)
      for (let key = 0; key < 4; key++) {
        const mine = idsOfKey(ids, 4, key)
        assert.deepEqual(
          again.filter((id) => mine.includes(id)),
          mine,
        )
      }
      await ctx.idle(bus, topic, names[1])
      other.assertExactly(ids)
    },
  },
  {
    id: 'replay/seek-forward',
    group,
    invariant: 6,
    title: 'seek to the latest: the backlog is skipped, what comes then is not',
    needs: ['replay:position', 'groups', 'admin'],
    async run(ctx) {
      const [topic, name] = [ctx.topic(), ctx.group()]
      const first = await ctx.bus()
      ctx.consume(first, topic, ctx.probe().handler(), { group: name })
      await first.start()
      await first.close()
      const [bus, probe] = [await ctx.startedBus(), ctx.probe()]
      await publishAll(bus, topic, numbered(10, 2))
      await bus.admin().seek(topic, name, 'latest')
      assert.equal((await ctx.groupInfo(bus, topic, name))?.lag ?? 0, 0)
      await ctx.consume(bus, topic, probe.handler(), { group: name }).ready
      const ids = await publishAll(bus, topic, numbered(10, 2))
      await probe.waitExactly(ids)
      await ctx.idle(bus, topic, name)
      probe.assertExactly(ids)
    },
  },
  {
    id: 'replay/seek-to-position',
    group,
    invariant: 6,
    title: 'seek to a position or an instant: that message and all after it come again',
    needs: ['replay:position', 'replay:time', 'groups', 'admin'],
    async run(ctx) {
      const [bus, topic, probe, name] = [await ctx.bus(), ctx.topic(), ctx.probe(), ctx.group()]
      ctx.consume(bus, topic, probe.handler(), { group: name })
      await bus.start()
      const ids = await publishAll(
        bus,
        topic,
        numbered(10).map((item) => ({ ...item, ...one })),
      )
      await probe.waitExactly(ids)
      await ctx.idle(bus, topic, name)
      const position: Position = (await bus.admin().read(topic, { limit: 100 }))[7]?.position ?? assert.fail()
      await bus.admin().seek(topic, name, { position })
      await probe.waitHandled(13)
      await ctx.idle(bus, topic, name)
      assert.deepEqual(probe.ids().slice(10), ids.slice(7))
      await bus.admin().seek(topic, name, { timeMs: Date.now() + 60_000 })
      const last = await bus.publish(topic, 'last', one)
      await bus.admin().seek(topic, name, { timeMs: 0 })
      await probe.waitHandled(24)
      await ctx.idle(bus, topic, name)
      assert.deepEqual(new Set(probe.ids().slice(13)), new Set([...ids, last.id]))
    },
  },
  {
    id: 'replay/seek-takes-back',
    group,
    invariant: 9,
    title: 'seek takes outstanding deliveries back: their handlers are aborted, and their late end settles nothing',
    needs: ['replay:position', 'groups', 'admin'],
    async run(ctx) {
      const [bus, topic, gate, name] = [await ctx.bus(), ctx.topic(), ctx.gate(), ctx.group()]
      let aborted = 0
      const probe = ctx.probe(async (_message, { signal }) => {
        if (probe.started.length > 1) return
        signal.addEventListener('abort', () => aborted++, { once: true })
        await gate.opened
      })
      const record = ctx.recorder(bus)
      const handle = ctx.consume(bus, topic, probe.handler(), { group: name })
      await bus.start()
      const ids = await publishAll(
        bus,
        topic,
        numbered(3).map((item) => ({ ...item, ...one })),
      )
      await probe.waitStarted(1)
      await bus.admin().seek(topic, name, 'earliest')
      await record.waitFor('lost')
      await ctx.waitUntil(() => aborted === 1, 'the running handler to be aborted')
      gate.open()
      await ctx.waitUntil(
        () => ids.every((id) => record.count('ack', ({ message }) => message.id === id) === 1),
        () => record.counts(),
      )
      await ctx.idle(bus, topic, name)
      assert.deepEqual(new Set(probe.ids()), new Set(ids))
      assert.equal(record.count('ack'), 3, 'the end of the one that was taken back is no ack')
      assert.ok(handle.stats().lost >= 1)
    },
  },
  {
    id: 'replay/read-range',
    group,
    invariant: 14,
    title: 'the admin side reads stored messages page by page, in order, and moves no group',
    needs: ['replay:position', 'admin', 'lag'],
    async run(ctx) {
      const [topic, name] = [ctx.topic(), ctx.group()]
      const [first, bus] = [await ctx.bus(), await ctx.startedBus()]
      ctx.consume(first, topic, ctx.probe().handler(), { group: name })
      await first.start()
      await first.close()
      const ids = await publishAll(
        bus,
        topic,
        numbered(25).map((item) => ({ ...item, ...one, headers: { 'x-n': String(item.data) } })),
      )
      const read: string[] = []
      let after: Position | undefined
      for (let page = 0; page < 3; page++) {
        const stored = await bus.admin().read(topic, { after, limit: 10 })
        assert.equal(stored.length, page < 2 ? 10 : 5)
        for (const { message, position } of stored) {
          read.push(message.id)
          after = position
          assert.equal(message.headers['x-n'], Buffer.from(message.body ?? []).toString())
          assert.equal(message.topic, topic)
        }
      }
      assert.deepEqual(read, ids)
      assert.deepEqual(await bus.admin().read(topic, { after, limit: 10 }), [])
      assert.equal((await ctx.groupInfo(bus, topic, name))?.lag, 25, 'reading must not move the group')
    },
  },
]

import assert from 'node:assert/strict'
import type { Scenario } from './scenario.ts'
import { numbered, Planned, publishAll, quick, work } from './shorthand.ts'

const group = 'redelivery'

/** What uses an attempt: only a handler that started. */
export const attemptScenarios: readonly Scenario[] = [
  {
    id: 'redelivery/deadly-among-others',
    group,
    invariant: 7,
    title: 'a message that kills its process ends in the dead letters alone: its prefetched neighbours are handled',
    needs: ['redelivery', 'attempts', 'child', 'durable', 'admin'],
    waits: true,
    async run(ctx) {
      const [bus, topic, name] = [await ctx.startedBus(), ctx.topic(), ctx.group()]
      const attempts = 3
      const options = { group: name, concurrency: 4, retry: quick(attempts), order: 'none' as const }
      const deadly = 7
      const handler = { diesOf: deadly, workMs: 20 }
      // Its group exists before the first message, even where a topic without a group takes none.
      const first = await ctx.childConsumer({ topic, options, handler })
      const ids = await publishAll(bus, topic, numbered(60))
      const starts: string[] = []
      const dead = new Set<unknown>()
      const watched = (started: typeof first): typeof first => {
        void started.exited.then(() => dead.add(started))
        return started
      }
      let child = watched(first)
      const handled = new Set<string>()
      for (let life = 1; ; life++) {
        const alive = child
        await ctx.waitUntil(
          () => dead.has(alive) || new Set([...handled, ...alive.ids('done')]).size === ids.length - 1,
          () => `life ${life}: ${alive.ids('done').length} handled, ${handled.size} before`,
        )
        for (const id of alive.ids('done')) handled.add(id)
        starts.push(...alive.ids('start').filter((id) => id === ids[deadly]))
        const letters = await bus.deadLetters(topic, name).list()
        if (letters.length > 0 && handled.size === ids.length - 1) break
        assert.ok(life <= attempts + 2, `${letters.length} dead letters after ${life} lives of the process`)
        if (dead.has(alive)) child = watched(await ctx.childConsumer({ topic, options, handler }))
      }
      const [letter] = await ctx.deadLetters(bus, topic, name, 1)
      assert.equal(letter?.message.id, ids[deadly])
      assert.equal(letter?.reason, 'exhausted')
      // A process that dies within milliseconds of the first start had no time to note it.
      assert.ok(starts.length <= attempts + 1, `it was started ${starts.length} times`)
      await ctx.idle(bus, topic, name)
    },
  },
  {
    id: 'redelivery/no-retry-survives-crash',
    group,
    invariant: 7,
    title: 'with a single attempt, a crash takes what was running and nothing that only waited in the process',
    needs: ['redelivery', 'attempts', 'child', 'durable', 'admin'],
    waits: true,
    async run(ctx) {
      const [bus, topic, name] = [await ctx.startedBus(), ctx.topic(), ctx.group()]
      const options = { group: name, concurrency: 1, retry: false as const, order: 'none' as const }
      const child = await ctx.childConsumer({ topic, options, handler: { hangUpTo: 9 } })
      const ids = await publishAll(bus, topic, numbered(40))
      await child.waitFor('lasting', 1, { timeoutMs: ctx.patienceMs })
      await child.kill()
      const [running] = child.ids('start')
      const probe = ctx.probe()
      ctx.consume(bus, topic, probe.handler(), options)
      const rest = ids.filter((id) => id !== running)
      await probe.waitExactly(rest)
      const [letter] = await ctx.deadLetters(bus, topic, name, 1)
      assert.equal(letter?.message.id, running)
    },
  },
  {
    id: 'redelivery/forced-close',
    group,
    invariant: 7,
    title: 'a handler that a forced close interrupts has not used an attempt',
    needs: ['redelivery', 'admin'],
    async run(ctx) {
      const [topic, stuck] = [ctx.topic(), ctx.probe(() => new Promise(() => undefined))]
      for (let life = 0; life < 3; life++) {
        const bus = await ctx.bus()
        ctx.consume(bus, topic, stuck.handler(), { retry: false, abandonAfterMs: 10 })
        await bus.start()
        if (life === 0) await publishAll(bus, topic, numbered(3))
        await stuck.waitStarted((life + 1) * 3)
        await bus.close({ timeoutMs: 50 })
      }
      const [bus, probe] = [await ctx.bus(), ctx.probe()]
      ctx.consume(bus, topic, probe.handler(), { retry: false })
      await bus.start()
      await probe.waitHandled(3)
      assert.deepEqual(
        [...stuck.started, ...probe.started].map(({ attempt }) => attempt),
        Array.from({ length: 12 }, () => 1),
      )
      assert.equal((await bus.deadLetters(topic, ctx.service).list()).length, 0)
    },
  },
  {
    id: 'redelivery/inline-attempts-survive-close',
    group,
    invariant: 7,
    title: 'attempts made in the process are counted on by the member that gets the message when this one closes',
    needs: ['redelivery', 'attempts', 'ordering'],
    async run(ctx) {
      const topic = ctx.topic()
      const failing = ctx.probe(() => {
        throw new Planned('always')
      })
      const options = { retry: { ...quick(9, 100), mode: 'inline' as const } }
      let expected = 1
      for (let life = 0; life < 3; life++) {
        const bus = await ctx.bus()
        const record = ctx.recorder(bus)
        ctx.consume(bus, topic, failing.handler(), options)
        await bus.start()
        if (life === 0) await bus.publish(topic, 1, { key: 'k' })
        await ctx.waitUntil(
          () => record.count('retry') >= 2,
          () => record.counts(),
        )
        await bus.close()
      }
      for (const { attempt } of failing.started) {
        assert.equal(attempt, expected, `attempts ${failing.started.map((seen) => seen.attempt).join(', ')}`)
        expected++
      }
      assert.ok(failing.started.length >= 6)
    },
  },
  {
    id: 'reconnect/cuts-use-no-attempt',
    group: 'reconnect',
    invariant: 7,
    title: 'connections that are cut under a running handler use up none of its attempts',
    needs: ['redelivery', 'admin', 'fault:cutConnections'],
    async run(ctx) {
      const [bus, topic, gate] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const probe = ctx.probe(async (_message, handler) => {
        await Promise.race([
          gate.opened,
          new Promise((_resolve, reject) =>
            handler.signal.addEventListener('abort', () => reject(handler.signal.reason)),
          ),
        ])
      })
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, probe.handler(), { retry: quick(2) })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(4, 4))
      await probe.waitStarted(4)
      for (let cut = 1; cut <= 4; cut++) {
        const reconnects = record.count('reconnect')
        await ctx.faults.cutConnections?.()
        await ctx.waitUntil(
          () => record.count('reconnect') > reconnects && probe.running === 4,
          () => `cut ${cut}: ${probe.running} running; ${JSON.stringify(record.counts())}`,
        )
      }
      gate.open()
      await probe.waitExactly(ids)
      assert.deepEqual(
        [...new Set(probe.started.map(({ attempt }) => attempt))],
        [1],
        'a lost connection is not the fault of the message',
      )
      assert.equal((await bus.deadLetters(topic, ctx.service).list()).length, 0)
    },
  },
  {
    id: 'reconnect/inline-attempts-survive-cut',
    group: 'reconnect',
    invariant: 7,
    title: 'attempts made in the process still count after its connections were cut',
    needs: ['redelivery', 'attempts', 'ordering', 'admin', 'fault:cutConnections'],
    async run(ctx) {
      const [bus, topic] = [await ctx.bus(), ctx.topic()]
      const [attempts, cuts] = [20, 2]
      const failing = ctx.probe(() => {
        throw new Planned('always')
      })
      const record = ctx.recorder(bus)
      ctx.consume(bus, topic, failing.handler(), { retry: { ...quick(attempts, 100), mode: 'inline' } })
      await bus.start()
      await bus.publish(topic, 1, { key: 'k' })
      for (let cut = 1; cut <= cuts; cut++) {
        await failing.waitStarted(failing.started.length + 2)
        const reconnects = record.count('reconnect')
        await ctx.faults.cutConnections?.()
        await ctx.waitUntil(
          () => record.count('reconnect') > reconnects,
          () => `cut ${cut}: ${JSON.stringify(record.counts())}`,
        )
      }
      const [letter] = await ctx.deadLetters(bus, topic, ctx.service, 1)
      assert.equal(letter?.reason, 'exhausted')
      const seen = failing.started.map(({ attempt }) => attempt)
      const list = `attempts ${seen.join(', ')}`
      assert.deepEqual(
        seen,
        seen.toSorted((one, other) => one - other),
        list,
      )
      // A cut may take the note about the last attempt with it.
      assert.ok(seen.length <= attempts + cuts, list)
    },
  },
  {
    id: 'reconnect/handled-before-cut',
    group: 'reconnect',
    invariant: 2,
    title: 'a message whose handler succeeded, and whose ack was lost with the connection, is not handled again here',
    needs: ['redelivery', 'lag', 'admin', 'ordering', 'fault:cutConnections'],
    async run(ctx) {
      const [bus, topic, published] = [await ctx.bus(), ctx.topic(), ctx.gate()]
      const cutsAt = 5
      const probe = ctx.probe(async (message) => {
        // The cut must not take confirms with it.
        await published.opened
        if (message.data === cutsAt) await ctx.faults.cutConnections?.()
        else await work(1)
      })
      ctx.consume(bus, topic, probe.handler(), { concurrency: 4, retry: quick(2) })
      await bus.start()
      const ids = await publishAll(bus, topic, numbered(12, 12))
      published.open()
      await ctx.waitUntil(
        () => new Set(probe.ids()).size === ids.length,
        () => `${probe.ids().length} handled`,
      )
      await ctx.idle(bus, topic, ctx.service)
      probe.assertExactly(ids)
      assert.equal((await bus.deadLetters(topic, ctx.service).list()).length, 0)
    },
  },
]

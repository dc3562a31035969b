import assert from 'node:assert/strict'
import { createClient } from 'redis'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus, Transport } from 'busbar'
import { redis } from 'busbar/redis'
import { uniqueName, waitUntil } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'
import { recordFault, toRow } from './fault-report.ts'
import { Flow, pause, PREFETCH } from './flow.ts'
import { QUICK } from './redis-options.ts'

describe('Redis: what somebody else deletes', () => {
  let broker: RedisBroker
  let client: ReturnType<typeof createClient>
  let flow: Flow | undefined
  let bus: Bus | undefined
  beforeAll(async () => {
    broker = await startPrivate('redis')
    client = createClient({ url: broker.url })
    await client.connect()
  })
  afterEach(async () => {
    await flow?.close()
    await bus?.close({ timeoutMs: 500 })
    flow = bus = undefined
  })
  afterAll(async () => {
    client.destroy()
    await broker.stop()
  })

  const transport = (): Transport => redis({ ...QUICK, host: broker.host, port: broker.port })
  const streamsOf = async (topic: string): Promise<string[]> =>
    (await client.keys(`busbar:{${topic}*}`)).filter((key) => key.endsWith('}'))

  async function start(): Promise<Flow> {
    flow = new Flow({ members: [transport, transport], publisher: transport })
    return flow.start()
  }
  async function judge(fault: string, running: Flow, explained: number): Promise<void> {
    const backMs = await running.progress(20)
    const outcome = await running.end()
    recordFault('redis', broker.version, toRow(fault, outcome, explained, backMs))
    assert.ok(outcome.repeated <= explained, `${outcome.repeated} were handled again, ${explained} can be explained`)
    assert.ok(backMs < 5_000, `it took ${backMs} ms to come back`)
  }

  test('the consumer group, under load: reading goes on where it was', { timeout: 30_000 }, async () => {
    const running = await start()
    for (const stream of await streamsOf(running.topic)) await client.xGroupDestroy(stream, running.group)
    await judge('consumer group deleted', running, 2 * PREFETCH)
  })

  test('the members of the group, under load: what they had is found', { timeout: 30_000 }, async () => {
    const running = await start()
    // Their pending entries go with them: what was being handled is acked in vain, and nothing else is touched.
    for (const stream of await streamsOf(running.topic))
      for (const { name, pending } of await client.xInfoConsumers(stream, running.group))
        if (pending === 0) await client.xGroupDelConsumer(stream, running.group, name)
    await judge('idle members deleted', running, 0)
  })

  test('what keeps leases and shares of a group, under load', { timeout: 30_000 }, async () => {
    const running = await start()
    for (const key of await client.keys(`busbar:{${running.topic}*}:*:${running.group}`)) await client.del(key)
    await judge('keys of the group deleted', running, 2 * PREFETCH)
  })

  test('the cache of scripts, again and again, under load', { timeout: 30_000 }, async () => {
    const running = await start()
    for (let time = 0; time < 10; time++) {
      await client.scriptFlush()
      await pause(20)
    }
    await judge('scripts flushed 10 times', running, 0)
  })

  test('the streams: what was in them is gone, what comes after is handled', { timeout: 30_000 }, async () => {
    bus = createBus({ service: 'deleted', transport: transport() })
    const [topic, held] = [uniqueName('deleted'), Promise.withResolvers<void>()]
    const handled = new Set<string>()
    const warnings = new Set<string>()
    bus.events.on('warning', ({ code }) => warnings.add(code))
    bus.consume(topic, async ({ id, data }) => {
      if (data === 'before') await held.promise
      handled.add(id)
    })
    await bus.start()
    await bus.publishMany(
      topic,
      Array.from({ length: 20 }, (_, at) => ({ data: 'before', key: `k${at}` })),
    )
    for (const stream of await streamsOf(topic)) await client.del(stream)
    const results = await bus.publishMany(
      topic,
      Array.from({ length: 100 }, (_, at) => ({ data: 'after', key: `k${at % 20}` })),
    )
    held.resolve()
    const ids = results.map(({ id, error }) => (assert.equal(error, undefined), id))
    await waitUntil(() => ids.every((id) => handled.has(id)), {
      timeoutMs: 15_000,
      describe: () => `${ids.filter((id) => handled.has(id)).length} of 100`,
    })
    assert.ok(warnings.has('redis-group-made-again'), [...warnings].join())
  })

  test('everything: topics, groups and patterns come back by themselves', { timeout: 30_000 }, async () => {
    bus = createBus({ service: 'deleted', transport: transport() })
    const base = uniqueName('deleted')
    const handled = new Set<unknown>()
    bus.consume(`${base}.plain`, ({ data }) => void handled.add(data))
    bus.consume(`${base}.many.>`, ({ data }) => void handled.add(data), { group: 'pattern' })
    await bus.start()
    const publish = async (count: string): Promise<void> => {
      await bus?.publish(`${base}.plain`, `plain ${count}`)
      await bus?.publish(`${base}.many.one`, `many ${count}`)
      await waitUntil(() => handled.has(`plain ${count}`) && handled.has(`many ${count}`), {
        timeoutMs: 15_000,
        describe: () => [...handled].join(),
      })
    }
    await publish('before')
    await client.flushAll()
    await publish('after')
    await bus.publish(`${base}.many.two`, 'new topic')
    await waitUntil(() => handled.has('new topic'), { timeoutMs: 15_000 })
  })
})

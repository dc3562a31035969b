import assert from 'node:assert/strict'
import { afterEach, describe, test, vi } from 'vitest'
import type { Bus } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import type { TcpProxy } from 'busbar/testing'
import { ScriptRunner } from '../../src/transports/redis/connection/script-runner.ts'
import { BEAT, FORGET } from '../../src/transports/redis/scripts/group.ts'
import { pause } from './flow.ts'
import { QUICK } from './redis-options.ts'
import { redisHarness } from '../integration/redis-harness.ts'

type Run = (this: ScriptRunner, ...args: Parameters<ScriptRunner['run']>) => Promise<unknown>

const { client, bus, proxy: makeProxy } = await redisHarness('broadcast', { ...QUICK, partitions: 1 })

/** The group of a broadcast consumer that is away for long is forgotten by whoever cleans up. */
describe('Redis: broadcast consumers that were away', () => {
  let proxy: TcpProxy
  afterEach(() => {
    vi.restoreAllMocks()
  })
  const groupOf = async (topic: string): Promise<string> => {
    const entries = (await client.zRange('busbar:ephemeral', 0, -1)).filter((entry) => entry.startsWith(`${topic} `))
    assert.equal(entries.length, 1)
    return entries[0]?.split(' ')[1] ?? ''
  }
  /** Cuts it off for longer than its lease; meanwhile another process forgets its group. */
  async function forgetWhileAway(topic: string, other: Bus): Promise<void> {
    const group = await groupOf(topic)
    proxy.refuse()
    proxy.cut()
    const until = performance.now() + QUICK.leaseMs * 1.5
    await waitUntil(() => performance.now() > until)
    await other.admin().deleteGroup(topic, group)
    proxy.accept()
  }

  for (const order of ['key', 'none'] as const)
    for (const readBefore of [false, true])
      test(`order '${order}', ${readBefore ? 'something' : 'nothing'} read before: the history stays history`, async () => {
        proxy = await makeProxy()
        const topic = uniqueName('broadcast')
        const publisher = bus()
        await publisher.start()
        for (let number = 0; number < 20; number++) await publisher.publish(topic, `old ${number}`, { key: 'k' })
        const consumer = bus({ host: proxy.host, port: proxy.port })
        const handled: unknown[] = []
        consumer.consume(topic, ({ data }) => void handled.push(data), { broadcast: true, order })
        await consumer.start()
        const expected: string[] = []
        const publish = async (data: string): Promise<void> => {
          await publisher.publish(topic, data, { key: 'k' })
          expected.push(data)
        }
        if (readBefore) {
          await publish('read before')
          await waitUntil(() => handled.length === 1, { timeoutMs: 5_000 })
        }
        await forgetWhileAway(topic, publisher)
        await publish('new')
        await waitUntil(() => handled.includes('new'), { timeoutMs: 15_000, describe: () => handled.join() })
        assert.deepEqual(handled, expected)
      })

  test('what was being handled when it was cut off comes again', async () => {
    proxy = await makeProxy()
    const topic = uniqueName('broadcast')
    const publisher = bus()
    await publisher.start()
    await publisher.publish(topic, 'old', { key: 'k' })
    const consumer = bus({ host: proxy.host, port: proxy.port })
    const started: unknown[] = []
    const finished: unknown[] = []
    consumer.consume(
      topic,
      async ({ data }, { signal }) => {
        started.push(data)
        if (data === 'begun' && started.length === 2)
          await new Promise((_resolve, reject) => {
            signal.addEventListener('abort', () => reject(new Error('lost')))
          })
        finished.push(data)
      },
      { broadcast: true },
    )
    await consumer.start()
    for (const data of ['done', 'begun', 'waiting']) await publisher.publish(topic, data, { key: 'k' })
    await waitUntil(() => started.length === 2, { timeoutMs: 5_000, describe: () => started.join() })
    await forgetWhileAway(topic, publisher)
    await waitUntil(() => finished.includes('waiting'), { timeoutMs: 15_000, describe: () => finished.join() })
    assert.deepEqual(finished, ['done', 'begun', 'waiting'])
  })

  test('whether it is still wanted goes by the clock of the server', async () => {
    const topic = uniqueName('broadcast')
    const real = Date.now
    vi.spyOn(Date, 'now').mockImplementation(() => real() - 3_600_000)
    const consumer = bus()
    consumer.consume(topic, () => {}, { broadcast: true })
    await consumer.start()
    const until = await client.zScore('busbar:ephemeral', `${topic} ${await groupOf(topic)}`)
    assert.ok(Number(until) > real(), `wanted until ${String(until)}, now ${real()}`)
  })

  test('one that is closed while it looks at its share leaves nothing on the server', async () => {
    const topic = uniqueName('broadcast')
    const consumer = bus()
    consumer.consume(topic, () => {}, { broadcast: true })
    await consumer.start()
    const group = await groupOf(topic)
    const original: Run = Reflect.get(ScriptRunner.prototype, 'run')
    const forgotten = Promise.withResolvers<void>()
    let held = false
    vi.spyOn(ScriptRunner.prototype, 'run').mockImplementation(async function (this: ScriptRunner, script, ...rest) {
      const reply = await original.call(this, script, ...rest)
      if (script === FORGET) forgotten.resolve()
      if (script === BEAT && !held) {
        held = true
        await Promise.race([forgotten.promise, pause(300)])
      }
      return reply
    })
    await client.sendCommand(['XADD', 'busbar:notices', '*', group, topic])
    await waitUntil(() => held, { timeoutMs: 5_000 })
    await consumer.close()
    assert.deepEqual(
      (await client.keys(`busbar:{${topic}*`)).filter((key) => key.includes(group)),
      [],
    )
    assert.deepEqual(await client.xInfoGroups(`busbar:{${topic}}`), [])
  })
})

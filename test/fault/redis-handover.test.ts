import assert from 'node:assert/strict'
import { afterEach, describe, test, vi } from 'vitest'
import type { Bus } from 'busbar'
import { tcpProxy, uniqueName, waitUntil } from 'busbar/testing'
import { ScriptRunner } from '../../src/transports/redis/connection/script-runner.ts'
import { CLAIM_DUE } from '../../src/transports/redis/scripts/claim.ts'
import { RELEASE } from '../../src/transports/redis/scripts/group.ts'
import { QUICK } from './redis-options.ts'
import { redisHarness } from '../integration/redis-harness.ts'

type Run = (this: ScriptRunner, ...args: Parameters<ScriptRunner['run']>) => Promise<unknown>

const { broker, client, bus: makeBus } = await redisHarness('handover', QUICK)

describe('Redis: partitions that change hands', () => {
  afterEach(() => {
    vi.restoreAllMocks()
  })
  const bus = (partitions: number): Bus => makeBus({ partitions })

  test('a claim whose reply comes while the partition is released is not handed out when it comes back', async () => {
    const topic = uniqueName('handover')
    const stream = `busbar:{${topic}/1}`
    const released = Promise.withResolvers<void>()
    let claimed = 0
    // The reply to the claim comes as late as it can: when the release has been sent, and has no reply yet.
    const run: Run = Reflect.get(ScriptRunner.prototype, 'run')
    vi.spyOn(ScriptRunner.prototype, 'run').mockImplementation(async function (this: ScriptRunner, script, ...rest) {
      const running = run.call(this, script, ...rest)
      if (script === RELEASE && String(rest[1][1]).startsWith('1:')) released.resolve()
      if (script !== CLAIM_DUE || rest[0][0] !== stream) return running
      const reply = (await running) as readonly [readonly unknown[]]
      if (reply[0].length > 0 && ++claimed === 1) await released.promise
      return reply
    })

    const runs: string[] = []
    const join = async (name: string): Promise<Bus> => {
      const member = bus(2)
      member.consume(
        topic,
        ({ data }, { attempt }) => {
          runs.push(`${name} ${String(data)} ${attempt}`)
          if (data === 'late' && attempt === 1) throw new Error('again')
        },
        { retry: { mode: 'delayed', backoff: 'fixed', baseMs: 20, attempts: 5 } },
      )
      await member.start()
      return member
    }
    const first = await join('first')
    await client.xAdd(stream, '*', { data: '"late"' })
    await waitUntil(() => claimed === 1, { timeoutMs: 5_000, describe: () => runs.join() })
    const second = await join('second')
    await waitUntil(() => runs.includes('second late 2'), { timeoutMs: 10_000, describe: () => runs.join() })
    let isBack = false
    first.events.on('rebalance', ({ assigned }) => (isBack ||= assigned.includes(`${topic}/1`)))
    await second.close()
    await waitUntil(() => isBack, { timeoutMs: 10_000, describe: 'the partition to come back' })
    // What is settled of another partition lets go on whatever waits here.
    await client.xAdd(`busbar:{${topic}}`, '*', { data: '"other"' })
    await waitUntil(() => runs.includes('first other 1'), { timeoutMs: 5_000, describe: () => runs.join() })
    await client.xAdd(stream, '*', { data: '"after"' })
    await waitUntil(() => runs.includes('first after 1'), { timeoutMs: 5_000, describe: () => runs.join() })
    assert.deepEqual(runs, ['first late 1', 'second late 2', 'first other 1', 'first after 1'])
  })

  test('a partition whose release is refused still goes to the other member', async () => {
    const topic = uniqueName('handover')
    const run: Run = Reflect.get(ScriptRunner.prototype, 'run')
    let refused = 0
    vi.spyOn(ScriptRunner.prototype, 'run').mockImplementation(async function (this: ScriptRunner, script, ...rest) {
      if (script === RELEASE && ++refused === 1)
        throw new Error("OOM command not allowed when used memory > 'maxmemory'.")
      return run.call(this, script, ...rest)
    })
    const assigned: string[] = []
    for (const name of ['first', 'second']) {
      const member = bus(2)
      member.events.on('rebalance', (event) => assigned.push(...event.assigned.map((one) => `${name} ${one}`)))
      member.consume(topic, () => {})
      await member.start()
    }
    await waitUntil(() => assigned.some((one) => one.startsWith('second')), {
      timeoutMs: 10_000,
      describe: () => `${refused} releases, ${assigned.join()}`,
    })
    assert.ok(refused >= 2)
  })

  test('a member far away takes each partition once when it starts', async () => {
    await using proxy = await tcpProxy(broker)
    proxy.slow({ delayMs: 20 }, 'both')
    const topic = uniqueName('handover')
    const member = makeBus({ host: proxy.host, port: proxy.port, partitions: 4 })
    const taken: string[] = []
    let handled = 0
    member.events.on('rebalance', ({ assigned }) => taken.push(...assigned))
    member.consume(topic, () => void handled++)
    await member.start()
    await member.publish(topic, 1)
    await waitUntil(() => handled === 1, { timeoutMs: 5_000 })
    assert.deepEqual(
      taken.toSorted(),
      Array.from({ length: 4 }, (_, partition) => `${topic}/${partition}`),
    )
  })

  test('copies for a group are recovered too when its partition is taken again: their order holds', async () => {
    const topic = uniqueName('handover')
    const member = bus(1)
    const runs: unknown[] = []
    let redriven = false
    let blocked = false
    member.consume(
      topic,
      async ({ data }, { signal }) => {
        if (!redriven) throw new Error('dead')
        runs.push(data)
        if (blocked) return
        blocked = true
        // Longer than the lease lasts: the partition is lost, and taken again.
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, QUICK.leaseMs + 300)
        await new Promise((resolve) => {
          signal.addEventListener('abort', resolve)
        })
        throw new Error('lost')
      },
      { retry: { attempts: 1 }, prefetch: 1, concurrency: 1 },
    )
    await member.start()
    for (const data of ['first', 'second']) await member.publish(topic, data, { key: 'k' })
    const letters = member.deadLetters(topic, 'handover')
    await waitUntil(async () => (await letters.list()).length === 2, { timeoutMs: 5_000 })
    redriven = true
    await letters.redrive()
    await waitUntil(() => runs.length >= 3, { timeoutMs: 15_000, describe: () => runs.join() })
    assert.deepEqual(runs, ['first', 'first', 'second'])
  })

  test('a close by force leaves acked what was acked in the same turn', async () => {
    const topic = uniqueName('handover')
    const member = bus(1)
    const open = Promise.withResolvers<void>()
    let running = 0
    // No credit is left, so that no read has to be ended first.
    member.consume(
      topic,
      async () => {
        running++
        await open.promise
      },
      { prefetch: 10, concurrency: 10 },
    )
    await member.start()
    await member.publishMany(
      topic,
      Array.from({ length: 10 }, (_, data) => ({ data, key: `k${data}` })),
    )
    await waitUntil(() => running === 10, { timeoutMs: 5_000, describe: () => `${running} running` })
    open.resolve()
    for (let microtask = 0; microtask < 100; microtask++) await Promise.resolve()
    await member.close({ timeoutMs: 0 })
    assert.equal((await client.xPending(`busbar:{${topic}}`, 'handover')).pending, 0)
    assert.equal(await client.zCard(`busbar:{${topic}}:later:handover`), 0)
  })
})

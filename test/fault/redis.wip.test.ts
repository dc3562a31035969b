import assert from 'node:assert/strict'
import { afterAll, afterEach, beforeAll, describe, test } from 'vitest'
import { tcpProxy, waitUntil } from 'busbar/testing'
import type { TcpProxy } from 'busbar/testing'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { RedisBroker } from '../../tools/brokers/index.ts'
import { Flow, pause, summary } from './redis-flow.ts'
import type { FlowOptions, Outcome } from './redis-flow.ts'

const PREFETCH = 32

describe('Redis: faults under load, every message by its id', () => {
  let broker: RedisBroker
  let proxy: TcpProxy
  let flow: Flow | undefined

  beforeAll(async () => {
    broker = await startPrivate('redis')
    proxy = await tcpProxy(broker)
  })
  afterEach(async () => {
    proxy.resume()
    await flow?.close()
    flow = undefined
  })
  afterAll(async () => {
    await proxy.close()
    await broker.stop()
  })

  const viaProxy = () => ({ host: proxy.host, port: proxy.port })
  const direct = () => ({ host: broker.host, port: broker.port })
  async function start(options: Partial<FlowOptions> = {}): Promise<Flow> {
    flow = new Flow({ members: [viaProxy(), viaProxy()], publisher: viaProxy(), ...options })
    return flow.start()
  }
  /** Nothing lost, no key out of order, and no more repeated than what was held unacked at the time of a fault. */
  function judge(name: string, outcome: Outcome, explained: number): void {
    console.log(summary(name, outcome))
    assert.ok(outcome.repeated <= explained, `${outcome.repeated} were handled again, ${explained} can be explained`)
    assert.deepEqual(flow?.overlaps, [], 'no key may be worked on twice at the same time')
  }

  test('the broker is killed and started again: back within 5 s', async () => {
    const running = await start()
    await broker.kill()
    await pause(300)
    await broker.restart()
    const tookMs = await running.progress(20)
    assert.ok(tookMs < 5_000, `it took ${tookMs} ms`)
    judge('killed', await running.end(), 2 * PREFETCH)
  })

  test('the broker is frozen for 10 s', { timeout: 60_000 }, async () => {
    const running = await start()
    await broker.pause()
    await pause(10_000)
    await broker.resume()
    await running.progress(50)
    // Leases could not be renewed, so what was out is handled again.
    judge('frozen 10 s', await running.end(), 2 * PREFETCH)
  })

  test('connections are cut at ten random instants, in the middle of publishes, deliveries and acks', async () => {
    const running = await start()
    for (let time = 0; time < 10; time++) {
      await running.progress(5 + (time % 3))
      if (time % 2 === 0) proxy.cut()
      else proxy.reset()
    }
    await running.progress(50)
    judge('cut ten times', await running.end(), 10 * PREFETCH)
  })

  test('half-open: a socket that looks alive and never answers is given up', { timeout: 60_000 }, async () => {
    const quick = { ...viaProxy(), responseTimeoutMs: 1_000 }
    const running = await start({ members: [quick, quick], publisher: quick })
    proxy.halfOpen()
    await running.progress(50)
    // A firewall that forgets: what is sent goes nowhere, and nobody says so.
    proxy.blackhole()
    await pause(2_000)
    proxy.resume()
    await running.progress(50)
    judge('half-open', await running.end(), 4 * PREFETCH)
  })

  test('a slow, uneven link', { timeout: 60_000 }, async () => {
    const running = await start()
    proxy.slow({ delayMs: 15, jitterMs: 25 })
    await running.progress(100)
    proxy.resume()
    judge('slow link', await running.end(), 0)
  })

  test('members join and leave all the time: each message once, no key out of order', { timeout: 60_000 }, async () => {
    const running = await start({ members: [direct()], publisher: direct(), workMs: 2 })
    for (let round = 0; round < 4; round++) {
      await running.join(direct())
      await running.progress(80)
      await running.consumers.shift()?.close()
      await running.progress(80)
    }
    judge('joining and leaving', await running.end(), 0)
  })

  test('the group is deleted under a live consumer: reading goes on by itself', async () => {
    const running = await start({ members: [direct()], publisher: direct(), keys: 1 })
    const { createClient } = await import('redis')
    const client = await createClient({ url: broker.url }).connect()
    const streams = (await client.keys(`busbar:{${running.topic}*}`)).filter((key) => !key.includes('}:'))
    for (const stream of streams) await client.xGroupDestroy(stream, running.group)
    await running.progress(50)
    judge('group deleted', await running.end(), PREFETCH)
    client.destroy()
  })

  test('the server loses everything it had', async () => {
    const running = await start({ members: [direct()], publisher: direct() })
    const before = new Set(running.book.report().missing)
    const { createClient } = await import('redis')
    const client = await createClient({ url: broker.url }).connect()
    await client.flushAll()
    client.destroy()
    // What was there and not handled is gone with the data; what is published from now on must flow.
    const handled = running.handled
    await waitUntil(() => running.handled > handled + 100, {
      timeoutMs: 15_000,
      describe: () => `${running.handled - handled} handled; ${before.size} were waiting`,
    })
  })
})

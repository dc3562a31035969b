import assert from 'node:assert/strict'
import { setTimeout as pause } from 'node:timers/promises'
import { connect } from '@nats-io/transport-node'
import { afterEach, describe, test } from 'vitest'
import { createBus } from 'busbar'
import type { Bus } from 'busbar'
import { childConsumer, uniqueName, waitUntil } from 'busbar/testing'
import { nats } from 'busbar/nats'
import { startPrivate } from '../../tools/brokers/index.ts'
import type { NatsBroker } from '../../tools/brokers/index.ts'
import { outgoing, publishRaw, RawConsumer } from '../../src/testing/conformance/raw.ts'

const ACK_WAIT_MS = 6_000
const KILLS = 8
const LIFE_MS = 700
const PACE_MS = 20

const cleanUps: (() => unknown)[] = []
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp()
})

async function startServer(): Promise<NatsBroker> {
  const server = await startPrivate('nats')
  cleanUps.push(() => server.stop())
  return server
}

function makeBus(server: NatsBroker, leaseMs: number, partitions = 8): Bus {
  const transport = nats({ url: server.url, leaseMs, partitions })
  const bus = createBus({ service: 'members', transport })
  cleanUps.push(() => bus.close({ timeoutMs: 1_000 }))
  return bus
}

describe('members of a group on NATS', () => {
  // Its eight processes, one after another, take more than a minute to start on a busy machine; the promise is the bound at the end.
  test('one that dies again and again does not starve the others', { timeout: 180_000 }, async () => {
    const server = await startServer()
    const [topic, group] = [uniqueName('crash-loop'), 'g']
    const sentAt = new Map<number, number>()
    let longest = 0
    const done = new Set<number>()
    const handled = (data: number): void => {
      if (done.has(data)) return
      done.add(data)
      longest = Math.max(longest, performance.now() - (sentAt.get(data) ?? Infinity))
    }
    const healthy = [makeBus(server, ACK_WAIT_MS), makeBus(server, ACK_WAIT_MS)] as const
    for (const bus of healthy) {
      bus.consume(topic, ({ data }) => handled(Number(data)), { group })
      await bus.start()
    }
    const over = new AbortController()
    const publishing = (async () => {
      for (let data = 0; !over.signal.aborted; data++) {
        sentAt.set(data, performance.now())
        await healthy[0].publish(topic, data, { key: `k${data % 64}`, id: String(data) })
        await pause(PACE_MS)
      }
    })()
    for (let kill = 0; kill < KILLS; kill++) {
      const child = await childConsumer({
        module: new URL('./nats-child.ts', import.meta.url),
        env: {
          BUSBAR_TEST_NATS: server.url,
          BUSBAR_TEST_LEASE_MS: String(ACK_WAIT_MS),
          BUSBAR_TEST_PARTITIONS: '8',
        },
        topic,
        options: { group },
      })
      await pause(LIFE_MS)
      await child.kill()
      for (const id of child.ids('done')) handled(Number(id))
      await child[Symbol.asyncDispose]()
    }
    over.abort()
    await publishing
    await waitUntil(() => done.size === sentAt.size, {
      timeoutMs: 3 * ACK_WAIT_MS,
      describe: () => `${done.size} of ${sentAt.size} handled`,
    })
    // A partition that a dead member had waits for its lease, once; and for those who have to notice.
    assert.ok(longest < 2 * ACK_WAIT_MS, `a message waited for ${Math.round(longest)} ms`)
  })

  test('those without a partition stand by, and have nothing ready', { timeout: 60_000 }, async () => {
    const server = await startServer()
    const topic = uniqueName('standby')
    const members: RawConsumer[] = []
    for (let member = 0; member < 4; member++) {
      const transport = nats({ url: server.url, leaseMs: 2_000, partitions: 2 })
      const bus = createBus({ service: 'members', transport })
      cleanUps.push(() => bus.close({ timeoutMs: 1_000 }))
      await bus.start()
      members.push(await new RawConsumer(10_000).subscribe(transport, { topic, group: 'g', order: 'key' }))
      if (member > 0) continue
      await publishRaw(
        transport,
        Array.from({ length: 50 }, (_, at) => outgoing(topic, { key: `k${at}` })),
      )
    }
    const standing = (): boolean[] => members.map(({ subscription }) => subscription.state?.().standby ?? false)
    await waitUntil(() => standing().filter(Boolean).length === 2, { describe: () => standing().join() })
    let ready: (number | undefined)[] = []
    await waitUntil(
      async () => {
        ready = await Promise.all(members.map(async ({ subscription }) => subscription.readyHere?.()))
        return ready.reduce((total = 0, count = 0) => total + count, 0) === 50
      },
      { describe: () => ready.join() },
    )
    for (const [index, isStandby] of standing().entries())
      if (isStandby) assert.equal(ready[index], 0)
      else assert.ok((ready[index] ?? 0) > 0)
    // The two that read leave: the others take over.
    for (const [index, isStandby] of standing().entries()) if (!isStandby) await members[index]?.close()
    const heirs = members.filter(({ subscription }) => subscription.state?.().standby !== undefined)
    for (const heir of heirs) heir.request(50)
    await waitUntil(() => heirs.reduce((total, { deliveries }) => total + deliveries.length, 0) === 50)
  })

  test('fifty that join at once do not answer each other one by one', { timeout: 60_000 }, async () => {
    const server = await startServer()
    const topic = uniqueName('storm')
    const watcher = await connect({ servers: `${server.host}:${server.port}` })
    cleanUps.push(() => watcher.close())
    let notices = 0
    watcher.subscribe('busbar-members.>', { callback: () => void notices++ })
    await watcher.flush()
    const members = 50
    const buses = Array.from({ length: members }, () => makeBus(server, 10_000))
    for (const bus of buses) bus.consume(topic, () => undefined, { group: 'g' })
    for (const bus of buses) await bus.start()
    const afterJoining = notices
    const seen = new Set<unknown>()
    const last = buses.at(-1) as Bus
    last.consume(`${topic}.end`, ({ data }) => void seen.add(data))
    await last.publish(`${topic}.end`, 1)
    await waitUntil(() => seen.size === 1)
    // Each joins, is answered by a few, and looks for a few; every ten seconds or so each says that it is there.
    assert.ok(afterJoining < members * 20, `${afterJoining} notices for ${members} members`)
  })
})

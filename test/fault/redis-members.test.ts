import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import type { Bus } from 'busbar'
import { uniqueName, waitUntil } from 'busbar/testing'
import type { RedisOptions } from 'busbar/redis'
import { BEAT } from '../../src/transports/redis/scripts/group.ts'
import { pause } from './flow.ts'
import { redisHarness } from '../integration/redis-harness.ts'

const LEASE_MS = 3_000

const {
  client,
  bus,
  proxy: makeProxy,
} = await redisHarness('members', {
  retention: { maxMessages: 100_000 },
  leaseMs: LEASE_MS,
  pollIntervalMs: 100,
  checkServer: false,
})

describe('Redis: members that come and go', () => {
  test(
    'those that die soon after each start take no partitions along, once one of them is missed',
    { timeout: 60_000 },
    async () => {
      const topic = uniqueName('loop')
      // Long enough for no lease to end during the test, however busy the machine is.
      const lease = { leaseMs: 60_000 }
      const taken = new Map<Bus, number>()
      const join = async (options: Partial<RedisOptions>): Promise<Bus> => {
        const one = bus({ ...lease, ...options })
        taken.set(one, 0)
        one.events.on('rebalance', ({ assigned, revoked }) =>
          taken.set(one, (taken.get(one) ?? 0) + assigned.length - revoked.length),
        )
        one.consume(topic, () => {})
        await one.start()
        return one
      }
      const dyingSoon = async (): Promise<{ readonly bus: Bus; die(): void }> => {
        const proxy = await makeProxy()
        return {
          bus: await join({ host: proxy.host, port: proxy.port }),
          // As if it were killed: it says nothing more, not even goodbye.
          die() {
            proxy.refuse()
            proxy.cut()
          },
        }
      }
      const heldBy = (...members: Bus[]): number => members.reduce((sum, one) => sum + (taken.get(one) ?? 0), 0)
      const heard = async (one: string): Promise<number> =>
        Number(await client.zScore('busbar:leases', one)) - lease.leaseMs
      const members = (): Promise<string[]> => client.zRange('busbar:leases', 0, -1)

      const [first, second] = [await join({}), await join({})]
      await waitUntil(() => heldBy(first) === 4 && heldBy(second) === 4, {
        timeoutMs: 15_000,
        describe: () => `${heldBy(first)} and ${heldBy(second)}`,
      })
      const before = await members()
      const dead = await dyingSoon()
      // Its share is the larger one when the machine was so busy that the others seemed silent at its first sign of life.
      await waitUntil(() => [2, 3].includes(heldBy(dead.bus)) && heldBy(first, second, dead.bus) === 8, {
        timeoutMs: 15_000,
        describe: () => [first, second, dead.bus].map((one) => heldBy(one)).join(),
      })
      const gone = heldBy(dead.bus)
      dead.die()
      const [name = ''] = (await members()).filter((member) => !before.includes(member))
      await waitUntil(async () => Date.now() - (await heard(name)) > 1_500, { timeoutMs: 15_000 })

      for (let round = 0; round < 3; round++) {
        const known = await members()
        const next = await dyingSoon()
        const [joined = ''] = (await members()).filter((member) => !known.includes(member))
        const since = await heard(joined)
        await waitUntil(async () => (await heard(joined)) > since + 500, {
          timeoutMs: 15_000,
          describe: 'signs of life',
        })
        assert.equal(heldBy(next.bus), 0)
        next.die()
      }
      assert.equal(heldBy(first, second), 8 - gone)
      assert.equal(heldBy(dead.bus), gone)
    },
  )

  test('a new member waits for those that were silent before it came, and not for others', async () => {
    const assignment = uniqueName('assignment')
    const [leaseMs, partitions] = [60_000, 8]
    const now = Number(await client.eval(`local t = redis.call('TIME') return t[1] * 1000`))
    /** `absent`: processes, and how long ago each was last heard of. */
    const beat = async (name: string, absent: Readonly<Record<string, number>> = {}): Promise<number> => {
      const others = Object.entries(absent).flatMap(([one, agoMs]) => [one, now - agoMs + leaseMs])
      const options = {
        keys: [assignment],
        arguments: [name, `process-${name}`, leaseMs, partitions, 'k', 0, ...others].map(String),
      }
      return ((await client.eval(BEAT.lua, options)) as number[]).length - 6
    }
    for (const name of ['a', 'b', 'a']) await beat(name)
    assert.equal(await beat('new', { 'process-a': 10_000 }), 0, 'a has fallen silent')
    assert.equal(await beat('new', { 'process-a': 10_000 }), 0, 'and has not been heard since')
    assert.equal(await beat('a'), 4)
    await client.hSet(assignment, '+new', `k ${now - 20_000} process-new`)
    assert.equal(await beat('new', { 'process-b': 5_000 }), 2, 'b has fallen silent after it came')
  })

  test('a new member that lives gets its share although others have died', { timeout: 30_000 }, async () => {
    const topic = uniqueName('share')
    const [first, third] = [bus(), bus()]
    const proxy = await makeProxy()
    const second = bus({ host: proxy.host, port: proxy.port })
    for (const one of [first, second]) {
      one.consume(topic, () => {})
      await one.start()
    }
    proxy.refuse()
    proxy.cut()
    const assignedTo = async (): Promise<Set<string>> => {
      const shares = await client.hGetAll(`busbar:{${topic}}:assignment:members`)
      return new Set(Array.from({ length: 8 }, (_, partition) => shares[partition] ?? ''))
    }
    const assigned: string[] = []
    third.events.on('rebalance', (event) => assigned.push(...event.assigned))
    third.consume(topic, () => {})
    await third.start()
    await waitUntil(() => assigned.length >= 4, { timeoutMs: 15_000, describe: () => `${assigned.join()} assigned` })
    assert.equal((await assignedTo()).size, 2)
  })

  test('a member without a partition stands by: healthy, and not stalled while others have a backlog', async () => {
    const topic = uniqueName('standby')
    const members = [bus({ partitions: 1 }), bus({ partitions: 1 })]
    const stalled: unknown[] = []
    for (const one of members) {
      one.events.on('stalled', (event) => stalled.push(event))
      one.consume(topic, () => pause(20), { concurrency: 1, stalledAfterMs: 300 })
      await one.start()
    }
    await members[0]?.publishMany(
      topic,
      Array.from({ length: 60 }, (_, data) => ({ data, key: 'k' })),
    )
    const statuses = async (): Promise<string[]> =>
      (await Promise.all(members.map((one) => one.health()))).flatMap(({ consumers }) =>
        consumers.map(({ status }) => status),
      )
    await waitUntil(async () => (await statuses()).includes('standby'), { timeoutMs: 5_000, describe: statuses })
    await waitUntil(async () => (await members[0]?.admin().groups(topic))?.[0]?.lag === 0, { timeoutMs: 15_000 })
    assert.deepEqual([(await statuses()).toSorted(), stalled], [['ok', 'standby'], []])
  })
})

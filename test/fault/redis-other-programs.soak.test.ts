import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { redis } from 'busbar/redis'
import { seededRandom } from 'busbar/testing'
import type { TcpProxy } from 'busbar/testing'
import { redisHarness, streamOf } from '../integration/redis-harness.ts'
import { Flow, pause } from './flow.ts'
import { QUICK } from './redis-options.ts'

const PARTITIONS = 4
const SECONDS = 30
/** A group whose hash and position are both deleted is a new one, and gets everything again. */
const MANY = Infinity

const OPTIONS = { ...QUICK, partitions: PARTITIONS }
const { broker, client, proxy } = await redisHarness('other-programs', OPTIONS)

/**
 * Another program deletes at random what a group has on the server, connections break, and members come and go: each confirmed
 * message is handled, in the order of its key, by one handler at a time.
 */
describe('Redis: another program deletes what it likes', () => {
  test.each([
    ['consumers, shares, leases, notices and scripts', ['consumers', 'assignment', 'leases', 'notices', 'scripts'], 0],
    ['the group on a stream too', ['group', 'consumers', 'assignment', 'leases', 'notices'], 0],
    ['the hash of the group too', ['hash', 'consumers', 'assignment', 'leases', 'notices'], 0],
    ['the hash and the group: it may begin again', ['hash', 'group', 'assignment'], MANY],
  ] as const)('%s', { timeout: (SECONDS + 90) * 1_000 }, async (_, names, atLeast) => {
    const proxies: TcpProxy[] = []
    const members = await Promise.all(
      [0, 1, 2].map(async () => {
        const between = await proxy()
        proxies.push(between)
        return () => redis({ ...OPTIONS, host: between.host, port: between.port })
      }),
    )
    const flow = new Flow({ members, publisher: () => redis({ ...OPTIONS, url: broker.url }), keys: 12 })
    const seed = String(Date.now())
    const random = seededRandom(seed)
    const stream = (): string => streamOf(flow.topic, random.integer(0, PARTITIONS - 1))
    /** How many may be handled again: what was pending where it was deleted. */
    let explained: number = atLeast
    const deletions = {
      consumers: async () => {
        const of = stream()
        for (const { name } of await client.xInfoConsumers(of, flow.group).catch(() => []))
          if (random.chance(0.5)) explained += await client.xGroupDelConsumer(of, flow.group, name)
      },
      group: async () => {
        const of = stream()
        const pending = client.xPending(of, flow.group).then(
          (found) => found.pending,
          () => 0,
        )
        explained += (await Promise.all([pending, client.xGroupDestroy(of, flow.group).catch(() => 0)]))[0]
      },
      hash: () => client.del(`${streamOf(flow.topic)}:group:${flow.group}`),
      assignment: () => client.del(`${streamOf(flow.topic)}:assignment:${flow.group}`),
      leases: () => client.del('busbar:leases'),
      notices: () => client.del('busbar:notices'),
      scripts: () => client.scriptFlush(),
    }
    const disturbances: (() => unknown)[] = [
      () => random.pick(proxies).cut(),
      () => random.pick(proxies).halfOpen('target'),
      async () => void (await flow.join(random.pick(members))),
      async () => {
        if (flow.consumers.length > 2) await flow.consumers.shift()?.close({ timeoutMs: 5_000 })
      },
    ]
    try {
      await flow.start()
      const until = performance.now() + SECONDS * 1_000
      while (performance.now() < until) {
        await pause(random.integer(30, 250))
        if (random.chance(0.6)) await deletions[random.pick(names)]()
        else await random.pick(disturbances)()
      }
      // Ends what is half open, which counts as an open socket of this process.
      for (const one of proxies) one.cut()
      await flow.everyKey(20, 20_000, `after the last deletion (seed ${seed})`)
      const outcome = await flow.end()
      assert.deepEqual(flow.overlaps, [], `seed ${seed}`)
      const { repeated } = outcome
      assert.ok(repeated <= explained, `${repeated} were handled again, ${explained} can be explained (seed ${seed})`)
    } finally {
      await flow.close()
    }
  })
})

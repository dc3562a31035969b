import assert from 'node:assert/strict'
import { test } from 'vitest'
import { uniqueName, waitUntil } from 'busbar/testing'
import { redisHarness } from './redis-harness.ts'

const PARTITIONS = 8
const LEASE_MS = 1_000
/** Renewals of the lease of the process: only they call this, while nothing happens. */
const RENEWAL = 'zrange'
const RENEWALS_PER_LEASE = 5

const { client, bus } = await redisHarness('idle', { leaseMs: LEASE_MS, pollIntervalMs: 250, partitions: PARTITIONS })

type Calls = ReadonlyMap<string, number>

/** How often each command was called, those inside of scripts included. */
async function calls(): Promise<Calls> {
  const found = (await client.info('commandstats')).matchAll(/cmdstat_([^:]+):calls=(\d+)/g)
  return new Map(Array.from(found, ([, name, count]) => [name as string, Number(count)]))
}

/** What is called until the lease has been renewed so often that many leases have passed. */
async function duringLeases(
  leases: number,
): Promise<{ readonly leases: number; readonly count: (name: string) => number }> {
  const from = await calls()
  let now = from
  const count = (name: string): number => (now.get(name) ?? 0) - (from.get(name) ?? 0)
  await waitUntil(async () => ((now = await calls()), count(RENEWAL) >= leases * RENEWALS_PER_LEASE), {
    timeoutMs: leases * LEASE_MS * 3,
    intervalMs: LEASE_MS / 10,
    describe: () => `${count(RENEWAL)} renewals`,
  })
  return { leases: count(RENEWAL) / RENEWALS_PER_LEASE, count }
}

test('idle partitions are looked into twice in six leases, the first time too', { timeout: 60_000 }, async () => {
  const on = bus()
  // The watchdog asks every four leases whether anything waits.
  on.consume(uniqueName('idle'), () => {}, { stalledAfterMs: 4 * LEASE_MS })
  await on.start()
  // Joins and first reads are over by then.
  await duringLeases(1)
  const { leases, count } = await duringLeases(16)
  const looks = ['xinfo|stream', 'xinfo|groups', 'xinfo|consumers', 'xpending', 'hmget', 'zcard', 'zcount']
  const found = looks.map((name) => `${name} ${count(name)}`).join()
  // With jitter, some are looked at after less than five leases.
  const most = Math.ceil(leases / 4.5) * 2 * PARTITIONS
  assert.ok(
    looks.reduce((total, name) => total + count(name), 0) <= most,
    `${found}; at most ${most} in ${leases} leases`,
  )
})

test('idle groups of a process are looked at together', { timeout: 60_000 }, async () => {
  const on = bus({ partitions: 1 })
  for (let number = 0; number < 12; number++) on.consume(uniqueName('idle'), () => {})
  await on.start()
  await duringLeases(2)
  const { leases, count } = await duringLeases(6)
  // Each of them takes two.
  assert.ok(count('exists') <= leases * 2 * 3, `${count('exists')} calls of EXISTS in ${leases} leases`)
})

test(
  "a group with order 'none' looks into idle partitions twice in a lease, and not at each poll",
  { timeout: 60_000 },
  async () => {
    const on = bus()
    on.consume(uniqueName('idle'), () => {}, { order: 'none' })
    await on.start()
    await duringLeases(2)
    const { leases, count } = await duringLeases(6)
    // Each full look at a partition takes one of these, and there would be four in a lease.
    assert.ok(count('hmget') <= 2 * PARTITIONS, `${count('hmget')} full looks in ${leases} leases`)
    // Half a lease apart, with jitter.
    const most = Math.ceil(leases / 0.4) * PARTITIONS
    assert.ok(count('xinfo|groups') <= most, `${count('xinfo|groups')} looks in ${leases} leases, at most ${most}`)
  },
)

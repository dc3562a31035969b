import { describe, expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import { resolveRedisOptions } from '../../../src/transports/redis/resolve-options.ts'
import { ProcessLease } from '../../../src/transports/redis/partitions/process-lease.ts'
import type { ProcessLeaseParts } from '../../../src/transports/redis/partitions/process-lease.ts'
import { RENEW } from '../../../src/transports/redis/scripts/lease.ts'

const LEASE_MS = 10_000
type Answer = readonly (number | Buffer)[]

function setUp() {
  const clock = manualClock()
  const told: string[] = []
  const asked: string[] = []
  const server = { answer: (): Promise<Answer> => Promise.resolve([1, 1_000]) }
  const lease = new ProcessLease({
    options: resolveRedisOptions({ leaseMs: LEASE_MS }),
    clock,
    keys: { leases: 'leases' },
    commands: { cluster: false, connected: true, call: () => Promise.resolve(1) },
    scripts: {
      run(script: unknown, _keys: unknown, [name]: readonly string[]) {
        if (script === RENEW) asked.push(name ?? '')
        return server.answer()
      },
    },
    reports: { accepted() {}, error: (error: Error) => told.push(error.message) },
    onLost: (reason: string) => told.push(`lost: ${reason}`),
    onOthers: () => told.push('others'),
    onRenewed: () => {},
  } as unknown as ProcessLeaseParts)
  return { clock, lease, server, told, asked }
}

describe('the lease of a process', () => {
  it('counts from before the renewal was sent', async () => {
    const { clock, lease, server } = setUp()
    server.answer = async () => {
      await clock.advance(3_000)
      return [1, 1_000]
    }
    const before = clock.monotonic()
    await lease.start()
    expect(lease.until).toBe(before + LEASE_MS)
    await lease.close()
  })

  it('that can not be renewed ends by the own clock, and everything is lost once', async () => {
    const { clock, lease, server, told } = setUp()
    await lease.start()
    server.answer = () => Promise.reject(new Error('the connection was closed'))
    await clock.advance(LEASE_MS)
    expect(told.filter((text) => text.startsWith('lost'))).toEqual(['lost: its lease could not be renewed in time'])
    expect(lease.until).toBe(-Infinity)
    await lease.close()
  })

  it('has ended for those who ask before a timer says so, as in a process that was stopped', async () => {
    const { clock, lease, told } = setUp()
    await lease.start()
    expect([lease.check(), told]).toEqual([true, []])
    const wokenAt = clock.monotonic() + LEASE_MS
    clock.monotonic = () => wokenAt
    expect([lease.check(), told]).toEqual([false, ['lost: its lease could not be renewed in time']])
    await lease.close()
  })

  it('that has ended does not come back because the server takes no writes', async () => {
    const { clock, lease, server } = setUp()
    await lease.start()
    server.answer = () => Promise.reject(new Error('the connection was closed'))
    await clock.advance(LEASE_MS)
    server.answer = () => Promise.reject(new Error('NOREPLICAS Not enough good replicas to write.'))
    await clock.advance(LEASE_MS)
    expect(lease.until).toBe(-Infinity)
    await lease.close()
  })

  it('that others have fenced is not renewed under the same name', async () => {
    const { clock, lease, server, told, asked } = setUp()
    await lease.start()
    const { name } = lease
    const answers: Answer[] = [
      [0, 2_000],
      [1, 2_000],
    ]
    server.answer = () => Promise.resolve(answers.shift() ?? [1, 2_000])
    await clock.advance(2_500)
    expect(lease.name).not.toBe(name)
    expect(asked.slice(0, 3)).toEqual([name, name, lease.name])
    expect(told).toEqual(['lost: its lease had ended, and another process may have taken over', 'others'])
    await lease.close()
  })

  it('continues while the server takes no writes from any process', async () => {
    const { clock, lease, server, told } = setUp()
    await lease.start()
    server.answer = () => Promise.reject(new Error('NOREPLICAS Not enough good replicas to write.'))
    await clock.advance(LEASE_MS * 3)
    expect(told.filter((text) => text.startsWith('lost'))).toEqual([])
    expect(lease.until).toBeGreaterThan(clock.monotonic())
    await lease.close()
  })

  it('reports when others fall silent, die and come back, and not again in between', async () => {
    const { clock, lease, server, told } = setUp()
    await lease.start()
    const others: Answer[] = [
      [1, 1_000, Buffer.from('a'), Buffer.from('5000')],
      [1, 3_000, Buffer.from('a'), Buffer.from('5000')],
      [1, 5_000, Buffer.from('a'), Buffer.from('-5000')],
      [1, 7_000],
    ]
    const counts: number[] = []
    for (const answer of others) {
      server.answer = () => Promise.resolve(answer)
      await lease.renew()
      counts.push(told.length)
    }
    expect(counts).toEqual([1, 1, 2, 3])
    expect(clock.monotonic()).toBeGreaterThanOrEqual(0)
    await lease.close()
  })
})

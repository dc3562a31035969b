import { describe, expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { Claimer } from '../../../src/transports/redis/consume/claimer.ts'
import type { MemberContext } from '../../../src/transports/redis/consume/member-context.ts'
import type { Readers } from '../../../src/transports/redis/consume/readers.ts'
import { Membership } from '../../../src/transports/redis/partitions/membership.ts'
import { ACQUIRE, BEAT, INSPECT, JOIN } from '../../../src/transports/redis/scripts/group.ts'
import { Keys } from '../../../src/transports/redis/topology/keys.ts'

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** An attempt to take a partition that waits for its reply. */
interface Attempt {
  readonly partition: number
  readonly taken: (generation: string) => void
  readonly fail: (error: Error) => void
}

async function setUp(partitions: number) {
  const clock = manualClock()
  const attempts: Attempt[] = []
  const added: string[] = []
  const scripts = {
    run(script: unknown, keys: readonly string[], args: readonly string[]) {
      if (script === JOIN) return Promise.resolve([0, Buffer.from(`${args[2]}:1`)])
      if (script === BEAT)
        return Promise.resolve([1, 0, partitions, Buffer.from('1'), 0, 0, ...Array.from({ length: partitions }).keys()])
      if (script === INSPECT)
        return Promise.resolve([Buffer.from('1'), ...keys.slice(1).map(() => [1, Buffer.from(''), 0, -1, -1, -1, -1])])
      if (script !== ACQUIRE) return Promise.resolve([])
      const { promise, resolve, reject } = Promise.withResolvers<unknown>()
      const taken = (generation: string): void =>
        resolve([1, Buffer.from(generation), 0, Buffer.from(''), Buffer.from('')])
      attempts.push({ partition: Number(args[5]), taken, fail: reject })
      return promise
    },
  }
  const context = {
    host: { name: 'main', clock, events: { emit() {} } },
    options: { leaseMs: 1_000, pollIntervalMs: 100 },
    keys: new Keys('', false),
    commands: { cluster: false, call: () => Promise.resolve([]) },
    lease: {
      name: 'p.1000',
      others: new Map(),
      start: () => Promise.resolve(),
      deadOf: () => Promise.resolve(new Set()),
    },
    reports: { accepted() {} },
    retention: { watch() {} },
    topics: { partitions: () => Promise.resolve(partitions) },
    maintenance: { soon() {}, announce() {} },
    scripts,
  }
  const readers = {
    remove: () => Promise.resolve(),
    nameOf: () => '  c',
    add: ({ keys, generation }: { keys: { partition: number }; generation: string }) =>
      added.push(`${keys.partition} ${generation}`),
    wake() {},
  } as unknown as Readers
  const member = {
    context,
    owned: true,
    spec: { group: 'g', consumerId: 'c', order: 'key' },
  } as unknown as MemberContext
  const membership = new Membership({
    member,
    claimer: { recover() {}, expect() {} } as unknown as Claimer,
    topic: 't',
    partitions,
    readers,
    lose() {},
    repair() {},
    onMaintained() {},
  })
  await membership.join('earliest')
  return { membership, attempts, added }
}

describe('a membership', () => {
  it('tries no partition again before the last attempt at it has ended, even if one at another failed', async () => {
    const { membership, attempts, added } = await setUp(2)
    const first = membership.tick()
    first.catch(() => {})
    await turn()
    expect(attempts.map(({ partition }) => partition)).toEqual([0, 1])
    attempts[0]?.fail(new Error('the node of this one is down'))
    await turn()
    const second = membership.tick()
    await turn()
    expect(attempts.length).toBe(2)
    attempts[1]?.taken('1:7')
    await expect(first).rejects.toThrow('the node of this one is down')
    await turn()
    expect(attempts.slice(2).map(({ partition }) => partition)).toEqual([0])
    attempts[2]?.taken('0:8')
    await second
    expect(added).toEqual(['1 1:7', '0 0:8'])
  })
})

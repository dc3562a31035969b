import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { LossDetector } from '../../../src/transports/redis/consume/loss-detector.ts'
import type { MemberContext } from '../../../src/transports/redis/consume/member-context.ts'
import { Inspection } from '../../../src/transports/redis/partitions/inspection.ts'
import type { InspectionParts } from '../../../src/transports/redis/partitions/inspection.ts'
import { PartitionState } from '../../../src/transports/redis/partitions/partition-state.ts'
import type { PartitionHost } from '../../../src/transports/redis/partitions/partition-state.ts'
import { INSPECT } from '../../../src/transports/redis/scripts/group.ts'
import { LOOK, PENDING_ELSEWHERE, STREAM_STATES } from '../../../src/transports/redis/scripts/look.ts'

const LEASE_MS = 1_000

function turn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

/** A member that has one partition, in which nothing happens, and what its server answers. */
function setUp(readState: readonly unknown[]) {
  const clock = manualClock()
  const answers = { state: 'before', looks: 0, failing: false }
  const context = {
    host: { clock },
    options: { leaseMs: LEASE_MS, pollIntervalMs: 50 },
    lease: { name: 'p' },
    commands: { cluster: false },
    groupLooks: { look: () => Promise.resolve({ revision: '7', isAlone: true }) },
    scripts: {
      run(script: unknown) {
        if (script === STREAM_STATES) return Promise.resolve([Buffer.from(answers.state)])
        if (script === INSPECT) return Promise.resolve([Buffer.from('7'), [1, '', 0, -1, -1, -1, -1]])
        assert.equal(script, LOOK)
        answers.looks++
        if (answers.failing) return Promise.reject(new Error('the reply was lost'))
        return Promise.resolve(readState)
      },
    },
  }
  const member = { context, owned: true, spec: { group: 'g', consumerId: 'c' } } as unknown as MemberContext
  const keys = { stream: 's', delayed: 'd', partition: 0 }
  const group = { meta: 'm', later: 'l', side: 'x', sideLater: 'y', delayed: 'z' }
  const partition = new PartitionState(keys as never, group as never, {} as PartitionHost)
  Object.assign(partition, { phase: 'held', generation: 'one', lastRead: '5-0', recordedFloor: '5-0' })
  const inspection = new Inspection({
    member,
    claimer: { expect: () => undefined, recover: () => undefined },
    readers: { nameOf: () => 'r', wake: () => undefined, interrupt: () => Promise.resolve() },
    losses: new LossDetector(member),
    group: 'g',
    assignment: 'a',
    revision: () => '7',
    partitions: [partition],
    isMixed: () => false,
    soon: () => undefined,
    disowned: () => undefined,
  } as unknown as InspectionParts)
  const sweep = async (): Promise<number> => {
    const before = answers.looks
    for (let leases = 0; leases < 10; leases++) {
      await clock.advance(LEASE_MS * 2)
      await inspection.run(clock.monotonic())
      await turn()
    }
    return answers.looks - before
  }
  return { answers, sweep }
}

test('a look for losses that failed is repeated, though nothing happens after it', async () => {
  const { answers, sweep } = setUp([Buffer.from('5-0'), 5, 5, 5, Buffer.from('server')])
  assert.ok((await sweep()) > 0)
  assert.equal(await sweep(), 0)
  Object.assign(answers, { state: 'after', failing: true })
  assert.ok((await sweep()) > 1)
  answers.failing = false
  assert.equal(await sweep(), 1)
  assert.equal(await sweep(), 0)
})

test('a server that does not count what it adds, as before Redis 7, is looked at once', async () => {
  const { answers, sweep } = setUp([Buffer.from('')])
  assert.equal(await sweep(), 1)
  assert.equal(await sweep(), 0)
  answers.state = 'after'
  assert.equal(await sweep(), 1)
})

test('what a look has found is reported, though the partition was lost before its reply came', async () => {
  const losses: unknown[] = []
  const asked = Promise.withResolvers<unknown>()
  const member = {
    context: {
      host: {
        name: 'main',
        clock: manualClock(),
        events: { emit: (_: string, { count }: { count: number }) => losses.push(count) },
      },
      options: { retention: { keepUnacked: true } },
      scripts: {
        run(script: unknown) {
          if (script === PENDING_ELSEWHERE) return Promise.resolve(0)
          assert.equal(script, LOOK)
          return asked.promise
        },
      },
    },
    spec: { group: 'g' },
  } as unknown as MemberContext
  const partition = new PartitionState(
    { topic: 't', partition: 0, stream: 's' } as never,
    { meta: 'm' } as never,
    {} as PartitionHost,
  )
  partition.generation = 'one'
  const looking = new LossDetector(member).lookForLoss(partition, true)
  partition.generation = ''
  partition.takeBack()
  // The server has corrected its count: 20 of 30 were removed unread.
  asked.resolve([Buffer.from('5-0'), 30, 30, 10, Buffer.from('server')])
  assert.equal(await looking, false)
  await turn()
  assert.deepEqual(losses, [20])
})

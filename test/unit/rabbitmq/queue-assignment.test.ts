import assert from 'node:assert/strict'
import { manualClock } from 'busbar/testing'
import { test } from 'vitest'
import { QueueAssignment } from '../../../src/transports/rabbitmq/partitions/queue-assignment.ts'
import type {
  QueueAssignmentHost,
  AssignedQueue,
} from '../../../src/transports/rabbitmq/partitions/queue-assignment.ts'
import { standbyLine, assign } from '../../../src/transports/rabbitmq/partitions/assignment.ts'
import type { Membership } from '../../../src/transports/rabbitmq/partitions/membership.ts'
import type { QueueConsumer } from '../../../src/transports/rabbitmq/consume/queue-consumer.ts'
import { fakeSession } from './fake-channel.ts'

/** More than a loop that pauses gets done while the clock stands still. */
const MANY = 50

function made(host: Partial<QueueAssignmentHost>) {
  const clock = manualClock()
  const assignment = new QueueAssignment({
    host: host as QueueAssignmentHost,
    clock,
    membership: undefined,
    id: 'm',
    isShared: false,
  })
  return { clock, assignment }
}

test('an assignment whose failures cannot be reported pauses, and tries again', async () => {
  let declared = 0
  const { clock, assignment } = made({
    declare: async () => {
      // A loop without a pause would never let this test end.
      if (++declared === MANY) return new Promise(() => undefined)
      assignment.update()
      throw new Error('no')
    },
    failed: () => {
      throw new Error('a fault in a listener')
    },
  })
  assignment.begin(fakeSession().live, [])
  assignment.redeclare()
  await clock.advance(0)
  assert.equal(declared, 1)
  await clock.advance(1_000)
  assert.ok(declared > 1 && declared < 10, `${declared} attempts`)
  assert.equal(assignment.trouble, 'no')
})

test('an assignment whose live has ended waits for the next one', async () => {
  let notes = 0
  const reader: Partial<QueueConsumer> = { queue: 'q', isOpen: true, handed: 0 }
  const { clock, assignment } = made({
    makeAssignedQueue: (_, partition): AssignedQueue => ({
      reader: reader as QueueConsumer,
      partition,
      isLeaving: true,
      isEnding: false,
      standsByFor: undefined,
      standbyAt: 0,
      rank: 0,
      isKept: false,
      hasYielded: false,
    }),
    noteReturned: () => (++notes === MANY ? new Promise(() => undefined) : Promise.reject(new Error('no connection'))),
  })
  assignment.begin({ ...fakeSession().live, isOpen: false }, ['q'])
  assignment.update()
  await clock.advance(0)
  assert.equal(notes, 1)
  assignment.attach({ ...fakeSession().live, isOpen: false })
  await clock.advance(0)
  assert.equal(notes, 2)
})

test('an assignment that pauses after failures begins at once on a new live', async () => {
  const sessions: unknown[] = []
  const { clock, assignment } = made({
    declare: async (live) => {
      sessions.push(live)
      throw new Error('no')
    },
    failed: () => undefined,
  })
  const [first, second] = [fakeSession().live, fakeSession().live]
  assignment.begin(first, [])
  assignment.redeclare()
  await clock.advance(60_000)
  assignment.attach(second)
  await clock.advance(0)
  assert.equal(sessions.at(-1), second)
})

/** When a member that owns none of four queues begins to stand by for each, in order of the queues. */
async function standbyTimes(count: number): Promise<{ times: readonly number[]; ranks: readonly number[] }> {
  const clock = manualClock()
  const members = Array.from({ length: count }, (_, member) => `m${member}`)
  const owners = assign(4, members)
  const id = members.find((member) => !owners.includes(member)) as string
  const times: number[] = []
  let tell: (members: readonly string[]) => void = () => undefined
  const host: Partial<QueueAssignmentHost> = {
    noteReturned: async () => undefined,
    rebalanced: () => undefined,
    makeAssignedQueue: (queue, partition): AssignedQueue => {
      const reader = {
        queue,
        isIdle: true,
        isOpen: false,
        handed: 0,
        open: async () => {
          reader.isIdle = false
          times[partition] = clock.monotonic() - startedAt
        },
        close: async () => undefined,
      }
      return {
        reader: reader as unknown as QueueConsumer,
        partition,
        isLeaving: false,
        isEnding: false,
        standsByFor: undefined,
        standbyAt: 0,
        rank: 0,
        isKept: false,
        hasYielded: false,
      }
    },
  }
  let joining: Promise<void> | undefined
  const membership: Partial<Membership> = {
    join: () => (joining ??= Promise.resolve().then(() => tell(members))),
    leave: async () => undefined,
  }
  const assignment = new QueueAssignment({
    host: host as QueueAssignmentHost,
    clock,
    membership: ({ onChange }) => {
      tell = onChange
      return membership as Membership
    },
    id,
    isShared: false,
  })
  const startedAt = clock.monotonic()
  assignment.begin(fakeSession().live, ['q0', 'q1', 'q2', 'q3'])
  assignment.want(true)
  await clock.advance(60_000)
  await assignment.close()
  return { times, ranks: owners.map((_, partition) => standbyLine(partition, owners, members).indexOf(id)) }
}

test('a member stands by for each queue in its turn, not for all of them at the last one', async () => {
  const { times, ranks } = await standbyTimes(20)
  assert.ok(new Set(ranks).size > 2)
  assert.deepEqual(
    times,
    ranks.map((rank) => 3_000 + 100 * rank),
  )
})

test('a member of a large group stands by after five seconds at most', async () => {
  const { times, ranks } = await standbyTimes(200)
  assert.ok(Math.max(...ranks) > 20)
  assert.deepEqual(
    times,
    ranks.map((rank) => 3_000 + 100 * Math.min(rank, 20)),
  )
})

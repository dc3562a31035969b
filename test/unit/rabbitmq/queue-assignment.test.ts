import assert from 'node:assert/strict'
import { manualClock } from 'busbar/testing'
import { test } from 'vitest'
import { QueueAssignment } from '../../../src/transports/rabbitmq/partitions/queue-assignment.ts'
import type {
  QueueAssignmentHost,
  AssignedQueue,
} from '../../../src/transports/rabbitmq/partitions/queue-assignment.ts'
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

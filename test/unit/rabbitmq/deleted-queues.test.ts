import assert from 'node:assert/strict'
import { test, vi } from 'vitest'
import { QueueConsumer } from '../../../src/transports/rabbitmq/consume/queue-consumer.ts'
import { QUEUE, subscribed } from './fake-subscription.ts'

test('a deleted queue is reported once, also when declaring the group again fails at first', async () => {
  const { clock, broker, assignment, losses, declarations } = await subscribed()
  declarations.push(() => {
    // The queue was declared again, and what follows it failed.
    broker.missing.clear()
    throw new Error('one thing failed')
  })
  broker.missing.add(QUEUE)
  assignment.redeclare()
  await clock.advance(0)
  assert.deepEqual(losses, [])
  await clock.advance(1_000)
  assert.equal(losses.length, 1)
  assignment.redeclare()
  await clock.advance(1_000)
  assert.equal(losses.length, 1)
})

test('the queue of a cancelled consumer is waited for again when looking for it failed', async () => {
  const { clock, broker, assignment, losses } = await subscribed()
  broker.failing.add('checkQueue')
  assignment.redeclare(QUEUE)
  await clock.advance(0)
  broker.failing.clear()
  await clock.advance(300)
  broker.missing.add(QUEUE)
  await clock.advance(1_000)
  assert.equal(losses.length, 1)
})

test('a queue that is deleted while the group is declared again is declared once more', async () => {
  const { clock, broker, assignment, losses, declarations } = await subscribed()
  declarations.push(() => {
    broker.missing.add(QUEUE)
    assignment.redeclare(QUEUE)
  })
  assignment.redeclare()
  await clock.advance(1_000)
  assert.equal(losses.length, 1)
})

test('a queue that is deleted on a new connection, after it was looked for, is not declared unnoticed', async () => {
  const { clock, broker, assignment, losses, declarations } = await subscribed()
  declarations.push(({ missing }) => {
    // It existed when it was looked for. Binding what is missing fails.
    assert.deepEqual(missing, new Set())
    broker.missing.add(QUEUE)
    throw new Error('NOT_FOUND')
  })
  assignment.attach({ ...broker.live, epoch: 2 })
  await clock.advance(1_000)
  assert.equal(losses.length, 1)
})

test('a queue whose consumer was cancelled while the group was declared is not consumed before it was looked for', async () => {
  const { clock, assignment, declarations } = await subscribed()
  using open = vi.spyOn(QueueConsumer.prototype, 'open').mockResolvedValue()
  declarations.push(() => assignment.redeclare(QUEUE))
  assignment.redeclare()
  assignment.want(true)
  await clock.advance(0)
  assert.equal(open.mock.calls.length, 0)
  await clock.advance(1_000)
  assert.equal(open.mock.calls.length, 1)
})

test('a consumer that finds no queue has that queue looked for', async () => {
  const { clock, assignment, declarations } = await subscribed()
  using open = vi.spyOn(QueueConsumer.prototype, 'open')
  open.mockRejectedValueOnce(Object.assign(new Error('NOT_FOUND'), { code: 404 })).mockResolvedValue()
  const bound: unknown[] = []
  declarations.push(({ missing }) => void bound.push(missing))
  assignment.want(true)
  await clock.advance(1_000)
  assert.deepEqual(bound, [new Set()])
  assert.equal(open.mock.calls.length, 2)
})

test('a queue whose node is down does not count as deleted', async () => {
  const { clock, broker, assignment, losses, declarations } = await subscribed()
  const away = Object.assign(new Error(`home node 'b' of durable queue '${QUEUE}' is down or inaccessible`), {
    code: 404,
  })
  broker.refusing.set('checkQueue', away)
  declarations.push(() => {
    throw away
  })
  assignment.redeclare()
  await clock.advance(0)
  broker.refusing.clear()
  await clock.advance(1_000)
  assert.deepEqual(losses, [])
})

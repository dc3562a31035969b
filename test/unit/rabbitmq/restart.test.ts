import assert from 'node:assert/strict'
import { test, vi } from 'vitest'
import { QueueConsumer } from '../../../src/transports/rabbitmq/consume/queue-consumer.ts'
import { subscribed } from './fake-subscription.ts'

test('a consumer that is paused while its prefetch is lowered stays paused', async () => {
  const { clock, subscription, assignment } = await subscribed()
  const prototype = QueueConsumer.prototype
  using _open = vi.spyOn(prototype, 'isOpen', 'get').mockReturnValue(true)
  using _idle = vi.spyOn(prototype, 'isIdle', 'get').mockReturnValue(false)
  using _tag = vi.spyOn(prototype, 'lastTag', 'get').mockReturnValue(1)
  using _oldest = vi
    .spyOn(prototype, 'oldest', 'get')
    .mockReturnValue({ deliveryTag: 1, isWaitingAt: () => false } as never)
  const cancelling = Promise.withResolvers<void>()
  using cancel = vi.spyOn(prototype, 'cancel').mockReturnValueOnce(cancelling.promise).mockResolvedValue()
  using resume = vi.spyOn(prototype, 'resume').mockResolvedValue()
  const [assigned] = assignment.assignedQueues
  assert.ok(assigned !== undefined)
  // A slow handler has one.
  assigned.reader.handed = 1
  subscription.request(1, 1_000)
  await clock.advance(0)
  for (let minutes = 0; cancel.mock.calls.length === 0 && minutes < 30; minutes++) await clock.advance(60_000)
  subscription.pause()
  await clock.advance(0)
  cancelling.resolve()
  await clock.advance(0)
  assert.equal(cancel.mock.calls.length, 2)
  assert.equal(resume.mock.calls.length, 0)
  await subscription.close()
})

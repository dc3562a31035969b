import { expect, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { PublishError } from '../../../src/core/errors.ts'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import type { PublishOutcome } from '../../../src/core/transport.ts'
import { PublishJob } from '../../../src/transports/rabbitmq/publish/publish-job.ts'
import { YoungConfirms } from '../../../src/transports/rabbitmq/delays/young-confirms.ts'

/** A publish of one message, and its outcome once it is known. */
function publish(): { job: PublishJob; outcome: () => PublishOutcome | undefined } {
  let known: readonly PublishOutcome[] = []
  const job = new PublishJob([{} as OutgoingMessage], undefined, undefined, (outcomes) => (known = outcomes))
  return { job, outcome: () => known[0] }
}

test('a message in a new queue is confirmed when the queue is old enough, each in its own time', async () => {
  const clock = manualClock()
  let oldAt = clock.monotonic() + 700
  const young = new YoungConfirms(clock, () => Math.max(0, oldAt - clock.monotonic()))
  const [first, second, third] = [publish(), publish(), publish()]
  young.confirmed(first.job, 0)
  await clock.advance(600)
  // Another queue is created.
  oldAt = clock.monotonic() + 700
  young.confirmed(second.job, 0)
  expect(first.outcome()).toBeUndefined()
  await clock.advance(100)
  expect(first.outcome()).toEqual({ error: undefined })
  await clock.advance(599)
  expect(second.outcome()).toBeUndefined()
  await clock.advance(1)
  expect(second.outcome()).toEqual({ error: undefined })
  young.confirmed(third.job, 0)
  expect(third.outcome()).toEqual({ error: undefined })
})

test('what still waits when the channel ends is unknown', async () => {
  const clock = manualClock()
  const young = new YoungConfirms(clock, () => 700)
  const { job, outcome } = publish()
  young.confirmed(job, 0)
  const error = new PublishError('The channel ended', { outcome: 'unknown', retryable: true })
  young.lost(error)
  expect(outcome()).toEqual({ error })
  await clock.advance(1_000)
  expect(outcome()).toEqual({ error })
})

import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { LoopWatch } from '../../../src/transports/rabbitmq/connection/loop-watch.ts'

test('a block is noticed while it lasts and for as long as asked, and a timer that is a little late is none', async () => {
  const clock = manualClock()
  let blockedMs = 0
  const watch = new LoopWatch({ ...clock, monotonic: () => clock.monotonic() + blockedMs })
  await clock.advance(5_000)
  blockedMs += 400
  await clock.advance(500)
  assert.equal(watch.blockedMs(60_000), 0)
  // No timer has fired yet.
  blockedMs += 4_500
  assert.equal(watch.blockedMs(60_000), 4_000)
  await clock.advance(500)
  assert.equal(watch.blockedMs(60_000), 4_500)
  await clock.advance(10_000)
  assert.equal(watch.blockedMs(10_000), 4_500)
  assert.equal(watch.blockedMs(9_999), 0)
  watch.stop()
  assert.equal(clock.pending, 0)
})

import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { ControlPublisher } from '../../../src/transports/rabbitmq/control-publisher.ts'
import type { Link } from '../../../src/transports/rabbitmq/link.ts'
import { fakeSession } from './fake-channel.ts'

function controlOn(clock = manualClock()) {
  const { session, channels } = fakeSession()
  const control = new ControlPublisher({
    link: { whenUp: async () => session } as Partial<Link> as Link,
    clock,
    exchange: 'busbar.internal',
    blockedBy: () => undefined,
    closing: new AbortController().signal,
  })
  return { clock, channels, control, write: (text: string) => control.publishTo('notes', Buffer.from(text)) }
}

test('a channel that refused something ends when everything on it is answered, and not before', async () => {
  const { clock, channels, write } = controlOn()
  const writes = ['a', 'b', 'c', 'd'].map(write)
  await clock.advance(0)
  const [first] = channels
  assert.deepEqual(first?.published, ['a', 'b', 'c', 'd'])
  for (const isAck of [false, false, true]) {
    first?.answer(isAck)
    await clock.advance(0)
  }
  assert.equal(first?.isOpen, true)
  await clock.advance(20)
  // What was refused is tried again on another one.
  assert.deepEqual(channels[1]?.published, ['a', 'b'])
  first?.answer(true)
  await clock.advance(0)
  assert.equal(first?.isOpen, false)
  for (let count = 0; count < 2; count++) channels[1]?.answer(true)
  await Promise.all(writes)
})

test('what was on its way when its channel ended is tried again on the next one', async () => {
  const { clock, channels, write } = controlOn()
  const written = write('a')
  await clock.advance(0)
  await channels[0]?.close()
  await clock.advance(20)
  assert.deepEqual(channels[1]?.published, ['a'])
  channels[1]?.answer(true)
  await written
})

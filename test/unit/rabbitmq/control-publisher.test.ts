import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { ControlPublisher } from '../../../src/transports/rabbitmq/publish/control-publisher.ts'
import type { Connection } from '../../../src/transports/rabbitmq/connection/connection.ts'
import { fakeSession } from './fake-channel.ts'

function controlOn(clock = manualClock()) {
  const { live, channels } = fakeSession()
  const broker: { up: Promise<void>; blockedBy: string | undefined } = { up: Promise.resolve(), blockedBy: undefined }
  const control = new ControlPublisher({
    connection: { whenUp: () => broker.up.then(() => live) } as Partial<Connection> as Connection,
    clock,
    exchange: 'busbar.queues',
    blockedBy: () => broker.blockedBy,
    closing: new AbortController().signal,
  })
  const write = (text: string, preparation?: Parameters<typeof control.publishTo>[2]): Promise<void> =>
    control.publishTo('notes', Buffer.from(text), preparation)
  return { clock, broker, channels, control, write }
}

test('a channel that refused something ends when everything on it is answered, and not before', async () => {
  const { clock, channels, write } = controlOn()
  const writes = ['a', 'b', 'c', 'd'].map((text) => write(text))
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

test('what was given up is not published later', async () => {
  const { clock, broker, channels, control, write } = controlOn()
  const up = Promise.withResolvers<void>()
  const prepared = Promise.withResolvers<void>()
  let prepares = 0
  const prepare = (): Promise<void> => {
    prepares++
    return prepared.promise
  }
  const late = [write('prepares', { prepare })]
  await clock.advance(0)
  broker.up = up.promise
  late.push(write('waits', { prepare }), control.publish('members', '', Buffer.from('says')))
  const given = Promise.allSettled(late)
  await clock.advance(3_000)
  for (const { status } of await given) assert.equal(status, 'rejected')
  up.resolve()
  prepared.resolve()
  await clock.advance(0)
  assert.deepEqual(
    channels.flatMap(({ published }) => published),
    [],
  )
  assert.equal(prepares, 1)
})

test('a channel that answers nothing is replaced, and what was on it is tried again on the next one', async () => {
  const { clock, channels, write } = controlOn()
  const first = assert.rejects(write('a'), /did not confirm/)
  await clock.advance(0)
  if (channels[0]) channels[0].isStuck = true
  await clock.advance(14_000)
  await first
  const second = write('b')
  await clock.advance(1_000)
  assert.deepEqual(channels[0]?.published, ['a', 'b'])
  assert.equal(channels[0]?.isOpen, false)
  await clock.advance(20)
  assert.deepEqual(channels[1]?.published, ['b'])
  channels[1]?.answer(true)
  await second
  await clock.advance(5_000)
  assert.equal(clock.pending, 0)
})

test('a channel that answers, or is blocked by the broker, is kept', async () => {
  const { clock, broker, channels, write } = controlOn()
  const slow = assert.rejects(write('a'), /did not confirm/)
  await clock.advance(20_000)
  await slow
  if (channels[0]) channels[0].isStuck = true
  broker.blockedBy = 'low on memory'
  await clock.advance(20_000)
  const [channel] = channels
  assert.equal(channel?.isOpen, true)
  if (channel) channel.isStuck = false
  await channel?.close()
  assert.equal(clock.pending, 0)
})

test('nothing is written while the broker is blocking publishers', async () => {
  const { broker, channels, write } = controlOn()
  broker.blockedBy = 'low on memory'
  await assert.rejects(write('a'), /blocking publishers \(low on memory\)/)
  assert.equal(channels.length, 0)
})

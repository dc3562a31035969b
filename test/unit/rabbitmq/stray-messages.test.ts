import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { QueueConsumer } from '../../../src/transports/rabbitmq/consume/queue-consumer.ts'
import { StrayMessages } from '../../../src/transports/rabbitmq/consume/stray-messages.ts'

const MINUTE_MS = 60_000

/** One queue of a group whose other members the test is: until it sets `state.isHandled`, none of them handles the topic. */
function made() {
  const clock = manualClock()
  const state = { isHandled: false }
  const log: string[] = []
  const held: { readonly message: object }[] = []
  const reader = {
    held,
    takeSome: (count: number, _: unknown, take: (delivery: unknown) => void) => {
      for (const delivery of held.splice(0, count)) take(delivery)
    },
  }
  const strays = new StrayMessages(clock, {
    group: 'mail',
    isConsumed: () => false,
    foundElsewhere: () => undefined,
    find: async () => state.isHandled,
    readers: () => [reader as unknown as QueueConsumer],
    settle: async () => [],
    elsewhere: () => void log.push('elsewhere'),
    nobody: () => void log.push('nobody'),
    deadLettered: () => void log.push('dead letter'),
    failed: (error, doing) => void log.push(`failed ${doing}: ${String(error)}`),
  })
  return {
    clock,
    state,
    log,
    /** As the queue does: the message is looked at before it is held. */
    arrive: () => {
      strays.saw('t')
      held.push({ message: { topic: 't', id: '1', headers: {}, body: new Uint8Array() } })
    },
    /** The queue goes to another member. */
    move: () => void held.splice(0),
    close: () => strays.close(),
  }
}

test('what was found before the queue moved elsewhere does not count when a stray comes again', async () => {
  const { clock, log, arrive, move, close } = made()
  arrive()
  await clock.advance(7_000)
  move()
  await clock.advance(60 * MINUTE_MS)
  arrive()
  await clock.advance(MINUTE_MS - 1)
  assert.deepEqual(log, [])
  await clock.advance(10_000)
  assert.deepEqual(log, ['nobody', 'dead letter'])
  close()
})

test('a queue that comes back between two looks starts the minute anew', async () => {
  const { clock, log, arrive, move, close } = made()
  arrive()
  await clock.advance(57_000)
  move()
  await clock.advance(3_000)
  arrive()
  await clock.advance(59_000)
  assert.deepEqual(log, [])
  close()
})

test('a topic that nobody handled stays so for a minute, and is looked for anew after that, and reported once', async () => {
  const { clock, state, log, arrive, move, close } = made()
  arrive()
  await clock.advance(70_000)
  assert.deepEqual(log.splice(0), ['nobody', 'dead letter'])
  arrive()
  await clock.advance(1_000)
  assert.deepEqual(log.splice(0), ['dead letter'])
  await clock.advance(60 * MINUTE_MS)
  arrive()
  await clock.advance(MINUTE_MS - 1)
  assert.deepEqual(log, [])
  await clock.advance(10_000)
  assert.deepEqual(log.splice(0), ['dead letter'])
  state.isHandled = true
  arrive()
  await clock.advance(1_000)
  assert.deepEqual(log, ['elsewhere'])
  move()
  close()
})

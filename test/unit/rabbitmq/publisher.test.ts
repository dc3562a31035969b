import assert from 'node:assert/strict'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { test } from 'vitest'
import { PublishError, silentLogger } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import { BusEvents } from '../../../src/core/events.ts'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import type { PublishOutcome } from '../../../src/core/transport.ts'
import { Router } from '../../../src/transports/rabbitmq/publish/router.ts'
import { KnownGroups } from '../../../src/transports/rabbitmq/topology/known-groups.ts'
import { GroupQueues } from '../../../src/transports/rabbitmq/topology/group-queues.ts'
import { Names } from '../../../src/transports/rabbitmq/topology/names.ts'
import { resolveRabbitMqOptions } from '../../../src/transports/rabbitmq/resolve-options.ts'
import { RabbitMqPublisher } from '../../../src/transports/rabbitmq/publish/publisher.ts'
import type { PublisherParts } from '../../../src/transports/rabbitmq/publish/publisher.ts'
import { fakeSession } from './fake-channel.ts'

type Prerequisites = PublisherParts['prerequisites']

function publisherOn(clock: ManualClock, prerequisites: Partial<Prerequisites> = {}): RabbitMqPublisher {
  const options = resolveRabbitMqOptions({})
  const names = new Names('busbar')
  return new RabbitMqPublisher({
    options,
    clock,
    router: new Router(options, names, clock, new GroupQueues(names, new KnownGroups())),
    events: new BusEvents(silentLogger),
    transportName: 'main',
    prerequisites: {
      storage: () => undefined,
      copyGroup: () => undefined,
      groupGone: () => undefined,
      way: () => undefined,
      delay: () => undefined,
      giveUp: () => undefined,
      again: () => Promise.resolve(),
      storageGone: () => undefined,
      ...prerequisites,
    },
    onDelayed: () => undefined,
  })
}

function message(topic: string, body: string, deliverAt?: number): OutgoingMessage {
  return {
    id: body,
    topic,
    type: topic,
    source: 'test',
    time: 0,
    key: 'k',
    contentType: 'text/plain',
    subject: undefined,
    dataSchema: undefined,
    version: undefined,
    correlationId: undefined,
    causationId: undefined,
    traceparent: undefined,
    tracestate: undefined,
    expiresAt: undefined,
    headers: NO_HEADERS,
    body: Buffer.from(body),
    deliverAt,
    group: undefined,
  }
}

const never = new Promise<never>(() => undefined)

function failure(outcome: PublishOutcome | undefined): [string, RegExp | string] | undefined {
  const error = outcome?.error
  return error === undefined ? undefined : [error.outcome, error.message]
}

test('a preparation that does not end keeps no other message waiting, and ends in a refusal', async () => {
  const clock = manualClock()
  let givenUp = 0
  const publisher = publisherOn(clock, { delay: () => never, storage: () => never, giveUp: () => void givenUp++ })
  const { live, channels } = fakeSession()
  await publisher.attach(live)
  const later = message('orders', 'later', clock.now() + 5_000)
  const mixed = publisher.publish([later, message('orders', 'first'), message('orders.g.dlq', 'dead')])
  const alone = publisher.publish([message('orders', 'second')])
  await clock.advance(0)
  assert.deepEqual(channels[0]?.published, ['first', 'second'])
  channels[0]?.answer(true)
  channels[0]?.answer(true)
  assert.equal((await alone)[0] instanceof Promise, false)
  const outcomes = await mixed
  assert.equal(failure(await outcomes[1]), undefined)
  await clock.advance(10_000)
  for (const index of [0, 2]) {
    const { error } = (await outcomes[index]) as PublishOutcome
    assert.ok(PublishError.is(error) && error.outcome === 'not-sent', String(error))
    assert.match(error.message, /did not answer the declarations within 10000 ms/)
  }
  assert.equal(givenUp, 2)
  publisher.close()
})

test('messages with a key leave in the order of the calls, also behind one that is being prepared for', async () => {
  const clock = manualClock()
  const ready = Promise.withResolvers<void>()
  let isReady = false
  const publisher = publisherOn(clock, { storage: () => (isReady ? undefined : ready.promise) })
  const { live, channels } = fakeSession()
  await publisher.attach(live)
  const topic = 'orders.g.dlq'
  void publisher.publish([message(topic, '1'), message('orders', 'a')])
  void publisher.publish([message(topic, '2'), message('orders', 'b')])
  await clock.advance(0)
  isReady = true
  ready.resolve()
  await clock.advance(0)
  assert.deepEqual(
    channels.map(({ published }) => published),
    [
      ['a', 'b'],
      ['1', '2'],
    ],
  )
  publisher.close()
})

test('sending is held back once at a time for a new channel, and no timer outlives it', async () => {
  const clock = manualClock()
  const publisher = publisherOn(clock)
  const { live, channels } = fakeSession()
  await publisher.attach(live)
  void publisher.publish(['1', '2', '3', '4'].map((body) => message('orders', body)))
  channels[0]?.answer(false)
  // Held back from here on, for 1,000 ms.
  await clock.advance(100)
  channels[0]?.answer(false)
  // And once more, from here on.
  await clock.advance(200)
  void publisher.publish([message('orders', '5')])
  await clock.advance(900)
  assert.deepEqual(channels[0]?.published, ['1', '2', '3', '4'])
  await clock.advance(100)
  assert.deepEqual(channels[0]?.published, ['1', '2', '3', '4', '5'])
  channels[0]?.answer(false)
  await clock.advance(500)
  publisher.close()
  assert.equal(clock.pending, 0)
})

test('a channel that answers nothing, not even a question, is replaced; a slow queue alone is no reason', async () => {
  const clock = manualClock()
  const publisher = publisherOn(clock)
  const { live, channels } = fakeSession()
  await publisher.attach(live)
  const waiting = publisher.publish([message('orders', '1')])
  await clock.advance(60_000)
  assert.equal(channels.length, 1)
  Object.assign(channels[0] as object, { prefetch: () => never })
  // The broker reads nothing, and has said so.
  publisher.block('low on memory')
  await clock.advance(60_000)
  assert.equal(channels.length, 1)
  publisher.block(undefined)
  await clock.advance(20_000)
  assert.equal((await (await waiting)[0])?.error?.outcome, 'unknown')
  const next = publisher.publish([message('orders', '2')])
  await clock.advance(200)
  assert.deepEqual(channels[1]?.published, ['2'])
  channels[1]?.answer(true)
  assert.equal((await (await next)[0])?.error, undefined)
  publisher.close()
  assert.equal(clock.pending, 0)
})

test('what was given up while there is no connection, or it is blocked, is not kept until there is one', async () => {
  setFlagsFromString('--expose-gc')
  const collect = runInNewContext('gc') as () => void
  const publisher = publisherOn(manualClock())
  const giveUp = async (): Promise<WeakRef<object>> => {
    const given = message('orders', 'given up')
    const outcomes = await publisher.publish([given], AbortSignal.abort(new Error('late')))
    assert.equal(outcomes[0] instanceof Promise ? undefined : outcomes[0]?.error?.outcome, 'not-sent')
    const late = new AbortController()
    const waiting = publisher.publish([given], late.signal)
    late.abort(new Error('late'))
    for (const outcome of await waiting) await outcome
    return new WeakRef(given)
  }
  const kept: WeakRef<object>[] = []
  for (let round = 0; round < 3; round++) kept.push(await giveUp())
  const { live } = fakeSession()
  await publisher.attach(live)
  publisher.block('low on memory')
  for (let round = 0; round < 3; round++) kept.push(await giveUp())
  await new Promise(setImmediate)
  collect()
  // The last one is released by the next call.
  assert.ok(kept.filter((reference) => reference.deref() !== undefined).length <= 1)
  publisher.close()
})

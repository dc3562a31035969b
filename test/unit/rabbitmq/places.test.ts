import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { LiveConnection } from '../../../src/transports/rabbitmq/connection/live-connection.ts'
import { isNodeAway, makeAtPlace, PLACES, unlessNodeAway } from '../../../src/transports/rabbitmq/topology/places.ts'

const never = (): Promise<never> => new Promise(() => {})

/** A connection whose channels open when the broker answers. */
function liveOf(answers: () => Promise<void>): LiveConnection {
  const channel = (): object => Object.assign(new EventEmitter(), { close: () => Promise.resolve() })
  return { channel: () => answers().then(channel) } as unknown as LiveConnection
}

test('a question that stays open while the broker answers others says that the node is away', async () => {
  const clock = manualClock()
  const asked = unlessNodeAway(
    clock,
    liveOf(() => Promise.resolve()),
    never(),
  )
  const outcome = asked.catch((error: unknown) => error)
  await clock.advance(1_000)
  assert.ok(isNodeAway(await outcome))
})

test('a broker that answers nothing is waited for', async () => {
  const clock = manualClock()
  const broker = Promise.withResolvers<void>()
  const question = Promise.withResolvers<string>()
  const asked = unlessNodeAway(
    clock,
    liveOf(() => broker.promise),
    question.promise,
  )
  await clock.advance(60_000)
  broker.resolve()
  question.resolve('there')
  assert.equal(await asked, 'there')
})

test('a refusal is passed on, and is no sign of a node that is away', async () => {
  const refusal = Object.assign(new Error('ACCESS_REFUSED'), { code: 403 })
  const asked = unlessNodeAway(manualClock(), liveOf(never), Promise.reject(refusal))
  await assert.rejects(asked, (error) => error === refusal && !isNodeAway(error))
})

test('a queue is made at the first place whose node is up', async () => {
  const clock = manualClock()
  const tried: number[] = []
  const made = makeAtPlace(
    clock,
    liveOf(() => Promise.resolve()),
    (place) => {
      tried.push(place)
      const down = "NOT_FOUND - home node 'a@b' of durable queue 'q' in vhost '/' is down or inaccessible"
      // RabbitMQ 3 says that it is down, RabbitMQ 4 says nothing.
      if (place === 0) return Promise.reject(Object.assign(new Error(down), { code: 404 }))
      return place === 1 ? never() : Promise.resolve()
    },
  )
  await clock.advance(1_000)
  assert.equal(await made, 2)
  assert.deepEqual(tried, [0, 1, 2])
})

test('with no node up, the last one is the reason', async () => {
  const clock = manualClock()
  const made = makeAtPlace(
    clock,
    liveOf(() => Promise.resolve()),
    never,
  )
  const outcome = made.catch((error: unknown) => error)
  for (let place = 0; place < PLACES; place++) await clock.advance(1_000)
  assert.ok(isNodeAway(await outcome))
})

import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'vitest'
import type { ChannelModel } from 'amqplib'
import { AuthorizationError, ConnectionError } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { Clock } from '../../../src/core/clock.ts'
import { Link } from '../../../src/transports/rabbitmq/connection/link.ts'

const HEARTBEAT_S = 10

/** A link whose addresses answer as given: with an error, or with a connection. */
function linkTo(addresses: readonly (Error | EventEmitter)[], clock: Clock = manualClock()) {
  const asked: number[] = []
  const downs: Error[] = []
  const link = new Link({
    purpose: 'publish',
    clock,
    backoff: { type: 'stop', minMs: 1, maxMs: 1 },
    connector: {
      hosts: addresses.length,
      reconnects: true,
      connect: async (_purpose, attempt) => {
        asked.push(attempt)
        const answer = addresses[attempt % addresses.length]
        if (answer instanceof Error) throw answer
        return { model: answer as unknown as ChannelModel, owned: true, server: undefined }
      },
    },
    hooks: {
      restore: () => Promise.resolve(),
      up: () => undefined,
      down: (_session, error) => void downs.push(error),
      trouble: () => undefined,
      blocked: () => undefined,
      bug: () => undefined,
    },
  })
  return { link, asked, downs }
}

function connection(): EventEmitter {
  return Object.assign(new EventEmitter(), { connection: { heartbeat: HEARTBEAT_S }, close: () => Promise.resolve() })
}

const refused = new AuthorizationError('the virtual host is down on this node')
const absent = new ConnectionError('ECONNREFUSED')

test('when the first of several addresses refuses, the next ones are tried', async () => {
  const { link, asked } = linkTo([refused, absent, connection()])
  await link.open()
  assert.deepEqual(asked, [0, 1, 2])
  assert.equal(link.session?.attempt, 2)
  await link.close(100)
})

test('when no address works, a refusal is the reason, wherever it came from', async () => {
  for (const addresses of [
    [absent, refused],
    [refused, absent],
  ]) {
    const { link, asked } = linkTo(addresses)
    await assert.rejects(link.open(), (error) => error === refused)
    assert.equal(asked.length, 2)
  }
})

test('a connection that is lost after the event loop was blocked for a heartbeat says so', async () => {
  const clock = manualClock()
  let blockedMs = 0
  const model = connection()
  const { link, downs } = linkTo([model], { ...clock, monotonic: () => clock.monotonic() + blockedMs })
  await link.open()
  await clock.advance(5_000)
  blockedMs = HEARTBEAT_S * 1_000 + 5_000
  model.emit('close', new Error('write ECONNRESET'))
  assert.match(
    downs[0]?.message ?? '',
    /^write ECONNRESET\. The event loop of this process was blocked for 1[45]\d{3} ms/,
  )
  assert.equal(clock.pending, 0)
})

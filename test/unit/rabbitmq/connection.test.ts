import assert from 'node:assert/strict'
import { EventEmitter } from 'node:events'
import { test } from 'vitest'
import type { ChannelModel } from 'amqplib'
import { AuthorizationError, ConnectionError } from 'busbar'
import { manualClock } from 'busbar/testing'
import type { Clock } from '../../../src/core/clock.ts'
import { Connection } from '../../../src/transports/rabbitmq/connection/connection.ts'

const HEARTBEAT_S = 10

/** A connection whose addresses answer as given: with an error, or with a connection. */
function connectionTo(addresses: readonly (Error | EventEmitter)[], clock: Clock = manualClock()) {
  const asked: number[] = []
  const downs: Error[] = []
  const connection = new Connection({
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
      down: (_live, error) => void downs.push(error),
      trouble: () => undefined,
      blocked: () => undefined,
      bug: () => undefined,
    },
  })
  return { connection, asked, downs }
}

function amqpConnection(): EventEmitter {
  return Object.assign(new EventEmitter(), { connection: { heartbeat: HEARTBEAT_S }, close: () => Promise.resolve() })
}

const refused = new AuthorizationError('the virtual host is down on this node')
const absent = new ConnectionError('ECONNREFUSED')

test('when the first of several addresses refuses, the next ones are tried', async () => {
  const { connection, asked } = connectionTo([refused, absent, amqpConnection()])
  await connection.open()
  assert.deepEqual(asked, [0, 1, 2])
  assert.equal(connection.live?.attempt, 2)
  await connection.close(100)
})

test('when no address works, a refusal is the reason, wherever it came from', async () => {
  for (const addresses of [
    [absent, refused],
    [refused, absent],
  ]) {
    const { connection, asked } = connectionTo(addresses)
    await assert.rejects(connection.open(), (error) => error === refused)
    assert.equal(asked.length, 2)
  }
})

test('a connection that is lost after the event loop was blocked for a heartbeat says so', async () => {
  const clock = manualClock()
  let blockedMs = 0
  const model = amqpConnection()
  const { connection, downs } = connectionTo([model], { ...clock, monotonic: () => clock.monotonic() + blockedMs })
  await connection.open()
  await clock.advance(5_000)
  blockedMs = HEARTBEAT_S * 1_000 + 5_000
  model.emit('close', new Error('write ECONNRESET'))
  assert.match(
    downs[0]?.message ?? '',
    /^write ECONNRESET\. The event loop of this process was blocked for 1[45]\d{3} ms/,
  )
  assert.equal(clock.pending, 0)
})

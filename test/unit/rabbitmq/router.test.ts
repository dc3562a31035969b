import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock, seededRandom } from 'busbar/testing'
import type { OutgoingMessage } from '../../../src/core/message.ts'
import { Router } from '../../../src/transports/rabbitmq/publish/router.ts'
import { IncomingMessage } from '../../../src/transports/rabbitmq/wire/incoming-message.ts'
import { readMessage } from '../../../src/transports/rabbitmq/wire/read-message.ts'
import { wireHeaders } from '../../../src/transports/rabbitmq/wire/client-writer.ts'
import { KnownGroups } from '../../../src/transports/rabbitmq/topology/known-groups.ts'
import { GroupQueues } from '../../../src/transports/rabbitmq/topology/group-queues.ts'
import { Names } from '../../../src/transports/rabbitmq/topology/names.ts'
import { resolveRabbitMqOptions } from '../../../src/transports/rabbitmq/resolve-options.ts'
import type { MessageProperties } from '../../../src/transports/rabbitmq/options.ts'
import { OutgoingFrame } from '../../../src/transports/rabbitmq/publish/outgoing-frame.ts'
import type { CopyNotes } from '../../../src/transports/rabbitmq/publish/publish-job.ts'
import { foreignMessage } from './random-frames.ts'

/** A frame for a message with these headers, and with those of `properties`. */
function addressed(headers: Record<string, string>, given: Record<string, unknown>) {
  return addressedWith({ headers: given }, { headers })
}

function addressedWith(properties: MessageProperties, some: Partial<OutgoingMessage>, notes?: CopyNotes) {
  const options = resolveRabbitMqOptions({ properties: () => properties })
  const names = new Names('busbar')
  const router = new Router(options, names, manualClock(), new GroupQueues(names, new KnownGroups()))
  const frame = new OutgoingFrame()
  const message = { ...frame.message, id: '1', topic: 'orders', type: 'orders', source: 's', ...some }
  const error = router.address(frame, message, notes)
  return { frame, error }
}

test('headers of properties() keep their types, beside the headers of the message', () => {
  const { frame } = addressed({ tenant: 'a' }, { weight: 5, list: [1, 'two'], text: 'x' })
  const { tenant, weight, list, text } = wireHeaders(frame)
  assert.deepEqual({ tenant, weight, list, text }, { tenant: 'a', weight: 5, list: [1, 'two'], text: 'x' })
})

test('a header of the message wins, and one that means something to the broker is sent under another name', () => {
  const { frame } = addressed({ weight: 'heavy' }, { weight: 5, CC: ['copy'] })
  const headers = wireHeaders(frame)
  assert.equal(headers['weight'], 'heavy')
  assert.equal(headers['CC'], undefined)
  assert.deepEqual(headers['busbar-user-CC'], ['copy'])
})

test('properties() can not set headers of the envelope', () => {
  for (const name of ['cloudEvents:id', 'traceparent', 'Content-Type']) {
    const { error } = addressed({}, { [name]: 'x' })
    assert.match(error?.message ?? '', new RegExp(`header "${name}" from properties\\(\\)`))
  }
})

const PASSED_ON: readonly (readonly [Partial<OutgoingMessage>, CopyNotes | undefined])[] = [
  [{ topic: 'orders.mail.dlq' }, undefined],
  [{ group: 'mail' }, undefined],
  [{ group: 'mail' }, { attempts: 1, firstAt: 0 }],
]

test('what properties() gets wrong is refused by name, but left out of dead letters and copies, which must not get stuck', () => {
  const long = 'x'.repeat(256)
  const wrong = { type: long, correlationId: long, priority: 256, appId: 'mine', headers: { traceparent: 'x', n: 5 } }
  assert.match(addressedWith(wrong, {}).error?.message ?? '', /properties\(\) priority 256/)
  for (const [some, notes] of PASSED_ON) {
    const { frame, error } = addressedWith(wrong, some, notes)
    assert.equal(error, undefined)
    const { type, correlationId, priority, appId } = frame.properties ?? {}
    assert.deepEqual([type, correlationId, priority, appId], [undefined, undefined, undefined, 'mine'])
    assert.deepEqual(frame.typedHeaders, { n: 5 })
  }
})

test('a property of a foreign message that is too long as text is left out of its dead letter', () => {
  // What the client library makes of 255 bytes that are not UTF-8.
  const correlationId = Buffer.alloc(255, 0xff).toString()
  const foreign = foreignMessage(seededRandom('bytes'))
  Object.assign(foreign.properties, { correlationId, type: 'order.v1' })
  const { carried } = readMessage(new IncomingMessage(), foreign)
  const { frame, error } = addressedWith({}, { topic: 'orders.mail.dlq' }, { attempts: 0, firstAt: undefined, carried })
  assert.equal(error, undefined)
  assert.deepEqual([frame.properties?.correlationId, frame.properties?.type], [undefined, 'order.v1'])
})

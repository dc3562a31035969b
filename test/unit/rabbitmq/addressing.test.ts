import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import { Router } from '../../../src/transports/rabbitmq/publish/router.ts'
import { wireHeaders } from '../../../src/transports/rabbitmq/wire/client-writer.ts'
import { GroupQueues } from '../../../src/transports/rabbitmq/topology/group-queues.ts'
import { Names } from '../../../src/transports/rabbitmq/topology/names.ts'
import { resolveRabbitMqOptions } from '../../../src/transports/rabbitmq/resolve-options.ts'
import { OutgoingFrame } from '../../../src/transports/rabbitmq/publish/outgoing-frame.ts'

/** A parcel for a message with these headers, and with those of `properties`. */
function addressed(headers: Record<string, string>, given: Record<string, unknown>) {
  const options = resolveRabbitMqOptions({ properties: () => ({ headers: given }) })
  const names = new Names('busbar')
  const addressing = new Router(options, names, manualClock(), new GroupQueues(names))
  const parcel = new OutgoingFrame()
  const message = { ...parcel.message, id: '1', topic: 'orders', type: 'orders', source: 's', headers }
  const error = addressing.address(parcel, message, undefined)
  return { parcel, error }
}

test('headers of properties() keep their types, beside the headers of the message', () => {
  const { parcel } = addressed({ tenant: 'a' }, { weight: 5, list: [1, 'two'], text: 'x' })
  const { tenant, weight, list, text } = wireHeaders(parcel)
  assert.deepEqual({ tenant, weight, list, text }, { tenant: 'a', weight: 5, list: [1, 'two'], text: 'x' })
})

test('a header of the message wins, and one that means something to the broker is sent under another name', () => {
  const { parcel } = addressed({ weight: 'heavy' }, { weight: 5, CC: ['copy'] })
  const headers = wireHeaders(parcel)
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

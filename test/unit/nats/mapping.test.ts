import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { headers } from '@nats-io/transport-node'
import type { Msg } from '@nats-io/transport-node'
import type { EncodedMessage } from '../../../src/core/message.ts'
import { Incoming } from '../../../src/transports/nats/incoming.ts'
import { Mapping } from '../../../src/transports/nats/mapping.ts'

/** A message of another program, with that header block. */
function decoded(block: string): EncodedMessage {
  const incoming = new Incoming()
  incoming.bytes = Buffer.from(block)
  incoming.bodyAt = incoming.bytes.length
  incoming.end = incoming.bytes.length
  return decode(incoming)
}

function decode(incoming: Incoming): EncodedMessage {
  return new Mapping().decode(incoming, 'orders', { id: () => 's-1', time: () => 0 }).message
}

describe('a header that another program sent several times', () => {
  test('keeps all of its values, in their order', () => {
    const { headers: kept } = decoded('NATS/1.0\r\nX-Multi: a\r\nother: 1\r\nX-Multi: b\r\nX-Multi: c, d\r\n\r\n')
    assert.deepEqual({ ...kept }, { 'X-Multi': 'a, b, c, d', other: '1' })
  })

  test('an empty value counts too', () => {
    assert.deepEqual({ ...decoded('NATS/1.0\r\nx: \r\nx: b\r\n\r\n').headers }, { x: ', b' })
  })

  test('the vendors in tracestate are one list', () => {
    assert.equal(decoded('NATS/1.0\r\ntracestate: a=1\r\ntracestate: b=2\r\n\r\n').tracestate, 'a=1, b=2')
  })

  test('also on a connection that the user passed', () => {
    const multi = headers()
    multi.append('X-Multi', 'a')
    multi.append('X-Multi', 'b')
    const incoming = new Incoming()
    incoming.take({ subject: 's', data: new Uint8Array(0), headers: multi } as Msg)
    assert.deepEqual({ ...decode(incoming).headers }, { 'X-Multi': 'a, b' })
  })
})

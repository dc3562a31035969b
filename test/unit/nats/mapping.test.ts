import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { headers } from '@nats-io/transport-node'
import type { Msg } from '@nats-io/transport-node'
import type { EncodedMessage } from '../../../src/core/message.ts'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import { Mapping } from '../../../src/transports/nats/wire/mapping.ts'

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

describe('attributes from another program', () => {
  test('are read whatever the case of their names; other names keep theirs', () => {
    const block = `NATS/1.0\r\nCE-ID: 7\r\nCe-Source: /shop\r\nce-PartitionKey: k\r\nTraceParent: t\r\nX-Own: 1\r\nCe-Region: eu\r\nContent-Type: text/plain\r\n\r\n`
    const { id, source, key, traceparent, contentType, headers: kept } = decoded(block)
    assert.deepEqual([id, source, key, traceparent, contentType], ['7', '/shop', 'k', 't', 'text/plain'])
    assert.deepEqual({ ...kept }, { 'X-Own': '1', 'ce-region': 'eu' })
  })

  test('name the content type in either way; the header of that name counts', () => {
    assert.equal(decoded('NATS/1.0\r\nce-datacontenttype: text/plain\r\n\r\n').contentType, 'text/plain')
    const both = ['content-type: text/csv', 'ce-datacontenttype: text/plain']
    for (const lines of [both, both.toReversed()])
      assert.equal(decoded(`NATS/1.0\r\n${lines.join('\r\n')}\r\n\r\n`).contentType, 'text/csv')
  })
})

describe('a header block of another program, as large as servers allow', () => {
  // Milliseconds of CPU, unless they grow with the square of the size: then 55 s and 1.8 s.
  test.each([
    ['attributes in another case', 'Ce-Region: eu\r\n'.repeat(60_000), 'ce-region'],
    ['lines that are no header', `${'-\r\n'.repeat(330_000)}x: 1\r\n`, 'x'],
  ])('is read in time when it is full of %s', (_, lines, name) => {
    const before = process.cpuUsage()
    const { headers: kept } = decoded(`NATS/1.0\r\n${lines}\r\n`)
    assert.ok(name in kept)
    const { user, system } = process.cpuUsage(before)
    const tookMs = (user + system) / 1_000
    assert.ok(tookMs < 1_000, `it took ${tookMs} ms`)
  })
})

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

import assert from 'node:assert/strict'
import type { NatsConnection } from '@nats-io/transport-node'
import { describe, test } from 'vitest'
import { WriteBuffer } from '../../../src/transports/nats/connection/write-buffer.ts'

const BODY_BYTES = 50_000

/** A connection whose socket reads what it is given when the test says so. */
class Wire {
  readonly given: Buffer[] = []
  socket = { writableLength: 0 }
  waiting = 0
  readonly buffer: WriteBuffer
  #next = 0

  constructor() {
    const protocol = {
      sendCommand: (bytes: Buffer) => void this.given.push(bytes),
      flushPending: () => undefined,
      outbound: { length: () => this.waiting },
      // oxlint-disable-next-line typescript/no-this-alias -- for the getter
      transport: Object.defineProperty({}, 'socket', { get: () => this.socket }),
    }
    this.buffer = new WriteBuffer({ protocol } as unknown as NatsConnection)
  }

  publish(count: number): void {
    for (let left = count; left > 0; left--)
      this.buffer.publish('s', '', Buffer.alloc(BODY_BYTES, 65 + (this.#next++ % 26)))
    this.buffer.flush()
  }

  /** What the socket sends, if it reads all of it only now. */
  assertWhole(from: number, first: number, count: number): void {
    const text = Buffer.concat(this.given.slice(from)).toString('latin1')
    let expected = ''
    for (let number = first; number < first + count; number++)
      expected += `PUB s ${BODY_BYTES}\r\n${String.fromCharCode(65 + (number % 26)).repeat(BODY_BYTES)}\r\n`
    assert.ok(text === expected, 'what was given to the socket has changed')
  }

  get chunks(): number {
    return new Set(this.given.map(({ buffer }) => buffer)).size
  }
}

describe('chunks that are written to the socket', () => {
  test('are used again when the socket has read them', () => {
    const wire = new Wire()
    wire.publish(100)
    assert.ok(wire.chunks <= 2, `${wire.chunks} chunks for ${wire.given.length} writes`)
  })

  for (const [what, busy] of [
    ['the socket has not read them', (wire: Wire) => (wire.socket.writableLength = 1)],
    ['the client has not given them to the socket', (wire: Wire) => (wire.waiting = 1)],
  ] as const)
    test(`stay as they are while ${what}`, () => {
      const wire = new Wire()
      wire.publish(7)
      const from = wire.given.length
      busy(wire)
      wire.publish(60)
      wire.assertWhole(from, 7, 60)
    })

  test('stay as they are when another connection takes over', () => {
    const wire = new Wire()
    wire.publish(1)
    wire.socket.writableLength = 1
    const from = wire.given.length
    wire.publish(20)
    const until = wire.given.length
    wire.socket = { writableLength: 0 }
    wire.publish(60)
    wire.given.length = until
    wire.assertWhole(from, 1, 20)
  })

  test('hold one that is larger than they are', () => {
    const wire = new Wire()
    const large = Buffer.alloc(1_000_000, 66)
    for (let round = 0; round < 3; round++) {
      wire.buffer.publish('s', '', large)
      wire.publish(1)
    }
    assert.equal(
      wire.given.reduce((total, { length }) => total + length, 0),
      3 * ('PUB s 1000000\r\n\r\n'.length + large.length + `PUB s ${BODY_BYTES}\r\n\r\n`.length + BODY_BYTES),
    )
  })
})

test('what is much for one turn is sent before it ends', () => {
  const { buffer, given } = new Wire()
  const body = Buffer.alloc(1_000)
  for (let count = 0; count < 32; count++) buffer.publish('s', '', body)
  assert.equal(given.length, 0)
  for (let count = 0; count < 34; count++) buffer.publish('s', '', body)
  assert.deepEqual(
    given.map(({ length }) => length > 32_768 && length < 34_000),
    [true, true],
  )
})

test('a publish to a subject in bytes is the same as one to its text', () => {
  const bytes = Buffer.from('HMSG $JS.ACK.s.c.1 2')
  for (const [reply, body] of [
    ['', Buffer.alloc(0)],
    ['_INBOX.x.7', Buffer.from('+TERM')],
    ['_INBOX.x.7', Buffer.alloc(40_000, 65)],
  ] as const) {
    const [asText, asBytes] = [new Wire(), new Wire()]
    asText.buffer.publish('$JS.ACK.s.c.1', reply, body)
    asBytes.buffer.publishTo(bytes, 5, 18, reply, body)
    for (const { buffer } of [asText, asBytes]) buffer.flush()
    assert.equal(Buffer.concat(asBytes.given).toString(), Buffer.concat(asText.given).toString())
  }
  const published: unknown[] = []
  const connection = { publish: (...call: unknown[]) => void published.push(call) }
  new WriteBuffer(connection as unknown as NatsConnection).publishTo(bytes, 5, 18, 'r', Buffer.from('b'))
  assert.deepEqual(published, [['$JS.ACK.s.c.1', Buffer.from('b'), { reply: 'r' }]])
})

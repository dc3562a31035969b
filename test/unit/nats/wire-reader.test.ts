import { createRequire } from 'node:module'
import type { NatsConnection, Subscription } from '@nats-io/transport-node'
import { expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import type { Random } from 'busbar/testing'
import { WireReader } from '../../../src/transports/nats/connection/wire-reader.ts'
import { damaged } from '../random-message.ts'

interface Parser {
  readonly state: number
  parse(bytes: Uint8Array): void
}

interface Operation {
  readonly msg?: { readonly subject: Uint8Array; readonly sid: number; readonly reply?: Uint8Array }
  readonly data?: Uint8Array
}

/** The client's own parser: it reads what is not ours. */
const within = createRequire(createRequire(import.meta.url).resolve('@nats-io/transport-node'))
const { Parser: ClientParser } = within('@nats-io/nats-core/internal') as {
  readonly Parser: new (dispatcher: { push(operation: Operation): void }) => Parser
}

const MINE = 7

/** What is read of the chunks: ours, and what the client gets. */
class Reading {
  readonly seen: string[] = []
  readonly protocol: { parser: Parser }
  handed = 0

  constructor() {
    this.protocol = {
      parser: new ClientParser({
        push: ({ msg, data }) => {
          if (msg !== undefined) this.#add(msg.sid, msg.subject, msg.reply ?? new Uint8Array(0), data?.length ?? 0)
        },
      }),
    }
    const client = this.protocol.parser
    const parse = client.parse.bind(client)
    client.parse = (bytes) => {
      this.handed += bytes.length
      parse(bytes)
    }
    const reader = WireReader.attach(this as unknown as NatsConnection, (error) => {
      throw error
    })
    const subscription = { getID: () => MINE, isClosed: () => false, closed: new Promise(() => {}) }
    reader?.add(subscription as unknown as Subscription, ({ subject, reply, body, size, status, description }) => {
      expect([body.length <= size, typeof status, typeof description]).toEqual([true, 'number', 'string'])
      this.#add(MINE, Buffer.from(subject), Buffer.from(reply), size)
    })
  }

  #add(sid: number, subject: Uint8Array, reply: Uint8Array, size: number): void {
    this.seen.push([sid, Buffer.from(subject).toString(), Buffer.from(reply).toString(), size].join(' '))
  }

  /** Returns the error that would close the connection. */
  read(chunks: readonly Buffer[]): unknown {
    try {
      for (const chunk of chunks) this.protocol.parser.parse(chunk)
    } catch (error) {
      return error
    }
    return undefined
  }
}

function traffic(random: Random, count: number): Buffer {
  const parts: Buffer[] = []
  for (let index = 0; index < count; index++) {
    const body = Buffer.alloc(random.integer(0, 30), 97 + (index % 26))
    const headers = random.chance(0.5)
      ? random.pick(['NATS/1.0\r\na: ü\r\n\r\n', 'NATS/1.0 404 No Messages\r\n\r\n'])
      : ''
    const target = `s.${index % 3} ${random.pick([MINE, 8])}${random.chance(0.5) ? ` r.${index}` : ''}`
    const size = Buffer.byteLength(headers)
    parts.push(
      Buffer.from(headers === '' ? `MSG ${target} ${body.length}` : `HMSG ${target} ${size} ${size + body.length}`),
      Buffer.from(`\r\n${headers}`),
      body,
      Buffer.from(`\r\n${random.pick(['', '', 'PING\r\n', '+OK\r\n', 'INFO {"a":1}\r\n'])}`),
    )
  }
  return Buffer.concat(parts)
}

function cut(random: Random, bytes: Buffer): Buffer[] {
  const chunks: Buffer[] = []
  for (let at = 0; at < bytes.length;) {
    const size = random.integer(1, 60)
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return chunks
}

it('reads the same, at whatever byte the socket cuts it', () => {
  const bytes = traffic(seededRandom('cut'), 12)
  const whole = new Reading()
  whole.read([bytes])
  expect(whole.seen).toHaveLength(12)
  for (let at = 1; at < bytes.length; at++) {
    const reading = new Reading()
    expect(reading.read([bytes.subarray(0, at), bytes.subarray(at)])).toBeUndefined()
    expect(reading.seen, `at ${at}`).toEqual(whole.seen)
  }
})

it('reads the same one byte at a time', () => {
  const bytes = traffic(seededRandom('bytes'), 30)
  const [whole, single] = [new Reading(), new Reading()]
  whole.read([bytes])
  single.read(Array.from(bytes, (byte) => Buffer.of(byte)))
  expect(single.seen).toEqual(whole.seen)
})

it('ends with damaged bytes, and lets the client refuse them', () => {
  const random = seededRandom('damage')
  let refused = 0
  for (let round = 0; round < 1_200; round++) {
    const bytes = damaged(random, traffic(random, 5))
    const reading = new Reading()
    const error = reading.read(cut(random, bytes))
    if (error !== undefined) refused++
    if (error !== undefined) expect(error).toBeInstanceOf(Error)
    expect(reading.seen.length).toBeLessThanOrEqual(bytes.length / 10)
  }
  expect(refused).toBeGreaterThan(200)
})

it.each([
  'MSG\r\n',
  'M\r\n',
  'H\r\n',
  'MSG a 7 -1\r\nx\r\n',
  'MSG a 8 .6\r\nx\r\n',
  'MSG a 7 -9\r\nx\r\n',
  'MSG a 7 1e3\r\nx\r\n',
  'MSG a 7 x\r\n',
  'MSG a 7 99999999999999999999\r\nx\r\n',
  'MSG  \r\n',
  'HMSG a 7 x 5\r\nhello\r\n',
  'HMSG a 7 9 5\r\nhello\r\n',
  'HMSG a 7 -5 5\r\nhello\r\n',
  'HMSG a 7 5\r\nhello\r\n',
  'HELLO\r\n',
])('the client refuses %j', (text) => {
  const reading = new Reading()
  const before = `MSG a 7 40\r\n${'x'.repeat(40)}\r\n`
  expect(reading.read([Buffer.from(`${before}${text}MSG b 7 1\r\nx\r\n`)])).toBeInstanceOf(Error)
  expect(reading.seen).toEqual(['7 a  40'])
})

it('a line without end is not gathered', () => {
  const reading = new Reading()
  const chunk = Buffer.alloc(10_000, 97)
  reading.read([Buffer.from('INFO {"a":"'), ...Array.from({ length: 50 }, () => chunk)])
  expect(reading.handed).toBeGreaterThan(400_000)
  reading.read([Buffer.from('"}\r\nMSG a 7 1\r\nx\r\n')])
  reading.read([Buffer.from('MSG a 7 2\r\nxy\r\n')])
  expect(reading.seen.at(-1)).toBe('7 a  2')
})

it('a chunk that begins in the middle of a message is not copied for it', () => {
  const { protocol } = new Reading()
  const one = Buffer.from(`MSG s ${MINE} 1000\r\n${'x'.repeat(1_000)}\r\n`)
  const all = Buffer.concat(Array.from({ length: 60 }, () => one))
  const concat = Buffer.concat.bind(Buffer)
  let copied = 0
  Buffer.concat = (list, length) => {
    const whole = concat(list, length)
    copied += whole.length
    return whole
  }
  try {
    for (let at = 0; at < all.length; at += 10_100) protocol.parser.parse(all.subarray(at, at + 10_100))
  } finally {
    Buffer.concat = concat
  }
  expect(copied).toBeLessThanOrEqual(6 * one.length)
})

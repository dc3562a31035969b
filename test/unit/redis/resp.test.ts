import { describe, expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { CommandWriter } from '../../../src/transports/redis/wire/command-writer.ts'
import { ReplyParser } from '../../../src/transports/redis/wire/reply-parser.ts'
import { randomText } from '../random-message.ts'

type Random = ReturnType<typeof seededRandom>

function encode(reply: unknown): Buffer {
  if (reply === null) return Buffer.from('$-1\r\n')
  if (typeof reply === 'number') return Buffer.from(`:${reply}\r\n`)
  if (typeof reply === 'string') return Buffer.from(`+${reply}\r\n`)
  if (reply instanceof Error) return Buffer.from(`-${reply.message}\r\n`)
  if (reply instanceof Buffer) return Buffer.concat([Buffer.from(`$${reply.length}\r\n`), reply, Buffer.from('\r\n')])
  const items = reply as readonly unknown[]
  return Buffer.concat([Buffer.from(`*${items.length}\r\n`), ...items.map(encode)])
}

function randomReply(random: Random, depth = 0): unknown {
  switch (random.integer(0, depth > 3 ? 4 : 6)) {
    case 0:
      return null
    case 1:
      return random.integer(0, 1) === 0 ? random.integer(0, 2 ** 31) : -random.integer(1, 1_000)
    case 2:
      return 'OK'
    case 3:
      return random.bytes(random.integer(0, 200))
    case 4:
      return random.chance(0.1) ? Buffer.from(random.bytes(70_000)) : new Error('ERR no such thing')
    default:
      return Array.from({ length: random.integer(0, 5) }, () => randomReply(random, depth + 1))
  }
}

function plain(reply: unknown): unknown {
  if (reply instanceof Error) return { error: reply.message }
  if (reply instanceof Uint8Array) return Buffer.from(reply).toString('hex')
  return Array.isArray(reply) ? reply.map(plain) : reply
}

describe('replies', () => {
  it('are the same however the bytes are cut', () => {
    const random = seededRandom('replies')
    for (let round = 0; round < 200; round++) {
      const sent = Array.from({ length: random.integer(1, 10) }, () => randomReply(random)).map((reply) =>
        reply instanceof Uint8Array ? Buffer.from(reply) : reply,
      )
      const bytes = Buffer.concat(sent.map((reply) => encode(withBuffers(reply))))
      const received: unknown[] = []
      const parser = new ReplyParser((reply) => received.push(reply))
      const most = random.pick([1, 3, 100, 1_000_000])
      for (let at = 0; at < bytes.length;) {
        const end = Math.min(bytes.length, at + random.integer(1, bytes.length > 20_000 ? Math.max(most, 5_000) : most))
        parser.push(bytes.subarray(at, end))
        at = end
      }
      expect(received.map(plain), `round ${round}`).toEqual(sent.map(plain))
    }
  })

  it.each(['HTTP/1.1 400 Bad Request\r\n', '%1\r\n', '\r\n'])('of another protocol are refused: %j', (text) => {
    const parser = new ReplyParser(() => {})
    expect(() => parser.push(Buffer.from(text))).toThrow('no reply of Redis')
  })
})

function withBuffers(reply: unknown): unknown {
  if (reply instanceof Uint8Array) return Buffer.from(reply)
  return Array.isArray(reply) ? reply.map(withBuffers) : reply
}

describe('commands', () => {
  it('are encoded as lists of strings, whatever they hold and however many there are', () => {
    const random = seededRandom('commands')
    const writer = new CommandWriter()
    for (let round = 0; round < 100; round++) {
      const commands = Array.from({ length: random.integer(1, 20) }, () =>
        Array.from({ length: random.integer(1, 6) }, () => {
          if (random.chance(0.05)) return Buffer.from(random.bytes(random.integer(8_000, 90_000)))
          return random.chance(0.5) ? randomText(random) : Buffer.from(random.bytes(random.integer(0, 300)))
        }),
      )
      for (const command of commands) writer.command(command)
      const received: unknown[] = []
      const parser = new ReplyParser((reply) => received.push(reply))
      parser.push(Buffer.concat(writer.take()))
      expect(received.map(plain)).toEqual(
        commands.map((command) => command.map((arg) => Buffer.from(arg as string).toString('hex'))),
      )
    }
    expect(writer.take()).toEqual([])
  })

  it('that were taken stay as they are while others are written', () => {
    const writer = new CommandWriter()
    writer.command(['SET', 'a', '1'])
    const first = writer.take()
    const copy = Buffer.concat(first)
    for (let round = 0; round < 10_000; round++) writer.command(['SET', `key ${round}`, 'value'])
    writer.take()
    expect(Buffer.concat(first)).toEqual(copy)
  })
})

import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { ConnectionError, TimeoutError } from '../../../src/core/errors.ts'
import { manualClock } from 'busbar/testing'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import type { Session } from '../../../src/transports/nats/connection/session.ts'
import type { NumberedReply } from '../../../src/transports/nats/connection/write-buffer.ts'
import { isNoResponders, JetStreamError } from '../../../src/transports/nats/errors.ts'
import { RecordWriter } from '../../../src/transports/nats/jetstream/server/record-writer.ts'

class Bench {
  readonly clock = manualClock()
  /** Numbers of what was sent. */
  readonly sent: number[] = []
  readonly headers: string[] = []
  readonly writer: RecordWriter
  #receive: (message: Incoming) => void = () => undefined

  constructor() {
    const session = {
      ready: true,
      host: { clock: this.clock },
      maxPayload: 1_000,
      inbox: () => '_INBOX.a',
      connection: { isClosed: () => false },
      subscribe: (_subject: string, receive: (message: Incoming) => void) => {
        this.#receive = receive
        return { unsubscribe: () => undefined }
      },
      writeBuffer: {
        publishBlock: (...[, reply, , headers, body]: [unknown, NumberedReply, unknown, string, Uint8Array]) => {
          if (body.length > 1_000) return body.length
          this.sent.push(reply.number)
          this.headers.push(headers)
          return body.length
        },
      },
    }
    this.writer = new RecordWriter(session as unknown as Session)
    this.writer.open()
  }

  readonly answer = (number: number, body: string, status = ''): void => {
    const message = new Incoming()
    message.subject = `_INBOX.a.${number}`
    message.bytes = Buffer.from(`${status}${body}`)
    message.bodyAt = status.length
    message.end = message.bytes.length
    this.#receive(message)
  }
}

describe('a record', () => {
  test('is written on its condition, and its own answer counts', async () => {
    const { writer, headers, answer } = new Bench()
    const [first, second, third] = [
      writer.write('a', 'x', 7),
      writer.write('b', 'y', 0),
      writer.write('c', 'z', undefined),
    ]
    assert.deepEqual(
      headers.map((text) => /Sequence: (\d+)/.exec(text)?.[1]),
      ['7', '0', undefined],
    )
    answer(3, '{"stream":"s", "seq":12}')
    answer(1, '{"stream":"s", "seq":11}')
    answer(2, '{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 9"},"stream":"s","seq":0}')
    assert.deepEqual(await Promise.all([first, second, third]), [11, undefined, 12])
  })

  test('without a condition is sent again only if it may be stored several times', async () => {
    const { writer, clock, sent, answer } = new Bench()
    const note = writer.write('a', 'x', undefined)
    const lease = writer.write('b', 'y', undefined, true)
    await clock.advance(1_000)
    assert.deepEqual(sent, [1, 2, 2])
    answer(1, '{"stream":"s", "seq":1}')
    answer(2, '{"stream":"s", "seq":2}')
    assert.deepEqual(await Promise.all([note, lease]), [1, 2])
  })

  test('is refused with the reason of the server, with none, and when it is too large', async () => {
    const { writer, answer } = new Bench()
    const writes = [writer.write('a', 'x', 0), writer.write('a', 'x', 0), writer.write('a', 'x'.repeat(1_001), 0)]
    answer(1, '{"error":{"code":503,"err_code":10023,"description":"insufficient resources"},"stream":"s","seq":0}')
    answer(2, '', 'NATS/1.0 503\r\n\r\n')
    const [full, nobody, large] = await Promise.allSettled(writes)
    assert.ok(full?.status === 'rejected' && full.reason instanceof JetStreamError && full.reason.errCode === 10_023)
    assert.ok(nobody?.status === 'rejected' && isNoResponders(nobody.reason))
    assert.ok(large?.status === 'rejected' && large.reason instanceof JetStreamError)
  })

  test('without an answer is sent again if only one copy counts, and given up in the end', async () => {
    const { writer, sent, clock, answer } = new Bench()
    const first = writer.write('a', 'x', 1)
    const second = writer.write('b', 'x', undefined)
    const gaveUp = assert.rejects(second, (error: unknown) => TimeoutError.is(error))
    for (let round = 0; round < 12; round++) await clock.advance(250)
    assert.ok(sent.filter((number) => number === 1).length >= 3)
    assert.equal(sent.filter((number) => number === 2).length, 1)
    answer(1, '{"stream":"s", "seq":3}')
    answer(1, '{"error":{"code":400,"err_code":10071,"description":"wrong last sequence: 3"},"stream":"s","seq":0}')
    assert.equal(await first, 3)
    for (let round = 0; round < 12; round++) await clock.advance(250)
    await gaveUp
  })

  test('fails when the connection is lost', async () => {
    const { writer } = new Bench()
    const write = writer.write('a', 'x', 1)
    writer.down('the connection was lost')
    await assert.rejects(write, (error: unknown) => ConnectionError.is(error))
  })
})

import assert from 'node:assert/strict'
import { test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { AckReply } from '../../../src/transports/nats/jetstream/consume/ack-reply.ts'
import { damaged } from '../random-message.ts'

const OLD = '$JS.ACK.busbar.g--0123456789--any.2.17.40.1700000000123456789.5'
const NEW = '$JS.ACK.hub.acchash.busbar.g--0123456789--any.1.3.4.1700000000123456789.0.rnd'
const NEW_WITHOUT_TOKEN = '$JS.ACK._.acchash.busbar.g--0123456789--any.1.3.4.1700000000123456789.0'

function numbers({ delivered, seq, consumerSeq, time, pending }: AckReply): number[] {
  return [delivered, seq, consumerSeq, time, pending]
}

test('all forms of the subject', () => {
  for (const [reply, expected, prefix] of [
    [OLD, [2, 17, 40, 1_700_000_000_123, 5], '$JS.ACK.busbar.g--0123456789--any.'],
    [NEW, [1, 3, 4, 1_700_000_000_123, 0], '$JS.ACK.hub.acchash.busbar.g--0123456789--any.'],
    [NEW_WITHOUT_TOKEN, [1, 3, 4, 1_700_000_000_123, 0], '$JS.ACK._.acchash.busbar.g--0123456789--any.'],
  ] as const) {
    const read = new AckReply()
    assert.ok(read.read(reply))
    assert.deepEqual(numbers(read), expected)
    assert.equal(read.prefix, prefix)
  }
})

test('one after the other, with numbers of any length', () => {
  const random = seededRandom('replies')
  const read = new AckReply()
  for (let round = 0; round < 2_000; round++) {
    const [delivered, seq, consumerSeq, pending] = [0, 0, 0, 0].map(() => 10 ** random.integer(0, 15) - 1)
    const time = 1_000_000_000_000 + random.integer(0, 2 ** 40)
    assert.ok(read.read(`$JS.ACK.busbar.g--0123456789--3.${delivered}.${seq}.${consumerSeq}.${time}123456.${pending}`))
    assert.deepEqual(numbers(read), [delivered, seq, consumerSeq, time, pending])
  }
})

test('anything else is no such subject', () => {
  for (const reply of [
    '',
    '_INBOX.x.1',
    '$JS.ACK',
    '$JS.ACK.a.b.1.2.3',
    '$JS.API.CONSUMER.1.2.3.4.5.6',
    '$JS.ACK.a.b.c.d.e.1.2.3',
  ])
    assert.equal(new AckReply().read(reply), false)
})

test('damaged subjects are read as something, or refused', () => {
  const random = seededRandom('damage')
  for (let round = 0; round < 5_000; round++) {
    const read = new AckReply()
    if (random.chance(0.5)) read.read(OLD)
    const isRead = read.read(damaged(random, Buffer.from(random.pick([OLD, NEW]))).toString('latin1'))
    assert.equal(typeof isRead, 'boolean')
    for (const number of numbers(read)) assert.equal(typeof number, 'number')
  }
})

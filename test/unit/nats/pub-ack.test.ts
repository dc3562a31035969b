import assert from 'node:assert/strict'
import { test } from 'vitest'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'
import { AnswerPlace, PubAckReader } from '../../../src/transports/nats/jetstream/publish/pub-ack.ts'

/** As the reader has it: somewhere in a chunk of the socket. */
function answer(subject: string, body: string): Incoming {
  const incoming = new Incoming()
  incoming.bytes = Buffer.from(`before${subject} ${body}after`)
  incoming.subjectAt = 6
  incoming.subjectEnd = 6 + subject.length
  incoming.headersAt = incoming.bodyAt = incoming.subjectEnd + 1
  incoming.end = incoming.bodyAt + body.length
  return incoming
}

test('the place of an answer, from bytes and from text', () => {
  const place = new AnswerPlace()
  for (const [batch, index] of [
    [1, 0],
    [987_654, 1_023],
  ]) {
    const incoming = answer(`_INBOX.abc.${batch}.${index}`, '')
    for (let way = 0; way < 2; way++) {
      place.read(incoming, '_INBOX.abc.'.length)
      assert.deepEqual([place.batch, place.index], [batch, index])
      incoming.subject = `_INBOX.abc.${batch}.${index}`
    }
  }
})

test('the sequence, however the answer is written and whatever came before', () => {
  const reader = new PubAckReader()
  const bodies: readonly (readonly [string, number | undefined])[] = [
    ['{"stream":"busbar", "seq":7}', 7],
    ['{"stream":"busbar", "seq":123456789}', 123_456_789],
    ['{"stream":"busbar", "seq":8,"duplicate": true}', 8],
    ['{"stream":"busbar_dlq", "seq":9}', 9],
    ['{"stream":"busbar","domain":"hub","seq":10}', 10],
    [
      '{"error":{"code":503,"err_code":10077,"description":"maximum messages exceeded"},"stream":"busbar","seq":0}',
      undefined,
    ],
    ['', undefined],
    ['{"stream":"busbar", "seq":}', undefined],
  ]
  for (let round = 0; round < 3; round++)
    for (const [body, seq] of bodies) assert.equal(reader.sequenceIn(answer('x', body)), seq, body)
})

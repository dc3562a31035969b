import assert from 'node:assert/strict'
import { test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { Incoming } from '../../../src/transports/nats/connection/incoming.ts'

test('subjects are those in the bytes, whatever came before', () => {
  const seed = seededRandom('subjects')
  const incoming = new Incoming()
  const read = (subject: string): string => {
    incoming.bytes = Buffer.from(`MSG ${subject} 1 0\r\n`)
    incoming.subjectAt = 4
    incoming.subjectEnd = 4 + Buffer.byteLength(subject)
    return incoming.subject
  }
  // More than are remembered, so that many share a place.
  const subjects = Array.from({ length: 500 }, (_, at) => `busbar.${at % 8}.orders.${at}`)
  subjects.push('café', 'caf\ufffd', 'busbar.any.文', '')
  for (let round = 0; round < 5_000; round++) {
    const subject = seed.pick(subjects)
    assert.equal(read(subject), subject)
  }
})

import { expect, it } from 'vitest'
import { attemptsOf } from '../../../src/transports/redis/consume/attempt-notes.ts'

// The note is stored with the group: "<used> <running> <not before>".
it.each([
  ['', 'other', { attempt: 1, history: 'unknown', notBefore: undefined, noted: false }],
  ['', 'me', { attempt: 1, history: 'returned', notBefore: undefined, noted: false }],
  ['2 0 0', 'other', { attempt: 3, history: 'unknown', notBefore: undefined, noted: true }],
  ['2 1 0', 'other', { attempt: 3, history: 'died', notBefore: undefined, noted: true }],
  ['2 1 0', 'me', { attempt: 2, history: 'returned', notBefore: undefined, noted: true }],
  ['2 0 1700000000000', 'me', { attempt: 3, history: 'returned', notBefore: 1_700_000_000_000, noted: true }],
  ['1 0 1700000000000', '@later', { attempt: 2, history: 'returned', notBefore: 1_700_000_000_000, noted: true }],
  ['1', 'other', { attempt: 2, history: 'unknown', notBefore: undefined, noted: true }],
])('the note %j of an entry that %s had', (note, former, expected) => {
  expect(attemptsOf(note, former, 'me')).toEqual(expected)
})

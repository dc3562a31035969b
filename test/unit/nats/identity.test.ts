import { expect, it } from 'vitest'
import { isSameStream, streamIdentityOf } from '../../../src/transports/nats/jetstream/server/identity.ts'

interface Look {
  readonly at?: string
  readonly oldest?: string
}

const stream = (created: string, description?: string, { at, oldest }: Look = {}): string =>
  streamIdentityOf({
    created,
    ...(at === undefined ? {} : { ts: at }),
    state: { messages: oldest === undefined ? 0 : 1, first_ts: oldest ?? '0001-01-01T00:00:00Z' },
    config: description === undefined ? {} : { description },
  })

it.each([
  [
    'is the same',
    true,
    stream('2026-01-01T00:00:00.5Z', 'a #0123456789ab'),
    stream('2026-01-01T00:00:00.5Z', 'a #0123456789ab'),
  ],
  [
    'whose description was edited',
    true,
    stream('2026-01-01T00:00:00.5Z', 'a #0123456789ab'),
    stream('2026-01-01T00:00:00.5Z', 'b'),
  ],
  [
    'of 2.9, after a restart',
    true,
    stream('2026-01-01T00:00:00.5Z', 'a #0123456789ab'),
    stream('2026-01-01T00:00:00.52Z', 'a #0123456789ab'),
  ],
  [
    'made again',
    false,
    stream('2026-01-01T00:00:00.5Z', 'a #0123456789ab'),
    stream('2026-01-01T00:00:00.52Z', 'a #ba9876543210'),
  ],
  [
    'made again from a saved configuration',
    false,
    stream('2026-01-01T00:00:00Z', 'a #0123456789ab'),
    stream('2026-01-01T00:01:00Z', 'a #0123456789ab'),
  ],
  ['made again by another program', false, stream('2026-01-01T00:00:00Z'), stream('2026-01-01T00:00:02Z')],
] as const)('tells whether a stream %s', (_, isSame, a, b) => {
  expect(isSameStream(a, b)).toBe(isSame)
  expect(isSameStream(b, a)).toBe(isSame)
})

const MARKED = 'a #0123456789ab'

it.each([
  [
    'was there when it claims to have been made',
    true,
    stream('2026-01-01T00:00:00Z', MARKED, { at: '2026-01-03T00:00:00Z' }),
    stream('2026-01-02T00:00:00Z', MARKED),
  ],
  [
    'has a message that is older than it claims to be',
    true,
    stream('2026-01-01T00:00:00Z', MARKED),
    stream('2026-01-02T00:00:00Z', MARKED, { oldest: '2026-01-01T12:00:00Z' }),
  ],
  [
    'has a message that is hardly older: clocks differ',
    false,
    stream('2026-01-01T00:00:00Z', MARKED),
    stream('2026-01-02T00:00:00Z', MARKED, { oldest: '2026-01-01T23:59:59.5Z' }),
  ],
  [
    'was made again after the last look, from a saved configuration',
    false,
    stream('2026-01-01T00:00:00Z', MARKED, { at: '2026-01-03T00:00:00Z', oldest: '2026-01-01T12:00:00Z' }),
    stream('2026-01-04T00:00:00Z', MARKED, { at: '2026-01-04T01:00:00Z', oldest: '2026-01-04T00:00:01Z' }),
  ],
  [
    'has another mark, and was made by another program that keeps old times',
    false,
    stream('2026-01-01T00:00:00Z', MARKED),
    stream('2026-01-02T00:00:00Z', 'a #ba9876543210', { oldest: '2026-01-01T12:00:00Z' }),
  ],
  [
    'has no mark, and was there when it claims to have been made',
    true,
    stream('2026-01-01T00:00:00Z', undefined, { at: '2026-01-03T00:00:00Z' }),
    stream('2026-01-02T00:00:00Z'),
  ],
] as const)('tells by what is known whether a stream %s', (_, isSame, before, now) => {
  expect(isSameStream(before, now)).toBe(isSame)
})

import { expect, it } from 'vitest'
import { isSameStream, streamIdentityOf } from '../../../src/transports/nats/jetstream/server/identity.ts'

const stream = (created: string, description?: string): string =>
  streamIdentityOf({ created, config: description === undefined ? {} : { description } })

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

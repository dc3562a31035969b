import { expect, it } from 'vitest'
import { growingDelay, halfRandom, readBackoffLimits } from '../../../src/core/util/backoff.ts'
import { OptionsReader } from '../../../src/core/util/options-reader.ts'

it('doubles the delay with each failure, up to the maximum', () => {
  const limits = { minMs: 50, maxMs: 300 }
  expect([0, 1, 2, 3, 4, 1e9].map((failures) => growingDelay(limits, failures))).toEqual([50, 100, 200, 300, 300, 300])
})

it('keeps at least half of the delay', () => {
  expect([0, 0.5, 1].map((random) => halfRandom(100, () => random))).toEqual([50, 75, 100])
})

it('reads limits, and refuses a maximum below the minimum', () => {
  const defaults = { minMs: 100, maxMs: 5_000 }
  const read = (input: unknown): unknown => {
    const reader = new OptionsReader('x', { reconnect: input })
    const limits = readBackoffLimits(reader.nested('reconnect'), defaults)
    reader.done()
    return limits
  }
  expect(read(undefined)).toEqual(defaults)
  expect(read({ maxMs: 200 })).toEqual({ minMs: 100, maxMs: 200 })
  expect(read({ minMs: 8_000 })).toEqual({ minMs: 8_000, maxMs: 8_000 })
  expect(() => read({ minMs: 500, maxMs: 400 })).toThrow(/reconnect\.maxMs/)
})

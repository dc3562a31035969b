import { describe, expect, it } from 'vitest'
import { failureWindow } from '../../../src/middleware/failure-window.ts'
import { seededRandom } from '../../../src/testing/random.ts'

describe('failureWindow', () => {
  it.each(Array.from({ length: 30 }, (_, seed) => seed))(
    'counts failures like a list of all instants (seed %i)',
    (seed) => {
      const random = seededRandom(`count ${seed}`)
      const limit = { windowMs: random.integer(1, 200), failures: random.integer(1, 6) }
      const window = failureWindow(limit)
      let failures: number[] = []
      let now = random.next() * 1e6
      for (let step = 0; step < 500; step++) {
        now += random.chance(0.3) ? 0 : random.next() * 60
        if (random.chance(0.02)) {
          window.clear()
          failures = []
        }
        if (random.chance(0.4)) window.success(now)
        else {
          failures.push(now)
          const recent = failures.filter((at) => now - at < limit.windowMs)
          if (window.failure(now) !== recent.length >= limit.failures) throw new Error(`step ${step} differs`)
        }
      }
    },
  )

  it.each(Array.from({ length: 30 }, (_, seed) => seed))(
    'counts the share of failures like a list of all results (seed %i)',
    (seed) => {
      const random = seededRandom(`rate ${seed}`)
      const limit = {
        windowMs: random.pick([10, 100, 1_000]),
        rate: random.pick([0.1, 0.5, 1]),
        minimum: random.integer(1, 10),
      }
      const slice = (at: number): number => Math.floor(at / (limit.windowMs / 10))
      const window = failureWindow(limit)
      let results: { readonly at: number; readonly failed: boolean }[] = []
      let now = random.next() * 1e6
      let opened = 0
      for (let step = 0; step < 500; step++) {
        now += random.next() * limit.windowMs * random.pick([0, 0.01, 0.1, 2])
        if (random.chance(0.02)) {
          window.clear()
          results = []
        }
        const failed = random.chance(0.5)
        results.push({ at: now, failed })
        if (!failed) {
          window.success(now)
          continue
        }
        const recent = results.filter(({ at }) => slice(now) - slice(at) < 10)
        const share = recent.filter((result) => result.failed).length / recent.length
        const expected = recent.length >= limit.minimum && share >= limit.rate
        if (window.failure(now) !== expected) throw new Error(`step ${step} differs`)
        if (expected) opened++
      }
      // With a share of 1 a single success in ten results is enough to stay closed.
      if (limit.rate < 1) expect(opened).toBeGreaterThan(0)
      expect(opened).toBeLessThan(500)
    },
  )
})

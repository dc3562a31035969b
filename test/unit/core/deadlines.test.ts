import { describe, expect, it } from 'vitest'
import { Deadline, Deadlines } from '../../../src/core/util/deadlines.ts'
import { manualClock, seededRandom } from 'busbar/testing'

describe('deadlines', () => {
  it('fire once, never early, and late by little', async () => {
    const clock = manualClock()
    const deadlines = new Deadlines(clock, 10)
    const random = seededRandom(7)
    const fired: number[] = []
    for (let index = 0; index < 500; index++) {
      const delay = random.integer(0, 8_000)
      const start = clock.monotonic()
      deadlines.set(
        new Deadline(() => {
          const late = clock.monotonic() - start - delay
          expect(late).toBeGreaterThanOrEqual(0)
          expect(late).toBeLessThanOrEqual(20)
          fired.push(index)
        }),
        delay,
      )
      await clock.advance(random.integer(0, 7))
    }
    await clock.advance(9_000)
    expect(new Set(fired).size).toBe(500)
    expect(fired).toHaveLength(500)
    expect(clock.pending).toBe(0)
  })

  it('can be cleared and moved, also from within another one', async () => {
    const clock = manualClock()
    const deadlines = new Deadlines(clock, 10)
    const fired: string[] = []
    const cleared = new Deadline(() => fired.push('cleared'))
    const moved = new Deadline(() => fired.push('moved'))
    const first = new Deadline(() => {
      fired.push('first')
      deadlines.clear(cleared)
      deadlines.set(moved, 100)
    })
    deadlines.set(first, 50)
    deadlines.set(cleared, 50)
    deadlines.set(moved, 50)
    await clock.advance(90)
    expect(fired).toEqual(['first'])
    await clock.advance(100)
    expect(fired).toEqual(['first', 'moved'])
    deadlines.clear(moved)
  })

  it('catch up after a pause of the whole process, and are silent after close', async () => {
    let now = 0
    let fire = (): void => {}
    const clock = {
      ...manualClock(),
      monotonic: () => now,
      setTimer: (_ms: number, due: () => void) => ((fire = due), { cancel: () => {} }),
    }
    const deadlines = new Deadlines(clock, 10)
    const fired: number[] = []
    for (const delay of [5, 2_000, 50_000, 90_000]) deadlines.set(new Deadline(() => fired.push(delay)), delay)
    now = 60_000
    fire()
    expect(fired.toSorted((a, b) => a - b)).toEqual([5, 2_000, 50_000])
    deadlines.close()
    now = 200_000
    fire()
    expect(fired).toHaveLength(3)
  })
})

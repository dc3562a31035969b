import { expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import { settledWithin } from '../../../src/core/util/settled-within.ts'

it('resolves with true when the work is done in time, and releases the timer', async () => {
  const clock = manualClock()
  expect(await settledWithin(clock, 100, Promise.resolve('done'))).toBe(true)
  expect(clock.pending).toBe(0)
})

it('resolves with false when the time is up', async () => {
  const clock = manualClock()
  const waited = settledWithin(clock, 100, new Promise(() => {}))
  await clock.advance(100)
  expect(await waited).toBe(false)
})

it('rejects with the error of the work', async () => {
  const clock = manualClock()
  await expect(settledWithin(clock, 100, Promise.reject(new Error('broken')))).rejects.toThrow('broken')
  expect(clock.pending).toBe(0)
})

it('ignores an error that comes too late', async () => {
  const clock = manualClock()
  const work = Promise.withResolvers<void>()
  const waited = settledWithin(clock, 100, work.promise)
  await clock.advance(100)
  work.reject(new Error('late'))
  await clock.advance(1)
  expect(await waited).toBe(false)
})

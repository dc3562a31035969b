import { expect, it } from 'vitest'
import { SCHEDULES } from './schedules.ts'

it('K1 to K13 are tested over 10,000 random schedules', () => {
  expect(Object.values(SCHEDULES).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(10_000)
})

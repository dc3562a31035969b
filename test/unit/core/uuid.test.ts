import { expect, it } from 'vitest'
import { UuidGenerator, uuidTime } from '../../../src/core/publish/uuid.ts'

const V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/

it('makes version 7 of variant 10, with the time in front', () => {
  const id = new UuidGenerator().next(0x018f_3b2c_1d2e)
  expect(id).toMatch(V7)
  expect(id.startsWith('018f3b2c-1d2e-7000-')).toBe(true)
})

it('sorts in the order of making, within a millisecond, beyond its counter, and when the clock goes back', () => {
  const ids = new UuidGenerator()
  const made = [...Array.from({ length: 10_000 }, () => ids.next(1_000)), ids.next(999), ids.next(5_000), ids.next(1)]
  expect(made.toSorted()).toEqual(made)
  expect(new Set(made).size).toBe(made.length)
  for (const id of made) expect(id).toMatch(V7)
})

it('does not repeat itself between generators', () => {
  const [a, b] = [new UuidGenerator(), new UuidGenerator()]
  const made = Array.from({ length: 5_000 }, () => [a.next(7), b.next(7)]).flat()
  expect(new Set(made).size).toBe(10_000)
})

it('gives the time in an id back', () => {
  const ids = new UuidGenerator()
  for (const at of [1, 0x018f_3b2c_1d2e, 253_402_300_799_999]) expect(uuidTime(ids.next(at))).toBe(at)
})

it.each([
  '',
  'order-1',
  '018f3b2c-1d2e-4000-8000-000000000001',
  '018F3B2C-1d2e-7000-8000-000000000001',
  '018f3b2c-1d2g-7000-8000-000000000001',
  '018f3b2c_1d2e-7000-8000-000000000001',
  '018f3b2c-1d2e-7000-8000-0000000000012',
])('finds no time in %j', (id) => {
  expect(uuidTime(id)).toBeUndefined()
})

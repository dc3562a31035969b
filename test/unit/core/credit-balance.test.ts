import { expect, it } from 'vitest'
import { CreditBalance } from '../../../src/core/util/credit-balance.ts'

it('adds up what is requested, and ends with either part', () => {
  const credit = new CreditBalance()
  expect(credit.isLeft).toBe(false)
  credit.add(2, 100)
  credit.add(1, 50)
  expect(credit).toMatchObject({ messages: 3, bytes: 150, isLeft: true })
  credit.spend(149)
  expect(credit.isLeft).toBe(true)
  credit.spend(500)
  expect(credit).toMatchObject({ messages: 1, bytes: -499, isLeft: false })
  credit.add(0, 500)
  expect(credit.isLeft).toBe(true)
  credit.spend(0, 1)
  expect(credit.isLeft).toBe(false)
})

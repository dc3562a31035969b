import { expect, test } from 'vitest'
import { Turns } from '../../../src/core/util/turns.ts'

test('turns: few calls run at once, the others in order, whatever becomes of those before', async () => {
  const turns = new Turns(2)
  const begun: number[] = []
  const ends: { resolve: (value: number) => void; reject: (error: Error) => void }[] = []
  const call = (name: number): Promise<number> =>
    turns.run(() => {
      begun.push(name)
      return new Promise((resolve, reject) => ends.push({ resolve, reject }))
    })
  const calls = [0, 1, 2, 3].map((name) => call(name))
  expect(begun).toEqual([0, 1])
  ends[1]?.reject(new Error('refused'))
  await expect(calls[1]).rejects.toThrow('refused')
  expect(begun).toEqual([0, 1, 2])
  const last = call(4)
  expect(begun).toEqual([0, 1, 2])
  ends[0]?.resolve(10)
  expect(await calls[0]).toBe(10)
  expect(begun).toEqual([0, 1, 2, 3])
  ends[2]?.resolve(12)
  ends[3]?.resolve(13)
  expect(await Promise.all([calls[2], calls[3]])).toEqual([12, 13])
  ends[4]?.resolve(14)
  expect(await last).toBe(14)
  const again = call(5)
  expect(begun).toEqual([0, 1, 2, 3, 4, 5])
  ends[5]?.resolve(15)
  expect(await again).toBe(15)
})

import { expect, it } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { idBefore, startId } from '../../../src/transports/redis/topology/start-id.ts'

const LAST = '18446744073709551615'

it.each([
  ['5-3', '5-2'],
  ['5-1', '5-0'],
  ['5-0', `4-${LAST}`],
  ['5', `4-${LAST}`],
  ['1-0', `0-${LAST}`],
  ['0-1', '0-0'],
  ['0-0', '0'],
  ['0', '0'],
  [`${LAST}-${LAST}`, `${LAST}-18446744073709551614`],
  ['9007199254740993-0', `9007199254740992-${LAST}`],
])('just before %s is %s', (id, before) => {
  expect(idBefore(id)).toBe(before)
})

it('nothing is between an id and the one before it', () => {
  const random = seededRandom('ids')
  const valueOf = (id: string): bigint => {
    const [ms = '0', sequence = '0'] = id.split('-')
    return BigInt(ms) * 2n ** 64n + BigInt(sequence)
  }
  for (let round = 0; round < 2_000; round++) {
    const id = `${random.integer(0, 2 ** random.integer(1, 45))}-${random.chance(0.3) ? 0 : random.integer(0, 9)}`
    if (valueOf(id) > 0n) expect(valueOf(id) - valueOf(idBefore(id)), id).toBe(1n)
  }
})

it('where a group begins', () => {
  expect(startId('earliest', 0)).toBe('0')
  expect(startId('latest', 0)).toBe('$')
  expect(startId({ timeMs: 5 }, 0)).toBe(`4-${LAST}`)
  expect(startId({ timeMs: 4.5 }, 0)).toBe(`4-${LAST}`)
  expect(startId({ timeMs: -5 }, 0)).toBe('0')
  expect(startId({ timeMs: 8.64e15 }, 0)).toBe(`8639999999999999-${LAST}`)
  expect(startId({ position: { partition: 2, id: '7-3' } }, 2)).toBe('7-2')
  expect(startId({ position: { partition: 2, id: '7-3' } }, 1)).toBe(`6-${LAST}`)
})

it.each([
  {},
  { id: '' },
  { id: '5' },
  { id: '5-' },
  { id: '-1-0' },
  { id: '5-0 ' },
  { id: `${'9'.repeat(21)}-0` },
  { seq: 5 },
])('a position of another transport is refused: %j', (position) => {
  expect(() => startId({ position: position as never }, 0)).toThrow('must be the id of a stream entry')
})

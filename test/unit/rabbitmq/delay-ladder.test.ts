import assert from 'node:assert/strict'
import { test } from 'vitest'
import { seededRandom } from 'busbar/testing'
import { MAX_DELAY_MS, rungsOf, topRung } from '../../../src/transports/rabbitmq/delays/delay-ladder.ts'

/** How long a message rests: 16 ms on the lowest rung, twice as long on each one above. */
function restMs(rungs: number): number {
  let ms = 0
  for (let level = 0; level < 28; level++) if ((rungs & (2 ** level)) !== 0) ms += 16 * 2 ** level
  return ms
}

test('golden: the rungs are queues on the broker, whose times can not change', () => {
  const exact = [1, 16, 17, 1_000, 60_000, 3_600_000, MAX_DELAY_MS].map((delay) => rungsOf(delay, false))
  assert.deepEqual(exact, [1, 1, 2, 63, 3_750, 225_000, 268_435_455])
  const roughly = [1, 16, 17, 1_000, 60_000, 3_600_000, MAX_DELAY_MS].map((delay) => rungsOf(delay, true))
  assert.deepEqual(roughly, [1, 1, 2, 64, 3_840, 229_376, 268_435_455])
  assert.equal(MAX_DELAY_MS, 4_294_967_280)
})

test('never too early, and late by less than one rung, or by an eighth for a retry on at most four rungs', () => {
  const random = seededRandom('ladder')
  for (let round = 0; round < 5_000; round++) {
    const delay = Math.max(1, Math.floor(random.next() * 2 ** random.integer(1, 32)))
    if (delay > MAX_DELAY_MS) continue
    const exact = rungsOf(delay, false)
    assert.ok(restMs(exact) >= delay && restMs(exact) < delay + 16, `${delay} ms`)
    const rough = rungsOf(delay, true)
    assert.ok(restMs(rough) >= restMs(exact) && restMs(rough) <= restMs(exact) * 1.125, `roughly ${delay} ms`)
    const bits = rough.toString(2).replaceAll('0', '').length
    assert.ok(bits <= 4 || rough === 2 ** 28 - 1, `${bits} rungs for ${delay} ms`)
    for (const rungs of [exact, rough]) assert.equal(topRung(rungs), rungs.toString(2).length - 1)
  }
})

test('beyond the longest delay it is the longest', () => {
  for (const roughly of [true, false]) assert.equal(restMs(rungsOf(MAX_DELAY_MS * 2, roughly)), MAX_DELAY_MS)
})

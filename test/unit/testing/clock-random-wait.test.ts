import { describe, expect, it } from 'vitest'
import { sleep } from '../../../src/core/clock.ts'
import { TimeoutError } from '../../../src/core/errors.ts'
import { manualClock } from '../../../src/testing/manual-clock.ts'
import { seededRandom } from '../../../src/testing/random.ts'
import { uniqueName, uniqueTopic } from '../../../src/testing/unique-name.ts'
import { waitUntil } from '../../../src/testing/wait-until.ts'
import { checkTopicName } from '../../../src/core/topic.ts'

describe('manualClock', () => {
  it('fires timers in order of their time, at their own instants', async () => {
    const clock = manualClock({ now: 1_000 })
    const fired: string[] = []
    const note = (name: string) => () => fired.push(`${name}@${clock.monotonic()}/${clock.now()}`)
    clock.setTimer(30, note('c'))
    clock.setTimer(10, note('a'))
    clock.setTimer(10, note('b'))
    clock.setTimer(31, note('late'))
    await clock.advance(30)
    expect(fired).toEqual(['a@10/1010', 'b@10/1010', 'c@30/1030'])
    expect(clock.pending).toBe(1)
    expect(clock.nextInMs).toBe(1)
  })

  it('fires timers that are set on the way, also behind awaits', async () => {
    const clock = manualClock()
    const seen: number[] = []
    const loop = (async () => {
      for (let round = 0; round < 3; round++) {
        await sleep(clock, 10)
        seen.push(clock.monotonic())
      }
    })()
    await clock.advance(30)
    expect(seen).toEqual([10, 20, 30])
    await loop
  })

  it('plays a cascade of due timers to its end, also when each is set only some rounds of the event loop later', async () => {
    const clock = manualClock()
    const hops: number[] = []
    const hop = async (): Promise<void> => {
      hops.push(clock.monotonic())
      if (hops.length === 10) return
      for (let round = 0; round < 8; round++) await new Promise((resolve) => setImmediate(resolve))
      clock.setTimer(0, () => void hop())
    }
    clock.setTimer(0, () => void hop())
    await clock.advance(0)
    expect(hops).toEqual(Array.from({ length: 10 }, () => 0))
    expect(clock.pending).toBe(0)
  })

  it('does not fire what was cancelled, and cancelling twice does no harm', async () => {
    const clock = manualClock()
    let fired = 0
    const timer = clock.setTimer(5, () => fired++)
    timer.cancel()
    timer.cancel()
    await clock.advance(10)
    expect(fired).toBe(0)
    expect(clock.pending).toBe(0)
  })

  it('jumps the wall clock without touching the monotonic one', async () => {
    const clock = manualClock({ now: 5_000 })
    let fired = 0
    clock.setTimer(10, () => fired++)
    clock.jump(-4_000)
    expect(clock.now()).toBe(1_000)
    expect(clock.monotonic()).toBe(0)
    await clock.advance(9)
    expect(fired).toBe(0)
    await clock.advance(1)
    expect(fired).toBe(1)
  })

  it('queues concurrent calls and refuses to go back', async () => {
    const clock = manualClock()
    await Promise.all([clock.advance(10), clock.advance(5)])
    expect(clock.monotonic()).toBe(15)
    expect(() => clock.advance(-1)).toThrow(RangeError)
  })

  it('passes the error of a timer to the caller and continues afterwards', async () => {
    const clock = manualClock()
    clock.setTimer(1, () => {
      throw new Error('bang')
    })
    await expect(clock.advance(2)).rejects.toThrow('bang')
    await clock.advance(5)
    expect(clock.monotonic()).toBe(6)
  })
})

describe('seededRandom', () => {
  it('repeats itself with the same seed and differs with another', () => {
    const take = (seed: number | string) => {
      const random = seededRandom(seed)
      return Array.from({ length: 20 }, () => random.next())
    }
    expect(take(7)).toEqual(take(7))
    expect(take(7)).not.toEqual(take(8))
    expect(take('a')).not.toEqual(take('b'))
  })

  it('stays in range and reaches the ends', () => {
    const random = seededRandom(1)
    const drawn = new Set(Array.from({ length: 500 }, () => random.integer(3, 6)))
    expect([...drawn].sort((a, b) => a - b)).toEqual([3, 4, 5, 6])
    expect(random.bytes(300).byteLength).toBe(300)
    expect(random.shuffle([1, 2, 3, 4, 5]).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5])
    expect(() => random.pick([])).toThrow(RangeError)
  })
})

describe('unique names', () => {
  it('are valid topics and never the same', () => {
    const names = new Set(Array.from({ length: 1_000 }, () => uniqueName('x')))
    expect(names.size).toBe(1_000)
    checkTopicName(uniqueTopic('orders'))
  })
})

describe('waitUntil', () => {
  it('resolves with the truthy value', async () => {
    let looks = 0
    expect(await waitUntil(() => (++looks === 3 ? 'there' : undefined))).toBe('there')
    expect(looks).toBe(3)
  })

  it('reports the last state when time is up', async () => {
    let count = 0
    const waiting = waitUntil(() => ++count < 0, { timeoutMs: 20, describe: () => ({ count }) })
    await expect(waiting).rejects.toThrow(TimeoutError)
    await expect(waiting).rejects.toThrow(/Timed out after 20 ms; last state: \{ count: \d+ \}/)
  })

  it('rejects at once when the condition throws or the signal aborts', async () => {
    await expect(
      waitUntil(() => {
        throw new Error('broken')
      }),
    ).rejects.toThrow('broken')
    await expect(waitUntil(() => false, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow('enough')
  })
})

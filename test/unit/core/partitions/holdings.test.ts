import { expect, it } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import type { Claimed, Partition } from '../../../../src/core/partitions/group-driver.ts'
import { Holdings } from '../../../../src/core/partitions/holdings.ts'

const P: Partition = { topic: 'orders', partition: 3 }
const LATE = 'the partition was handed over before its messages were handled'

function claimed(generation: number): Claimed<number> {
  return { ...P, generation, position: generation * 10, isUnclean: false }
}

/** A reader whose handovers end when the test says so. */
class Reader {
  readonly clock: ManualClock = manualClock()
  readonly calls: string[] = []
  readonly ends: ((position: number) => void)[] = []
  readonly fails: ((error: Error) => void)[] = []
  readonly holdings: Holdings<number> = new Holdings<number>(
    {
      acquired: ({ generation }) => this.calls.push(`acquired ${generation}`),
      revoke: () =>
        new Promise((resolve, reject) => {
          this.calls.push('revoke')
          this.ends.push(resolve)
          this.fails.push(reject)
        }),
      lost: (_, reason) => this.calls.push(`lost: ${reason}`),
      failed: (error) => this.calls.push(String(error)),
    },
    this.clock,
  )
}

it('releases a partition at the position where the reader ended', async () => {
  const { holdings, ends, calls, clock } = new Reader()
  holdings.take(claimed(1))
  expect(holdings.isActive('orders', 3)).toBe(true)
  const released = holdings.revoke(P, 1_000)
  expect(holdings.has('orders', 3)).toBe(true)
  expect(holdings.isActive('orders', 3)).toBe(false)
  ends[0]?.(42)
  expect(await released).toEqual({ ...P, generation: 1, position: 42, isUnclean: false })
  expect(holdings.size).toBe(0)
  expect(clock.pending).toBe(0)
  expect(calls).toEqual(['acquired 1', 'revoke'])
})

it('gives a partition up when its handlers take longer than they may', async () => {
  const { holdings, ends, calls, clock } = new Reader()
  holdings.take(claimed(1))
  const released = holdings.revoke(P, 1_000)
  await clock.advance(1_000)
  expect(await released).toEqual({ ...P, generation: 1, position: undefined, isUnclean: true })
  holdings.take(claimed(2))
  ends[0]?.(42)
  await clock.advance(1)
  expect(holdings.generationOf('orders', 3)).toBe(2)
  expect(calls).toEqual(['acquired 1', 'revoke', `lost: ${LATE}`, 'acquired 2'])
})

it('waits without a limit when there is none', async () => {
  const { holdings, ends, clock } = new Reader()
  holdings.take(claimed(1))
  const released = holdings.revoke(P, Infinity)
  await clock.advance(3_600_000)
  expect(holdings.has('orders', 3)).toBe(true)
  ends[0]?.(7)
  expect((await released)?.position).toBe(7)
})

it('ends a handover at once when the partition is lost meanwhile', async () => {
  const { holdings, calls, clock } = new Reader()
  holdings.take(claimed(1))
  const released = holdings.revoke(P, 1_000)
  holdings.loseAll('fenced')
  expect(await released).toBeUndefined()
  expect(clock.pending).toBe(0)
  expect(calls).toEqual(['acquired 1', 'revoke', 'lost: fenced'])
})

it('reports a handover that fails, and releases as unclean', async () => {
  const { holdings, fails, calls } = new Reader()
  holdings.take(claimed(1))
  const released = holdings.revoke(P, 1_000)
  fails[0]?.(new Error('broken'))
  expect((await released)?.isUnclean).toBe(true)
  expect(calls.slice(2)).toEqual(['Error: broken', 'lost: it could not be handed over in order'])
})

it('revokes once, and ignores what is not held', async () => {
  const { holdings, calls } = new Reader()
  expect(await holdings.revoke(P, 1_000)).toBeUndefined()
  holdings.lose(P, 'never held')
  holdings.take(claimed(1))
  expect(() => holdings.take(claimed(2))).toThrow('taken twice')
  void holdings.revoke(P, 1_000)
  expect(await holdings.revoke(P, 1_000)).toBeUndefined()
  expect(calls).toEqual(['acquired 1', 'revoke'])
})

import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { manualClock, seededRandom } from 'busbar/testing'
import type { Session } from '../../../src/transports/nats/connection/session.ts'
import { DueHeap } from '../../../src/core/util/due-heap.ts'
import { Partition } from '../../../src/transports/nats/jetstream/partitions/partition.ts'
import type { Delayed } from '../../../src/transports/nats/jetstream/partitions/partition.ts'
import { PartitionDelays } from '../../../src/transports/nats/jetstream/partitions/partition-delays.ts'
import type { DelaysHost } from '../../../src/transports/nats/jetstream/partitions/partition-delays.ts'

class Bench {
  readonly clock = manualClock()
  /** How far the clock on the wall was set ahead. */
  aheadMs = 0
  readonly fetched: number[] = []
  readonly partition = new Partition('0', 's', [])
  readonly delays: PartitionDelays

  constructor() {
    const session = {
      ready: true,
      host: {
        clock: {
          now: () => this.clock.now() + this.aheadMs,
          monotonic: () => this.clock.monotonic(),
          setTimer: (delayMs: number, callback: () => void) => this.clock.setTimer(delayMs, callback),
        },
      },
    } as unknown as Session
    this.delays = new PartitionDelays({
      session,
      api: {
        message: (_stream: string, { seq }: { seq: number }) => {
          this.fetched.push(seq)
          return Promise.resolve(undefined)
        },
      },
      hasRoom: () => true,
      wake: () => undefined,
      changed: () => undefined,
    } as unknown as DelaysHost)
    this.partition.mine = true
  }

  add(seq: number, delayMs: number): Delayed {
    const dueAt = this.clock.now() + this.aheadMs + delayMs
    const delayed = {
      place: seq,
      ordinal: seq,
      dueAt,
      history: 'new',
      used: 0,
      running: false,
      inOrder: false,
    } as const
    const entry = { ...delayed, notBefore: undefined, delivery: undefined }
    this.partition.delayed.set(seq, entry)
    this.delays.add(this.partition, entry)
    return entry
  }
}

describe('delayed messages', () => {
  test('come when they are due, also if the clock of this machine is set ahead meanwhile', async () => {
    const bench = new Bench()
    bench.add(1, 3_000_000)
    bench.add(2, 500)
    await bench.clock.advance(500)
    assert.deepEqual(bench.fetched, [2])
    bench.aheadMs = 3_000_000
    await bench.clock.advance(60_000)
    assert.deepEqual(bench.fetched, [2, 1])
    bench.delays.close()
  })

  test('of partitions that come and go are not kept for each time', () => {
    const bench = new Bench()
    for (let round = 0; round < 50; round++) {
      for (let seq = 0; seq < 1_000; seq++) bench.add(seq, 3_600_000)
      bench.partition.delayed.clear()
    }
    assert.ok(bench.delays.size <= 4_000, `${bench.delays.size}`)
    bench.delays.close()
  })
})

test('a heap gives its entries in the order of their times, whatever is removed meanwhile', () => {
  const random = seededRandom('heap')
  const heap = new DueHeap<{ readonly dueAt: number }>()
  let all: number[] = []
  for (let step = 0; step < 2_000; step++) {
    if (random.chance(0.6)) {
      const dueAt = random.integer(0, 1_000)
      heap.push({ dueAt })
      all.push(dueAt)
    } else if (random.chance(0.02)) {
      const limit = random.integer(0, 1_000)
      heap.keep(({ dueAt }) => dueAt < limit)
      all = all.filter((dueAt) => dueAt < limit)
    } else {
      all.sort((a, b) => a - b)
      assert.equal(heap.first?.dueAt, all[0])
      assert.equal(heap.shift()?.dueAt, all.shift())
    }
    assert.equal(heap.size, all.length)
  }
})

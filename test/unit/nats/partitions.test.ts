import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { Lane } from '../../../src/transports/nats/lane.ts'
import { Partitions } from '../../../src/transports/nats/partitions.ts'
import type { PartitionsParts } from '../../../src/transports/nats/partitions.ts'

/** A lane with a delivery whose handler runs. */
class BusyLane {
  readonly plan = { unit: '0' }
  readonly consumer = 'c'
  readonly outstanding = { size: 1 }
  handingBack = 0
  scattered = false
  readonly formerMs = 0
  /** What it does to stop reading. */
  quiet = (): Promise<void> => Promise.resolve()
  readonly #lost: () => void

  constructor(lost: () => void) {
    this.#lost = lost
  }

  lose(): void {
    this.outstanding.size = 0
    this.#lost()
  }
}

/** A lane that takes its time to begin, as one does that has messages to fetch back. */
class SlowLane {
  readonly plan = { unit: '0' }
  readonly consumer = 'c'
  readonly begun: boolean[] = []
  readonly ends: (() => void)[] = []

  activate(_left: unknown, expired: boolean): Promise<void> {
    this.begun.push(expired)
    return new Promise((resolve) => this.ends.push(resolve))
  }

  quiet(): Promise<void> {
    return Promise.resolve()
  }

  lose(): void {}
}

describe('partitions', () => {
  test('one that is lost and ours again while it is being read begins a second time', async () => {
    const lane = new SlowLane()
    const errors: unknown[] = []
    const parts = {
      session: { ready: true, epoch: 1, error: (error: unknown) => void errors.push(error) },
      consumers: { takeOver: () => Promise.resolve({}) },
      lanes: [lane as unknown as Lane],
      spec: { ephemeral: true, consumerId: 'me' },
      isReading: () => true,
      trouble: () => undefined,
    } as unknown as PartitionsParts
    const partitions = new Partitions(parts)
    partitions.acquire('0', false)
    await settled()
    assert.deepEqual(lane.begun, [false])
    partitions.revoke('0', 'its lease ran out')
    partitions.acquire('0', true)
    lane.ends[0]?.()
    await settled()
    assert.deepEqual(lane.begun, [false, true])
    lane.ends[1]?.()
    await settled()
    partitions.begin()
    await settled()
    assert.deepEqual(lane.begun, [false, true], 'once it is read, it is not begun again')
    assert.deepEqual(errors, [])
  })
})

describe('a handover', () => {
  interface Bench {
    readonly partitions: Partitions
    readonly lane: BusyLane
    readonly clock: ReturnType<typeof manualClock>
    readonly emptied: string[]
  }

  function benchOf(): Bench {
    const emptied: string[] = []
    const clock = manualClock()
    const lane: BusyLane = new BusyLane(() => partitions.settled())
    const parts = {
      session: { ready: false, host: { clock }, error: (error: unknown) => assert.fail(String(error)) },
      lanes: [lane as unknown as Lane],
      spec: { ephemeral: true, consumerId: 'me' },
      trouble: () => undefined,
      emptyLane: (_lane: Lane, reason: string) => Promise.resolve(void emptied.push(reason)),
    } as unknown as PartitionsParts
    const partitions = new Partitions(parts)
    return { partitions, lane, clock, emptied }
  }

  test('waits until the server has what is being handed back, or the next owner would begin behind it', async () => {
    const { partitions, lane, emptied } = benchOf()
    void partitions.release('0', new AbortController().signal)
    await settled()
    lane.outstanding.size = 0
    lane.handingBack = 1
    partitions.settled()
    await settled()
    assert.equal(emptied.length, 0)
    lane.handingBack = 0
    partitions.settled()
    await settled()
    assert.equal(emptied.length, 1)
  })

  test('ends at once when its partition is lost, and takes nothing from a later claim', async () => {
    const { partitions, lane, clock, emptied } = benchOf()
    const lost = new AbortController()
    let isOver = false
    void partitions.release('0', lost.signal).then(() => (isOver = true))
    await settled()
    lost.abort()
    partitions.revoke('0', 'its lease ran out')
    partitions.acquire('0', true)
    lane.outstanding.size = 1
    await settled()
    assert.equal(isOver, true)
    await clock.advance(60_000)
    assert.deepEqual(emptied, [])
  })

  test('does not pass for an orderly one before the leftovers of the former owner were fetched back', () => {
    const { partitions } = benchOf()
    partitions.acquire('0', false)
    assert.equal(partitions.formerMs('0'), 0)
    partitions.acquire('0', true)
    assert.ok(partitions.formerMs('0') > 0)
  })

  test('ends when its partition is lost while it stops reading', async () => {
    const { partitions, lane, clock, emptied } = benchOf()
    const stopped = Promise.withResolvers<void>()
    lane.quiet = () => stopped.promise
    const lost = new AbortController()
    let isOver = false
    void partitions.release('0', lost.signal).then(() => (isOver = true))
    lost.abort()
    partitions.revoke('0', 'its lease ran out')
    partitions.acquire('0', true)
    lane.outstanding.size = 1
    stopped.resolve()
    await settled()
    assert.equal(isOver, true)
    await clock.advance(60_000)
    assert.deepEqual(emptied, [])
  })
})

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

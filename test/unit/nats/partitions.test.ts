import assert from 'node:assert/strict'
import { describe, test } from 'vitest'
import type { Lane } from '../../../src/transports/nats/lane.ts'
import { Partitions } from '../../../src/transports/nats/partitions.ts'
import type { PartitionsParts } from '../../../src/transports/nats/partitions.ts'

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

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

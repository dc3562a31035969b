import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { Session } from '../../../src/transports/nats/connection/session.ts'
import { Partition } from '../../../src/transports/nats/jetstream/partitions/partition.ts'
import { PartitionCommits } from '../../../src/transports/nats/jetstream/partitions/partition-commits.ts'
import type { PartitionLeases } from '../../../src/transports/nats/jetstream/partitions/partition-leases.ts'

test('what is reported after the end leaves no timer behind', () => {
  const clock = manualClock()
  const commits = new PartitionCommits({ ready: true, host: { clock } } as unknown as Session, {} as PartitionLeases)
  const partition = new Partition('0', 's', [])
  partition.committedAt = clock.monotonic()
  commits.close()
  commits.changed(partition)
  commits.handedOut(partition)
  assert.equal(clock.pending, 0)
})

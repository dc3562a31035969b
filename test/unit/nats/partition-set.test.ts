import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { Session } from '../../../src/transports/nats/connection/session.ts'
import { NOTHING_LEFT } from '../../../src/transports/nats/jetstream/partitions/partition-record.ts'
import { PartitionSet } from '../../../src/transports/nats/jetstream/partitions/partition-set.ts'
import type { PartitionSetHost } from '../../../src/transports/nats/jetstream/partitions/partition-set.ts'
import { streamIdentityOf } from '../../../src/transports/nats/jetstream/server/identity.ts'

/** All promises that are about to settle have. */
function settled(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

test('a member that closes does not wait for the next look at a stream that has lost its end', async () => {
  const clock = manualClock()
  // Fewer messages than were read of it.
  const stream = { created: '2026-01-01T00:00:00Z', config: {}, state: { messages: 0, first_ts: '', last_seq: 5 } }
  let looks = 0
  const set = new PartitionSet({
    parts: {
      session: { ready: true, host: { clock, name: 'nats', events: {} }, options: {} } as unknown as Session,
      subjects: { members: () => 'members' },
      topology: {
        identityOf: () => streamIdentityOf(stream),
        look: () => {
          looks++
          return Promise.resolve(stream)
        },
      },
    },
    spec: { topic: 't', group: 'g', consumerId: 'me', prefetch: 10, ephemeral: true },
    groupId: 'g',
    stream: 's',
    units: [{ name: '0', filters: ['a'] }],
    group: () => ({ ...NOTHING_LEFT, stream: streamIdentityOf(stream), life: 'l', to: 9 }),
  } as unknown as PartitionSetHost)
  set.partitions[0]?.load(set.initial(), 'clean')
  let isOver = false
  const look = set.readers.checkStream().then(() => (isOver = true))
  await settled()
  assert.deepEqual([looks, isOver], [1, false])
  await set.close()
  await settled()
  assert.deepEqual([looks, isOver], [1, true])
  await look
})

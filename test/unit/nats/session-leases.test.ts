import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { Session } from '../../../src/transports/nats/connection/session.ts'
import { GRACE_MS, SessionLeases } from '../../../src/transports/nats/jetstream/partitions/session-leases.ts'
import type { StateRecords } from '../../../src/transports/nats/jetstream/server/state-records.ts'

const LEASE_MS = 3_000

test('sessions that are over are forgotten when they have not been looked up for long', async () => {
  const clock = manualClock()
  const session = { ready: true, options: { leaseMs: LEASE_MS }, host: { clock } } as unknown as Session
  const records = {
    leaseSubject: (id: string) => id,
    readLease: () => Promise.resolve(undefined),
  } as unknown as StateRecords
  const leases = new SessionLeases(session, records, 'mine')
  const isOver = async (id: string): Promise<boolean> => {
    await leases.look([id])
    await clock.advance(LEASE_MS + GRACE_MS + 1)
    await leases.look([id])
    return leases.isOver(id)
  }
  assert.equal(await isOver('first'), true)
  // One after the other, as processes that are replaced come and go.
  for (let at = 0; at < 100; at++) assert.equal(await isOver(`next ${at}`), true)
  assert.equal(leases.isOver('first'), false, 'nothing is known of it any more')
  assert.equal(leases.isOver('next 99'), true)
})

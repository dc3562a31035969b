import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { Lane } from '../../../src/transports/nats/lane.ts'
import type { LaneHost } from '../../../src/transports/nats/lane-host.ts'
import { Pulls } from '../../../src/transports/nats/pulls.ts'

const SILENCE_MS = 5_000

test('a request without heartbeats is sent again; only the second silence in a row is worth a warning', async () => {
  const clock = manualClock()
  const host = {
    session: { host: { clock }, outbox: { publish: () => undefined } },
    api: { nextSubject: () => 'next' },
    leaseLeftMs: () => Infinity,
  } as unknown as LaneHost
  const pulls = new Pulls(host, { stream: 's', consumer: 'c' } as Lane)
  const fallsSilent = async (): Promise<boolean> => {
    pulls.ask(1, 0)
    await clock.advance(SILENCE_MS)
    const isWarning = pulls.checkHeartbeat()
    assert.equal(pulls.asked, 0, 'it is asked again')
    return isWarning
  }
  // Once is usual when the consumer gets another leader.
  assert.equal(await fallsSilent(), false)
  assert.equal(await fallsSilent(), true)
  pulls.heard()
  assert.equal(await fallsSilent(), false)
})

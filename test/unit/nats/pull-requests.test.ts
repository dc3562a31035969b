import assert from 'node:assert/strict'
import { test } from 'vitest'
import { manualClock } from 'busbar/testing'
import type { ManualClock } from 'busbar/testing'
import type { JetStreamApi } from '../../../src/transports/nats/jetstream/server/jetstream-api.ts'
import { PullRequests } from '../../../src/transports/nats/jetstream/consume/pull-requests.ts'
import type { Session } from '../../../src/transports/nats/connection/session.ts'

const SILENCE_MS = 5_001

function bench(clock: ManualClock, others = 0): { readonly pulls: PullRequests; readonly sent: string[] } {
  const sent: string[] = []
  const session = {
    readers: 0,
    host: { clock },
    isOlderThan: () => false,
    writeBuffer: {
      publish: (_to: string, _inbox: string, body: Uint8Array) => void sent.push(Buffer.from(body).toString()),
    },
  } as unknown as Session
  const host = { session, api: { nextSubject: () => 'next' } as unknown as JetStreamApi }
  const target = { stream: 's', name: 'c' }
  const all = Array.from({ length: others + 1 }, () => new PullRequests(host, target))
  return { pulls: all[0] as PullRequests, sent }
}

test('a request without heartbeats is sent again; only the second silence in a row is worth a warning', async () => {
  const clock = manualClock()
  const { pulls } = bench(clock)
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

test('many consumers of a process cause few heartbeats each', () => {
  const heartbeat = (others: number): number => {
    const { pulls, sent } = bench(manualClock(), others)
    pulls.ask(1, 0)
    const { idle_heartbeat: ns, expires } = JSON.parse(sent[0] ?? '') as { idle_heartbeat: number; expires: number }
    assert.ok(expires >= 5 * ns)
    return ns / 1e9
  }
  assert.deepEqual([0, 1, 5, 19, 999].map(heartbeat), [2, 2, 8, 30, 30])
})

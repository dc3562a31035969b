import { test } from 'vitest'
import { transportFromUrl } from 'busbar/url'
import { startPrivate } from '../../tools/brokers/index.ts'
import { QUICK_PROPERTIES } from '../conformance/kafka-suite.ts'
import { chaos, CHAOS_MS, chaosSeed, chaosTimeout } from './chaos/chaos.ts'
import { faultKinds } from './chaos/faults.ts'
import { processes } from './chaos/member.ts'

const TIMES = { durationMs: CHAOS_MS, drainMs: 90_000, lateMs: 45_000 } as const

interface Address {
  readonly host: string
  readonly port: number
}

// A session of 3 s, as the leases of the other brokers.
const OPTIONS = {
  partitions: '4',
  sessionTimeoutMs: '3000',
  heartbeatMs: '1000',
  rebalanceTimeoutMs: '10000',
  revokeTimeoutMs: '3000',
  requestTimeoutMs: '5000',
  metadataMaxAgeMs: '5000',
  // A single broker that is killed may leave out the marker of a transaction: see the page of the transport.
  retryTopics: 'false',
}

const urlOf = ({ host, port }: Address): string => `kafka://${host}:${port}?${new URLSearchParams(OPTIONS).toString()}`

test('kafka: processes, connections and the broker fail at random', { timeout: chaosTimeout(TIMES) }, async () => {
  await using broker = await startPrivate('kafka', { properties: QUICK_PROPERTIES })
  await chaos('kafka', {
    ...TIMES,
    seed: chaosSeed(),
    members: processes(urlOf, broker, new URL('./chaos/kafka-transport.ts', import.meta.url)),
    faults: faultKinds({ processes: true, broker: true }),
    broker,
    transport: () => transportFromUrl(urlOf(broker)),
  })
})

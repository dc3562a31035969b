import { test } from 'vitest'
import { transportFromUrl } from 'busbar/url'
import { startPrivate } from '../../tools/brokers/index.ts'
import { chaos, CHAOS_MS, chaosSeed, chaosTimeout } from './chaos/chaos.ts'
import { faultKinds } from './chaos/faults.ts'
import { processes } from './chaos/member.ts'

const TIMES = { durationMs: CHAOS_MS, drainMs: 90_000, lateMs: 45_000 } as const

interface Address {
  readonly host: string
  readonly port: number
}

const urlOf = ({ host, port }: Address): string => `nats://${host}:${port}?leaseMs=3000&heartbeatMs=1000&partitions=6`

test('nats: processes, connections and the broker fail at random', { timeout: chaosTimeout(TIMES) }, async () => {
  await using broker = await startPrivate('nats')
  await chaos('nats', {
    ...TIMES,
    seed: chaosSeed(),
    members: processes(urlOf, broker),
    faults: faultKinds({ processes: true, broker: true }),
    broker,
    transport: () => transportFromUrl(urlOf(broker)),
  })
})

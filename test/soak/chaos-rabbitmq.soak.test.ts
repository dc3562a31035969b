import { test } from 'vitest'
import { transportFromUrl } from 'busbar/url'
import { startPrivate } from '../../tools/brokers/index.ts'
import { chaos, CHAOS_MS, chaosSeed, chaosTimeout } from './chaos/chaos.ts'
import { faultKinds } from './chaos/faults.ts'
import { processes } from './chaos/member.ts'

// After a crash a rung of the delay ladder that came up before the next one tries again after 180 s: the broker's own time.
const TIMES = { durationMs: CHAOS_MS, drainMs: 240_000, lateMs: 240_000 } as const

interface Address {
  readonly host: string
  readonly port: number
}

const urlOf = ({ host, port }: Address): string => `amqp://guest:guest@${host}:${port}?heartbeatMs=2000`

test('rabbitmq: processes, connections and the broker fail at random', { timeout: chaosTimeout(TIMES) }, async () => {
  await using broker = await startPrivate('rabbitmq')
  await chaos('rabbitmq', {
    ...TIMES,
    seed: chaosSeed(),
    members: processes(urlOf, broker),
    faults: faultKinds({ processes: true, broker: true }),
    broker,
    transport: () => transportFromUrl(urlOf(broker)),
  })
})

import { test } from 'vitest'
import { memory, memoryBroker } from 'busbar/memory'
import { chaos, CHAOS_MS, chaosSeed, chaosTimeout } from './chaos/chaos.ts'
import { faultKinds } from './chaos/faults.ts'
import { buses } from './chaos/member.ts'

const TIMES = { durationMs: CHAOS_MS, drainMs: 60_000, lateMs: 20_000 } as const

test('memory: members close and join at random', { timeout: chaosTimeout(TIMES) }, async () => {
  const broker = memoryBroker()
  await chaos('memory', {
    ...TIMES,
    seed: chaosSeed(),
    members: buses(() => memory({ broker })),
    faults: faultKinds({ processes: false, broker: false }),
    broker: undefined,
    transport: () => memory({ broker }),
  })
})

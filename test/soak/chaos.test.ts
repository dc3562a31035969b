import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'vitest'
import { memory, memoryBroker } from 'busbar/memory'
import { sqlite } from 'busbar/sqlite'
import { chaos, chaosTimeout } from './chaos/chaos.ts'
import { faultKinds } from './chaos/faults.ts'
import { buses, processes } from './chaos/member.ts'

// The soaks in small, so that each run of the tests shows that they work. What is found here is as real as there.
const SHORT = { durationMs: 10_000, drainMs: 30_000, lateMs: 20_000 } as const

// At once: each has a broker of its own, and takes its time whatever happens.
test.concurrent('memory: members close and join at random', { timeout: chaosTimeout(SHORT) }, async () => {
  const broker = memoryBroker()
  await chaos('memory', {
    ...SHORT,
    seed: '1',
    members: buses(() => memory({ broker })),
    faults: faultKinds({ processes: false, broker: false }),
    broker: undefined,
    transport: () => memory({ broker }),
  })
})

test.concurrent(
  'sqlite: processes die, freeze, close and join at random',
  { timeout: chaosTimeout(SHORT) },
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'busbar-chaos-sqlite-'))
    const path = join(folder, 'bus.db')
    try {
      await chaos('sqlite', {
        ...SHORT,
        seed: '1',
        members: processes(() => `sqlite://${path}?leaseMs=3000`, undefined),
        faults: faultKinds({ processes: true, broker: false }),
        broker: undefined,
        transport: () => sqlite({ path }),
      })
    } finally {
      rmSync(folder, { recursive: true, force: true })
    }
  },
)

import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'vitest'
import { sqlite } from 'busbar/sqlite'
import { pause } from '../fault/flow.ts'
import { chaos, CHAOS_MS, chaosSeed, chaosTimeout } from './chaos/chaos.ts'
import { faultKinds } from './chaos/faults.ts'
import type { FaultKind } from './chaos/faults.ts'
import { processes } from './chaos/member.ts'

const TIMES = { durationMs: CHAOS_MS, drainMs: 60_000, lateMs: 20_000 } as const

/** Another program keeps the file locked: a backup, a shell, at times longer than the bus is willing to wait (5 s). */
function lock(path: string): FaultKind {
  return {
    name: 'file locked',
    weight: 1,
    target: 'broker',
    run: async ({ random }) => {
      const database = new DatabaseSync(path, { timeout: 5_000 })
      try {
        database.exec('BEGIN IMMEDIATE')
        await pause(random.integer(500, 8_000))
        database.exec('COMMIT')
      } finally {
        database.close()
      }
    },
  }
}

test('sqlite: processes die, freeze, close and join at random', { timeout: chaosTimeout(TIMES) }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'busbar-chaos-sqlite-'))
  const path = join(folder, 'bus.db')
  try {
    await chaos('sqlite', {
      ...TIMES,
      seed: chaosSeed(),
      members: processes(() => `sqlite://${path}?leaseMs=3000`, undefined),
      faults: faultKinds({ processes: true, broker: false, more: [lock(path)] }),
      broker: undefined,
      transport: () => sqlite({ path }),
    })
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
})

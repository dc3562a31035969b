import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import * as vitest from 'vitest'
import { sqlite } from 'busbar/sqlite'
import { conformance } from 'busbar/testing'

const folder = mkdtempSync(join(tmpdir(), 'busbar-sqlite-'))
const path = join(folder, 'bus.db')
vitest.afterAll(() => rmSync(folder, { recursive: true, force: true }))

conformance(vitest, {
  name: 'sqlite',
  // Short, so that what a killed process held comes back while a scenario waits.
  create: () => sqlite({ path, leaseMs: 2_000 }),
  childModule: new URL('./sqlite-child.ts', import.meta.url),
  childEnv: { BUSBAR_TEST_SQLITE: path },
})

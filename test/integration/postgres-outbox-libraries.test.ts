import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { Pool } from 'pg'
import { afterAll, describe, expect, it } from 'vitest'
import { brokerUrl } from '../../tools/brokers/index.ts'
import { DATABASE_LIBRARIES, ensureDatabaseLibraries } from '../peers/ensure-peers.ts'
import { outboxLibrarySuite } from './outbox-library-suite.ts'
import type { LibraryUnderTest } from './outbox-library-suite.ts'

interface OpenedLibrary {
  readonly library: LibraryUnderTest<never>
  close(): Promise<void>
}

const [url] = await Promise.all([brokerUrl('postgres'), ensureDatabaseLibraries()])
const pool = new Pool({ connectionString: url, max: 4 })
afterAll(() => pool.end())

// Not an import that the compiler follows: the libraries are installed by this test.
const file = pathToFileURL(join(DATABASE_LIBRARIES, 'libraries.ts')).href
const { openers } = (await import(file)) as { openers: Readonly<Record<string, (url: string) => OpenedLibrary>> }

describe.each(Object.keys(openers))('%s', (name) => {
  const opened = (openers[name] as (url: string) => OpenedLibrary)(url)
  afterAll(() => opened.close())
  outboxLibrarySuite(pool, () => Promise.resolve(opened.library))
})

it('the adapters take the types of the libraries', async () => {
  const tsc = join(import.meta.dirname, '../../node_modules/typescript/bin/tsc')
  const args = [tsc, '--noEmit', '-p', DATABASE_LIBRARIES]
  const { stdout } = await promisify(execFile)(process.execPath, args).catch(
    (error: unknown) => error as { stdout: string },
  )
  expect(stdout).toBe('')
}, 120_000)

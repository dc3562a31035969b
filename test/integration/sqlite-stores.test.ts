import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as wait } from 'node:timers/promises'
import { promisify } from 'node:util'
import * as vitest from 'vitest'
import { TimeoutError } from 'busbar'
import { dedupeStoreContract } from 'busbar/testing'
import { sqliteDedupeStore } from 'busbar/stores/sqlite'
import type { SqliteDedupeStore } from 'busbar/stores/sqlite'

const { describe, expect, it } = vitest
const folder = mkdtempSync(join(tmpdir(), 'busbar-stores-'))
vitest.afterAll(() => rmSync(folder, { recursive: true, force: true }))

dedupeStoreContract(vitest, {
  name: 'sqlite, with a file of its own',
  create: () => sqliteDedupeStore({ path: join(folder, 'own.db') }),
  close: (store) => (store as SqliteDedupeStore).close(),
})

dedupeStoreContract(vitest, {
  name: 'sqlite, in a database of the user',
  create: () => sqliteDedupeStore({ database: new DatabaseSync(join(folder, 'given.db'), { timeout: 1_000 }) }),
})

describe('sqliteDedupeStore', () => {
  it('has one winner for each key over several processes', async () => {
    const path = join(folder, 'processes.db')
    const worker = join(import.meta.dirname, 'sqlite-dedupe-child.ts')
    const args = ['--conditions=busbar-source', '--no-warnings', worker, path, '500']
    const won = await Promise.all(
      Array.from({ length: 3 }, async () => {
        const { stdout } = await promisify(execFile)(process.execPath, args)
        return JSON.parse(stdout) as string[]
      }),
    )
    expect(won.flat().length).toBe(500)
    expect(new Set(won.flat()).size).toBe(500)
  })

  it('waits for the lock of another connection without blocking, and gives up in the end', async () => {
    const path = join(folder, 'locked.db')
    const [store, hasty] = [sqliteDedupeStore({ path }), sqliteDedupeStore({ path, busyTimeoutMs: 30 })]
    const other = new DatabaseSync(path)
    other.exec('BEGIN IMMEDIATE')
    const waiting = Promise.resolve(store.claim('k', 60_000))
    // What comes later waits behind it.
    const second = Promise.resolve(store.claim('k', 60_000))
    expect(await Promise.resolve(hasty.claim('k', 60_000)).catch((error: unknown) => error)).toSatisfy(TimeoutError.is)
    other.exec('ROLLBACK')
    expect(await waiting).toMatchObject({ status: 'claimed' })
    expect(await second).toMatchObject({ status: 'in-progress' })
    other.close()
    for (const each of [store, hasty]) each.close()
  })

  it('does not become part of a transaction on the connection that it was given', async () => {
    const database = new DatabaseSync(':memory:')
    const store = sqliteDedupeStore({ database })
    database.exec('BEGIN')
    const claim = Promise.resolve(store.claim('k', 60_000))
    await wait(20)
    database.exec('ROLLBACK')
    expect(await claim).toMatchObject({ status: 'claimed' })
    expect(await store.claim('k', 60_000)).toMatchObject({ status: 'in-progress' })
  })

  it('deletes expired keys in batches, and leaves the others alone', async () => {
    const database = new DatabaseSync(':memory:')
    const store = sqliteDedupeStore({ database })
    const insert = database.prepare('INSERT INTO busbar_dedupe VALUES (?, NULL, ?)')
    for (let index = 0; index < 1_000; index++) insert.run(`old${index}`, 1)
    for (let index = 0; index < 1_000; index++) insert.run(`kept${index}`, Date.now() + 3_600_000)
    const left = (name: string): unknown =>
      database.prepare('SELECT count(*) AS n FROM busbar_dedupe WHERE key LIKE ?').get(`${name}%`)?.['n']
    for (let index = 0; index < 64; index++) await store.claim(`new${index}`, 60_000)
    expect(left('old')).toBe(1_000 - 256)
    for (let index = 64; index < 256; index++) await store.claim(`new${index}`, 60_000)
    expect([left('old'), left('kept'), left('new')]).toEqual([0, 1_000, 256])
  })

  it('closes the file that it opened, twice if asked, and no database of the user', () => {
    const own = sqliteDedupeStore({ path: join(folder, 'close.db') })
    own.close()
    own.close()
    expect(() => own.claim('k', 1_000)).toThrow()
    const database = new DatabaseSync(':memory:')
    sqliteDedupeStore({ database }).close()
    expect(database.isOpen).toBe(true)
  })

  it('refuses both a path and a database, and neither', () => {
    expect(() => sqliteDedupeStore({})).toThrow('give either path or database')
    expect(() => sqliteDedupeStore({ path: 'x', database: new DatabaseSync(':memory:') })).toThrow('give either')
  })
})

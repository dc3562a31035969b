import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import * as vitest from 'vitest'
import { StateError, TimeoutError } from 'busbar'
import { unitOfWorkContract } from 'busbar/testing'
import { sqliteDedupeStore, sqliteUnitOfWork } from 'busbar/stores/sqlite'

const { afterAll, describe, expect, it } = vitest
const folder = mkdtempSync(join(tmpdir(), 'busbar-unit-of-work-'))
const path = join(folder, 'app.db')
const database = new DatabaseSync(path)
const other = new DatabaseSync(path)
database.exec(`
  PRAGMA journal_mode = WAL;
  CREATE TABLE test (value TEXT PRIMARY KEY);
  CREATE TABLE child (parent TEXT REFERENCES test (value) DEFERRABLE INITIALLY DEFERRED)`)
const unitOfWork = sqliteUnitOfWork({ database })

afterAll(() => {
  database.close()
  other.close()
  rmSync(folder, { recursive: true, force: true })
})

function valuesOf(from: DatabaseSync): string[] {
  return from
    .prepare('SELECT value FROM test')
    .all()
    .map(({ value }) => String(value))
}

function errorOf(run: Promise<unknown>): Promise<unknown> {
  return run.then(
    () => undefined,
    (error: unknown) => error,
  )
}

unitOfWorkContract<DatabaseSync>(vitest, {
  name: 'sqlite',
  create: () => ({
    unitOfWork,
    insert: (tx, value) => tx.prepare('INSERT INTO test VALUES (?)').run(value),
    values: () => valuesOf(other),
  }),
})

describe('sqliteUnitOfWork', () => {
  it('waits for another connection without blocking, and gives up in the end', async () => {
    other.exec('BEGIN IMMEDIATE')
    const hasty = sqliteUnitOfWork({ database: new DatabaseSync(path), busyTimeoutMs: 30 })
    const waiting = unitOfWork.run((tx) => tx.exec("INSERT INTO test VALUES ('waited')"))
    expect(await errorOf(hasty.run(() => undefined))).toSatisfy(TimeoutError.is)
    other.exec('ROLLBACK')
    await waiting
    expect(valuesOf(other)).toContain('waited')
  })

  it('lets a signal end the wait for the transaction before', async () => {
    const gate = Promise.withResolvers<void>()
    const first = unitOfWork.run(() => gate.promise)
    const abort = new AbortController()
    const second = errorOf(unitOfWork.run(() => undefined, { signal: abort.signal }))
    abort.abort(new Error('deadline'))
    expect(await second).toEqual(new Error('deadline'))
    gate.resolve()
    await first
    expect(await unitOfWork.run(() => 'free')).toBe('free')
  })

  it('reports a COMMIT that is refused as rolled back, not as unknown', async () => {
    const run = unitOfWork.run((tx) => {
      tx.exec("INSERT INTO test VALUES ('refused'); INSERT INTO child VALUES ('nobody')")
    })
    expect(await errorOf(run)).toMatchObject({ message: 'FOREIGN KEY constraint failed' })
    expect(valuesOf(other)).not.toContain('refused')
    expect(database.isTransaction).toBe(false)
  })

  it('notices that the transaction ended within', async () => {
    expect(await errorOf(unitOfWork.run((tx) => tx.exec('COMMIT')))).toSatisfy(StateError.is)
  })

  it('shares a connection with a dedupe store, which stays out of its transactions', async () => {
    const store = sqliteDedupeStore({ database })
    let claim: unknown
    const run = unitOfWork.run(async () => {
      claim = Promise.resolve(store.claim('k', 60_000))
      await new Promise((resolve) => setTimeout(resolve, 10))
      throw new Error('broken')
    })
    expect(await errorOf(run)).toEqual(new Error('broken'))
    expect(await claim).toMatchObject({ status: 'claimed' })
    expect(await store.claim('k', 60_000)).toMatchObject({ status: 'in-progress' })
  })

  it('refuses options without a database', () => {
    expect(() => sqliteUnitOfWork({} as never)).toThrow('database: is required')
  })
})

import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { createOutbox, sqliteTx } from 'busbar/outbox'
import { runCommand } from '../../src/cli/run-command.ts'

let folder: string
let url: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'cli-'))
  url = `sqlite:${join(folder, 'app.db')}`
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function busbar(...args: string[]): Promise<{ code: number; out: string; error: string }> {
  const result = { out: '', error: '' }
  const code = await runCommand(args, {
    out: (text) => (result.out += text),
    error: (text) => (result.error += text),
    env: { BUSBAR_DATABASE: url },
  })
  return { code, ...result }
}

const json = (out: string): unknown[] =>
  out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as unknown)

describe('busbar', () => {
  it('says what there is', async () => {
    expect(await busbar()).toMatchObject({ code: 0, error: '' })
    expect((await busbar('--help')).out).toContain('outbox')
    expect((await busbar('outbox', '--help')).out).toContain('requeue')
    expect(await busbar('nothing')).toMatchObject({ code: 2, out: '' })
    const wrong = await busbar('outbox', 'list', '--nothing')
    expect(wrong).toMatchObject({ code: 2, out: '' })
    expect(wrong.error).toContain('Usage: busbar outbox')
    expect((await busbar('outbox', 'fly')).code).toBe(2)
    expect((await busbar('outbox', 'list', '--limit', 'x')).error).toContain('--limit')
    expect((await busbar('outbox', 'status', '--database', 'mongodb://x')).error).toContain('must be postgres://')
  })

  it('prints the SQL of the tables, which a database takes, and applies it', async () => {
    const printed = (await busbar('outbox', 'migrate')).out
    const database = new DatabaseSync(':memory:')
    database.exec(printed)
    expect(database.prepare('SELECT count(*) AS shards FROM busbar_outbox_shards').get()).toEqual({ shards: 64 })
    const postgres = await busbar('outbox', 'migrate', '--database', 'postgres://x', '--schema', 'app')
    expect(postgres.out).toContain('CREATE TABLE "app"."busbar_outbox"')
    const missing = await busbar('outbox', 'status')
    expect(missing).toMatchObject({ code: 1 })
    expect(missing.error).toContain('busbar outbox migrate')
    expect(await busbar('outbox', 'migrate', '--apply')).toMatchObject({ code: 0 })
    expect(json((await busbar('outbox', 'status', '--json')).out)).toEqual([
      { pending: 0, oldestAgeMs: 0, parked: 0, failing: 0, unownedShards: 64, relays: 0 },
    ])
  })

  it('lists rows, requeues and discards those that are parked, and nothing without being told which', async () => {
    await busbar('outbox', 'migrate', '--apply')
    const database = new DatabaseSync(join(folder, 'app.db'))
    const bus = createBus({ service: 'shop', transport: memory() })
    const outbox = createOutbox({ tx: sqliteTx() })
    await bus.use(outbox)
    database.exec('BEGIN')
    for (const id of ['a', 'b', 'c']) await outbox.publish(database, 'orders', { secret: 1 }, { id, key: `k-${id}` })
    database.exec('COMMIT')
    database.exec(`UPDATE busbar_outbox SET failed_at = 1, attempts = 5, last_error = 'too large' WHERE id <> 'c'`)
    const { out } = await busbar('outbox', 'list')
    expect(out.split('\n')).toHaveLength(5)
    expect(out).not.toContain('secret')
    expect(json((await busbar('outbox', 'list', '--json', '--parked', '--key', 'k-a')).out)).toMatchObject([
      { id: 'a', topic: 'orders', attempts: 5, lastError: 'too large' },
    ])
    expect((await busbar('outbox', 'requeue')).code).toBe(2)
    expect(json((await busbar('outbox', 'requeue', '--all', '--dry-run', '--json')).out)).toHaveLength(2)
    expect((await busbar('outbox', 'requeue', '--id', 'a', '--id', 'c')).out).toBe('1 rows\n')
    expect(json((await busbar('outbox', 'discard', '--topic', 'orders', '--json')).out)).toEqual([{ id: 'b' }])
    expect(database.prepare('SELECT id FROM busbar_outbox WHERE failed_at IS NULL').all()).toHaveLength(2)
    database.close()
    await bus.close()
  })
})

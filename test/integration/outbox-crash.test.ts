import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { createBus } from 'busbar'
import { sqlite } from 'busbar/sqlite'
import { sqliteOutboxStore } from 'busbar/stores/sqlite'
import { waitUntil } from 'busbar/testing'

const child = join(import.meta.dirname, 'outbox-crash-child.ts')
let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'outbox-crash-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

/** Resolves with the signal that ended the child, or null if it ended by itself. */
function run(...args: string[]): Promise<NodeJS.Signals | null> {
  const process_ = spawn(process.execPath, ['--conditions=busbar-source', child, ...args], {
    cwd: folder,
    stdio: 'inherit',
  })
  return new Promise((resolve, reject) => {
    process_.on('error', reject)
    process_.on('close', (code, signal) =>
      code === 0 || signal !== null ? resolve(signal) : reject(new Error(`exit ${code}`)),
    )
  })
}

// The failure matrix of the outbox (docs/reference/outbox.md): a writer and a relay are killed between each pair of effects.
it('29: loses nothing, invents nothing, and keeps keys in order, whatever is killed', async () => {
  const store = sqliteOutboxStore({ path: join(folder, 'app.db') })
  await store.createTables()
  store.close()
  const app = new DatabaseSync(join(folder, 'app.db'))
  app.exec('CREATE TABLE orders (id TEXT PRIMARY KEY, key TEXT NOT NULL, number INTEGER NOT NULL)')

  for (const [point, count] of [
    ['write:order', '9'],
    ['write:event', '14'],
    ['write:events', '11'],
    ['write:commit', '16'],
  ] as const)
    expect(await run(point, count), point).toBe('SIGKILL')
  for (const [point, count] of [
    ['after claim', '1'],
    ['before read', '1'],
    ['after read', '1'],
    ['before remove', '1'],
    ['after remove', '1'],
    ['before remove', '2'],
  ] as const)
    expect(await run(point, count), point).toBe('SIGKILL')
  expect(await run('never')).toBeNull()

  const orders = app.prepare('SELECT id, key FROM orders ORDER BY key, number').all() as { id: string; key: string }[]
  // 8 and 13 and 10 and 16 were committed.
  expect(orders).toHaveLength(47)
  expect(app.prepare('SELECT count(*) AS rows FROM busbar_outbox').get()).toEqual({ rows: 0 })
  app.close()

  const received: { id: string; key: string }[] = []
  const bus = createBus({ service: 'audit', transport: sqlite({ path: join(folder, 'broker.db') }) })
  bus.consume('orders', ({ id, key = '' }) => void received.push({ id, key }), { from: 'earliest' })
  await bus.start()
  const distinct = (): Set<string> => new Set(received.map(({ id }) => id))
  await waitUntil(
    async () => {
      const [group] = await bus.admin().groups('orders', 'audit')
      return group?.lag === 0 && distinct().size >= orders.length * 2
    },
    { describe: () => distinct().size },
  )
  await bus.close()

  const expected = orders.flatMap(({ id }) => [`${id}/1`, `${id}/2`])
  expect([...distinct()].sort()).toEqual(expected.toSorted())
  // First occurrences of each key are in the order of the transactions.
  for (const key of new Set(orders.map((order) => order.key))) {
    const first = [...new Set(received.filter((one) => one.key === key).map(({ id }) => id))]
    const written = orders.filter((order) => order.key === key).flatMap(({ id }) => [`${id}/1`, `${id}/2`])
    expect(first, key).toEqual(written)
  }
  // What a relay had confirmed and not deleted was sent again, with the same id, which the SQLite transport stores once.
  expect(received).toHaveLength(distinct().size)
}, 120_000)

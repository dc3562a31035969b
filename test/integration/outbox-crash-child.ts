// A process of the crash tests: it kills itself, as `kill -9` does, when it reaches the point that its first argument names.
import { DatabaseSync } from 'node:sqlite'
import { createBus } from 'busbar'
import { createOutbox, outboxRelay, sqliteTx } from 'busbar/outbox'
import type { OutboxStore } from 'busbar/outbox'
import { sqlite } from 'busbar/sqlite'
import { sqliteOutboxStore } from 'busbar/stores/sqlite'

const [point = '', count = '1'] = process.argv.slice(2)
const die = (): void => void process.kill(process.pid, 'SIGKILL')
let left = Number(count)
const at = (name: string): void => {
  if (name === point && --left === 0) die()
}

if (point.startsWith('write:')) await write()
else await relay()

/** Places orders until it dies: each is one row and two events of its key. */
async function write(): Promise<void> {
  const database = new DatabaseSync('./app.db')
  database.exec('PRAGMA busy_timeout = 5000')
  const outbox = createOutbox({ tx: sqliteTx() })
  const bus = createBus({ service: 'shop', transport: sqlite({ path: './broker.db' }) })
  await bus.use(outbox)
  for (let n = 0; n < 100; n++) {
    database.exec('BEGIN IMMEDIATE')
    const id = `${point}-${n}`
    const key = `k${n % 5}`
    const { number } = database.prepare('SELECT count(*) AS number FROM orders WHERE key = ?').get(key) as {
      number: number
    }
    database.prepare('INSERT INTO orders VALUES (?, ?, ?)').run(id, key, number)
    at('write:order')
    await outbox.publish(database, 'orders', number, { id: `${id}/1`, key })
    at('write:event')
    await outbox.publish(database, 'orders', number, { id: `${id}/2`, key })
    at('write:events')
    database.exec('COMMIT')
    at('write:commit')
  }
}

/** Relays until it dies, or until the outbox is empty. */
async function relay(): Promise<void> {
  const store = sqliteOutboxStore({ path: './app.db' })
  const watched = new Proxy<OutboxStore>(store, {
    get: (target, name) => {
      const value: unknown = Reflect.get(target, name, target)
      if (typeof value !== 'function') return value
      return async (...args: unknown[]): Promise<unknown> => {
        at(`before ${String(name)}`)
        const result: unknown = await value.apply(target, args)
        at(`after ${String(name)}`)
        return result
      }
    },
  })
  const bus = createBus({ service: 'relay', transport: sqlite({ path: './broker.db' }), logger: false })
  await bus.use(outboxRelay({ store: watched, minPollMs: 2, maxPollMs: 10, leaseMs: 500, batchSize: 20 }))
  await bus.start()
  while ((await store.stats()).pending > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  await bus.close()
  store.close()
}

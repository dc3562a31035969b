// Broken on purpose: a database and a broker are two systems, and something always gets in between. 200 orders are written and
// published in each of two orders of the calls, then with an outbox. Now and then the process dies between the two steps, which is
// played by an exception that nothing catches until the order is given up.
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { createOutbox, outboxRelay, sqliteTx } from 'busbar/outbox'
import { sqliteOutboxStore } from 'busbar/stores/sqlite'

const ORDERS = 200

const database = new DatabaseSync('./dual-write.db')
database.exec('create table orders (id text primary key)')
const store = sqliteOutboxStore({ path: './dual-write.db' })
await store.createTables()

const outbox = createOutbox({ tx: sqliteTx() })
const bus = createBus({ service: 'shop', transport: memory(), extensions: [outbox, outboxRelay({ store })] })
const received = new Set<string>()
bus.consume('orders.placed', ({ data }) => void received.add(data as string))
await bus.start()

const insert = (id: string): unknown => database.prepare('insert into orders values (?)').run(id)
const die = (n: number): void => {
  if (n % 10 === 7) throw new Error('the process was killed')
}

const ways: Record<string, (id: string, n: number) => Promise<void>> = {
  async 'write, then publish'(id, n) {
    insert(id)
    die(n)
    await bus.publish('orders.placed', id)
  },
  async 'publish, then write'(id, n) {
    await bus.publish('orders.placed', id)
    die(n)
    insert(id)
  },
  async outbox(id, n) {
    database.exec('BEGIN IMMEDIATE')
    try {
      insert(id)
      if (n % 2 === 0) die(n + 1)
      await outbox.publish(database, 'orders.placed', id)
      die(n)
      database.exec('COMMIT')
    } catch (error) {
      database.exec('ROLLBACK')
      throw error
    }
  },
}

async function everythingHasCome(): Promise<void> {
  for (;;) {
    const { consumers, published } = bus.snapshot()
    const isHandled = consumers[0]?.stats.acked === published.topics[0]?.confirmed
    if (isHandled && (await store.stats()).pending === 0) return
    await sleep(10)
  }
}

for (const [way, place] of Object.entries(ways)) {
  for (let n = 0; n < ORDERS; n++) await place(`${way} ${n}`, n).catch(() => undefined)
  const stored = database.prepare('select id from orders where id like ?').all(`${way} %`)
  const ids = stored.map(({ id }) => String(id))
  await everythingHasCome()
  const events = [...received].filter((id) => id.startsWith(`${way} `))
  const lost = ids.filter((id) => !received.has(id)).length
  const phantom = events.filter((id) => !ids.includes(id)).length
  console.log(`${way}: ${ids.length} orders, ${lost} without an event, ${phantom} events without an order`)
}
await bus.close()
store.close()

import { DatabaseSync } from 'node:sqlite'
import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { createOutbox, outboxRelay, sqliteTx } from 'busbar/outbox'
import { sqliteOutboxStore, sqliteUnitOfWork } from 'busbar/stores/sqlite'

const OrderPlaced = defineEvent<{ orderId: string; total: number }>('orders.placed', { key: (order) => order.orderId })

const database = new DatabaseSync('./shop.db')
database.exec('create table if not exists orders (id text primary key, total integer not null)')

// A separate connection for the relay: it must not get into your transactions.
const store = sqliteOutboxStore({ path: './shop.db' })
await store.createTables()

const outbox = createOutbox({ tx: sqliteTx() })
const bus = createBus({ service: 'shop', transport: memory() })
await bus.use(outbox) // writes
await bus.use(outboxRelay({ store })) // sends; may run in another process

bus.consume(OrderPlaced, ({ data }) => console.log('charge', data.total, 'for', data.orderId))
await bus.start()

// A connection has one transaction at a time: runs take turns, and wait for the relay's lock.
const unitOfWork = sqliteUnitOfWork({ database })

async function placeOrder(orderId: string, total: number): Promise<void> {
  await unitOfWork.run(async (tx) => {
    tx.prepare('insert into orders values (?, ?)').run(orderId, total)
    await outbox.publish(tx, OrderPlaced, { orderId, total })
    if (total > 1_000) throw new Error(`${orderId} is too expensive`)
  })
}

const charged = bus.events.once('ack')
await placeOrder('ord-1', 42)
await placeOrder('ord-2', 5_000).catch((error: Error) => console.log(error.message))
await charged
await bus.close()
console.log(database.prepare('select count(*) as orders from orders').get()?.['orders'], 'order, 1 event')
store.close()

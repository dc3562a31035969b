import { Pool } from 'pg'
import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { createOutbox, outboxRelay, pgTx } from 'busbar/outbox'
import { postgresOutboxStore } from 'busbar/stores/postgres'

const OrderPlaced = defineEvent<{ orderId: string; total: number }>('orders.placed', { key: (order) => order.orderId })

const pool = new Pool({ connectionString: process.env['DATABASE_URL'] })
await pool.query('CREATE TABLE IF NOT EXISTS orders (id text PRIMARY KEY, total int NOT NULL)')
const store = postgresOutboxStore({ client: pool })
await store.createTables() // or run the SQL of `busbar outbox migrate` in a migration

const outbox = createOutbox({ tx: pgTx(), notify: true })
const bus = createBus({ service: 'shop', transport: memory() })
await bus.use(outbox)
await bus.use(outboxRelay({ store, trigger: 'notify' }))

bus.consume(OrderPlaced, ({ data }) => console.log('charge', data.total, 'for', data.orderId))
await bus.start()
const charged = bus.events.once('ack')

const client = await pool.connect()
try {
  await client.query('BEGIN')
  const orderId = `ord-${Date.now()}`
  await client.query('INSERT INTO orders VALUES ($1, 42)', [orderId])
  await outbox.publish(client, OrderPlaced, { orderId, total: 42 })
  await client.query('COMMIT')
} catch (error) {
  await client.query('ROLLBACK')
  throw error
} finally {
  client.release()
}

await charged
await bus.close()
await pool.end()

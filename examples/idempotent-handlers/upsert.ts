import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { DatabaseSync } from 'node:sqlite'
import { z } from 'zod'

const OrderPlaced = defineEvent('orders.placed', z.object({ orderId: z.string(), total: z.number() }))

const db = new DatabaseSync(':memory:')
db.exec('create table invoice (order_id text primary key, total real not null)')

const bus = createBus({ service: 'billing', transport: memory() })

bus.consume(OrderPlaced, ({ data }) => {
  // The second time, nothing happens: the order's own id is the key.
  db.prepare('insert into invoice values (?, ?) on conflict do nothing').run(data.orderId, data.total)
})

await bus.start()
for (let copy = 0; copy < 2; copy++) {
  const handled = bus.events.once('ack')
  await bus.publish(OrderPlaced, { orderId: 'ord-1', total: 42 })
  await handled
}
console.log(db.prepare('select count(*) as invoices from invoice').get()?.['invoices'])
await bus.close()

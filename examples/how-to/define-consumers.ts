import { createBus, defineConsumer, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { z } from 'zod'

// events.ts
const OrderPlaced = defineEvent('orders.placed', z.object({ orderId: z.string(), total: z.number() }))

// charge-order.ts: the consumer knows its event and its options, and no bus.
const chargeOrder = defineConsumer({
  topic: OrderPlaced,
  group: 'billing',
  concurrency: 5,
  retry: { attempts: 3 },
  handle: (message) => console.log(`charge ${message.data.total} for ${message.data.orderId}`),
})

// mail-invoices.ts: handleBatch instead of handle.
const mailInvoices = defineConsumer({
  topic: OrderPlaced,
  group: 'invoices',
  batch: { size: 50, timeoutMs: 20 },
  handleBatch: (messages) => console.log(`mail ${messages.length} invoices`),
})

// main.ts
const bus = createBus({ service: 'shop', transport: memory(), consumers: [chargeOrder, mailInvoices] })
await bus.start()
const acks = ['billing', 'invoices'].map((name) => bus.events.once('ack', { filter: ({ group }) => group === name }))
await bus.publish(OrderPlaced, { orderId: 'ord-1', total: 42 })
await Promise.all(acks)
await bus.close()

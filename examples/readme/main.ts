import { createBus, defineEvent } from 'busbar'
import { sqlite } from 'busbar/sqlite'
import { z } from 'zod' // or any Standard Schema validator

const OrderPlaced = defineEvent('orders.placed', z.object({ orderId: z.string(), total: z.number() }), {
  key: (o) => o.orderId,
})
const PaymentTaken = defineEvent('payments.taken', z.object({ orderId: z.string() }), { key: (p) => p.orderId })

const bus = createBus({ service: 'billing', transport: sqlite({ path: './busbar.db' }) })

bus.consume(
  OrderPlaced,
  async (message, ctx) => {
    console.log(`charging ${message.data.total} for ${message.data.orderId}`) // return = ack · throw = retry, then dead letter
    await ctx.publish(PaymentTaken, { orderId: message.data.orderId }) // same correlation id; causation id = message.id
  },
  { concurrency: 10, retry: { attempts: 5 } },
)

bus.consume(PaymentTaken, (message) => console.log(`paid: ${message.data.orderId}`))

// Stops intake, finishes what is running.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void bus.close())

await bus.start()
await bus.publish(OrderPlaced, { orderId: 'ord-1', total: 42 }) // resolves when the broker has taken responsibility

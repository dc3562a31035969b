import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { sqlite } from 'busbar/sqlite'
import { z } from 'zod'

const OrderPlaced = defineEvent('orders.placed', z.object({ orderId: z.string() }))

const bus = createBus({
  service: 'shop',
  // The first one is the default.
  transports: { durable: sqlite({ path: './shop.db' }), local: memory() },
})

bus.consume(OrderPlaced, async (message, ctx) => {
  console.log(`stored: ${message.data.orderId}`)
  await ctx.publish('screens.refresh', message.data.orderId, { transport: 'local' })
})
bus.consume('screens.refresh', (message) => console.log(`local: ${String(message.data)}`), { transport: 'local' })

await bus.start()
const refreshed = bus.events.once('ack', { filter: ({ transport }) => transport === 'local' })
await bus.publish(OrderPlaced, { orderId: 'ord-1' })
await refreshed
await bus.close()

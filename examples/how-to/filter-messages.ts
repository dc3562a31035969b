import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'

const OrderPlaced = defineEvent<{ orderId: string; total: number; country: string; coupon?: string }>('orders.placed')

const bus = createBus({ service: 'shop', transport: memory() })
const review = bus.consume(OrderPlaced, (message) => console.log(`review ${message.data.orderId}`), {
  group: 'fraud',
  where: {
    total: { gte: 1_000 },
    country: ['AT', 'DE'],
    $not: { coupon: { prefix: 'staff-' } },
  },
})
await bus.start()

await bus.publishMany(OrderPlaced, [
  { data: { orderId: 'ord-1', total: 12, country: 'AT' } },
  { data: { orderId: 'ord-2', total: 4_000, country: 'AT' } },
  { data: { orderId: 'ord-3', total: 5_000, country: 'DE', coupon: 'staff-7' } },
  { data: { orderId: 'ord-4', total: 6_000, country: 'US' } },
])
await review.drain()
const { handled, skipped } = review.stats()
console.log(`${handled} handled, ${skipped} skipped`)
await bus.close()

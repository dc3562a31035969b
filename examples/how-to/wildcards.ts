import { createBus } from 'busbar'
import { memory } from 'busbar/memory'

const bus = createBus({ service: 'audit', transport: memory() })

// One token: orders.placed and orders.shipped, but not orders.eu.placed.
bus.consume('orders.*', (message) => console.log(`orders.*: ${message.topic}`), { group: 'one-token' })

// Any number of tokens at the end: orders, orders.placed, orders.eu.placed.
bus.consume('orders.>', (message) => console.log(`orders.>: ${message.topic}`), { group: 'all-orders' })

await bus.start()

let open = 3
const handled = bus.events.once('ack', { filter: () => --open === 0 })
await bus.publish('orders.placed', { orderId: 'ord-1' })
await bus.publish('orders.eu.placed', { orderId: 'ord-2' })
await handled
await bus.close()

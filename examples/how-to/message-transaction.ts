import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'

const OrderPaid = defineEvent<{ orderId: string; cents: number }>('orders.paid', { key: (order) => order.orderId })
const ParcelOrdered = defineEvent<{ orderId: string; to: string }>('parcels.ordered')

const bus = createBus({ service: 'shop', transport: memory() })
bus.consume(OrderPaid, ({ data }) => console.log(data.orderId, 'is paid'), { group: 'ledger' })
bus.consume(ParcelOrdered, ({ data }) => console.log('a parcel goes to', data.to), { group: 'warehouse' })
await bus.start()

async function pay(orderId: string, to: string): Promise<void> {
  await bus.transaction(async (tx) => {
    await tx.publish(OrderPaid, { orderId, cents: 4200 })
    if (to === '') throw new Error(`there is no address for ${orderId}`)
    await tx.publish(ParcelOrdered, { orderId, to })
  })
}

// Nothing is published: neither the payment nor the parcel.
await pay('ord-1', '').catch((error: Error) => console.log(error.message))

const handled = [OrderPaid, ParcelOrdered].map((event) =>
  bus.events.once('ack', { filter: ({ topic }) => topic === event.topic }),
)
await pay('ord-2', 'Lisbon')
await Promise.all(handled)
await bus.close()

import { createBus, defineEvent, defineEvents, isEvent } from 'busbar'
import { memory } from 'busbar/memory'

const OrderPlaced = defineEvent<{ orderId: string; total: number }>('orders.placed')
const OrderPlacedV2 = defineEvent<{ orderId: string; cents: number }>('orders.placed', { version: 2 })
const OrderPaid = defineEvent<{ orderId: string; by: string }>('orders.paid')
const OrderEvents = defineEvents('orders.*', [OrderPlaced, OrderPlacedV2, OrderPaid])

const bus = createBus({ service: 'ledger', transport: memory() })
bus.consume(
  OrderEvents,
  (message) => {
    if (isEvent(message, OrderPaid)) console.log(message.data.orderId, 'paid by', message.data.by)
    else
      console.log(
        message.data.orderId,
        'is',
        isEvent(message, OrderPlacedV2) ? message.data.cents : message.data.total * 100,
      )
  },
  { order: 'strict' },
)
await bus.start()
await bus.publish(OrderPlaced, { orderId: 'ord-1', total: 42 })
await bus.publish(OrderPlacedV2, { orderId: 'ord-2', cents: 999 })
await bus.publish(OrderPaid, { orderId: 'ord-1', by: 'card' })
await bus.close()

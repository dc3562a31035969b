import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { dedupe } from 'busbar/middleware'
import { memoryDedupeStore } from 'busbar/stores/memory'

const bus = createBus({ service: 'notifications', transport: memory() })

const once = dedupe({
  store: memoryDedupeStore(),
  onDuplicate: (message) => console.log(`${message.id} again: skipped`),
})

bus.consume('orders.shipped', (message) => console.log(`${message.id}: mail sent`), { middleware: [once] })

await bus.start()
for (const id of ['shipment-1', 'shipment-2', 'shipment-1']) {
  const acked = bus.events.once('ack')
  await bus.publish('orders.shipped', {}, { id })
  await acked
}
await bus.close()

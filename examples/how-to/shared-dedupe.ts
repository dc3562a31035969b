import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { dedupe } from 'busbar/middleware'
import { sqliteDedupeStore } from 'busbar/stores/sqlite'

/** Stands for one process of the service. The second one gets a message again that the first one has handled. */
async function runProcess(name: string, ids: readonly string[]): Promise<void> {
  const store = sqliteDedupeStore({ path: './dedupe.db' })
  const bus = createBus({ service: 'notifications', transport: memory() })
  const once = dedupe({ store, onDuplicate: (message) => console.log(`${name}: ${message.id} again, skipped`) })
  bus.consume('orders.shipped', (message) => console.log(`${name}: mail for ${message.id} sent`), {
    middleware: [once],
  })
  await bus.start()
  for (const id of ids) {
    const acked = bus.events.once('ack')
    await bus.publish('orders.shipped', {}, { id })
    await acked
  }
  await bus.close()
  store.close()
}

await runProcess('first', ['shipment-1', 'shipment-2'])
await runProcess('second', ['shipment-1', 'shipment-3'])

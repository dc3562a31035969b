import { createBus } from 'busbar'
import { transportFromUrl } from 'busbar/url'

const transport = await transportFromUrl(process.env['BUS_URL'] ?? 'memory:')
const bus = createBus({ service: 'shop', transport })

// Each receiver gets a copy of every message. Its queue has a name of its own, and is gone with it.
for (const receiver of ['mail', 'search', 'cache'])
  bus.consume('patterns.prices', ({ data }) => console.log(receiver, 'received', data), { broadcast: true })
await bus.start()

let open = 3
const handled = bus.events.once('ack', { filter: () => --open === 0 })
await bus.publish('patterns.prices', { sku: 'MUG-BLUE', cents: 1290 })
await handled
await bus.close()

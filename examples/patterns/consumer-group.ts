import { createBus } from 'busbar'
import { transportFromUrl } from 'busbar/url'

const transport = await transportFromUrl(process.env['BUS_URL'] ?? 'memory:')
const bus = createBus({ service: 'readers', transport })

// Start this program in several terminals: the members of the group share the partitions, and so the keys.
bus.consume('patterns.readings', ({ topic, key, data }, { partition = '-', position }) => {
  console.log(topic, partition, JSON.stringify(position), key, data)
})
await bus.start()

let open = 6
const handled = bus.events.once('ack', { filter: () => --open === 0 })
// Resolves when all of them are written.
await bus.publishMany(
  'patterns.readings',
  [1, 2, 3, 4, 5, 6].map((data) => ({ data, key: `sensor-${data % 3}` })),
)
await handled
await bus.close()

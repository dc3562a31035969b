import { createBus } from 'busbar'
import { memory } from 'busbar/memory'

const bus = createBus({ service: 'reports', transport: memory() })
const reports = bus.consume('reports.requested', () => {})

await bus.start()
const third = bus.events.once('ack', { filter: () => reports.stats().acked === 3 })
await bus.publishMany('reports.requested', [{ data: 'sales' }, { data: 'stock' }, { data: 'staff' }])
await third

const { received, acked, deadLettered, running, buffered } = reports.stats()
console.log({ received, acked, deadLettered, running, buffered })
const { status } = await bus.health()
console.log(status)

for (const { topic, group, lag, partitions = [] } of await bus.admin().groups()) {
  console.log(`${topic} ${group}: lag ${lag}`)
  for (const { partition, position, head } of partitions)
    console.log(`${partition}: at ${position?.offset} of ${head?.offset}`)
}
await bus.close()

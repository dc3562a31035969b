import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { pipeline } from 'busbar/pipeline'

const OrderPlaced = defineEvent<{ id: string; customer: string; total: number }>('orders.placed', {
  key: (order) => order.customer,
})
const Refused = defineEvent<{ id: string; why: string }>('orders.refused')

const countries = new Map([
  ['ada', 'AT'],
  ['bob', 'DE'],
])

const invoices = pipeline('invoices')
  .from(OrderPlaced)
  .filter({ total: { gt: 0 } })
  .map(
    async (order) => {
      const country = countries.get(order.customer)
      if (country === undefined) throw new Error(`nobody knows ${order.customer}`)
      return { ...order, country }
    },
    { name: 'country', concurrency: 20, retry: { attempts: 2, baseMs: 10 } },
  )
  .catch((failed) =>
    failed.map(({ data, error }) => ({ id: (data as { id: string }).id, why: (error as Error).message })).to(Refused),
  )
  .batch({ size: 100, timeoutMs: 50, key: ({ country }) => country })
  .to(({ key, data }) => console.log(`${key}: ${data.map(({ id }) => id).join(', ')}`))

const bus = createBus({ service: 'shop', transport: memory() })
void bus.use(invoices)
bus.consume(Refused, ({ data }) => console.log(`refused ${data.id}: ${data.why}`))
await bus.start()
await bus.publishMany(OrderPlaced, [
  { data: { id: 'o1', customer: 'ada', total: 10 } },
  { data: { id: 'o2', customer: 'bob', total: 20 } },
  { data: { id: 'o3', customer: 'eve', total: 30 } },
  { data: { id: 'o4', customer: 'ada', total: 40 } },
])
await bus.events.once('ack', { filter: ({ group, message }) => group === 'shop' && message.topic === 'orders.refused' })
// Batches that are open go now, and their messages are acked.
await bus.close()

import { createBus } from 'busbar'
import type { BatchMiddleware } from 'busbar'
import { memory } from 'busbar/memory'

/** Says how many messages each run of a batch handler got, and how many of them failed. */
const counted: BatchMiddleware = (next) => async (messages, ctx) => {
  const results = await next(messages, ctx)
  const failed = (results ?? []).filter((result) => result instanceof Error).length
  console.log(`${messages.length} messages, ${failed} failed`)
  return results
}

const bus = createBus({ service: 'billing', transport: memory(), batchMiddleware: [counted] })

bus.consume(
  'orders.placed',
  (messages) =>
    console.log(
      'charged',
      messages.map(({ data }) => data),
    ),
  {
    batch: { size: 3, timeoutMs: 1_000 },
  },
)

await bus.start()
const handled = bus.events.once('ack')
await bus.publishMany('orders.placed', [{ data: 'ord-1' }, { data: 'ord-2' }, { data: 'ord-3' }])
await handled
await bus.close()

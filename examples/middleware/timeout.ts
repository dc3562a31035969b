import { setTimeout as wait } from 'node:timers/promises'
import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { timeout } from 'busbar/middleware'

const bus = createBus({ service: 'billing', transport: memory() })

bus.consume(
  'orders.placed',
  async (_message, ctx) => {
    // Pass the signal on to whatever can take long: fetch, a query, a timer.
    await wait(ctx.attempt === 1 ? 60_000 : 10, undefined, { signal: ctx.signal })
    console.log(`attempt ${ctx.attempt} was in time`)
  },
  { middleware: [timeout({ ms: 100 })], retry: { baseMs: 10 } },
)

await bus.start()
bus.events.on('retry', ({ attempt }) => console.log(`attempt ${attempt} was not`))
const handled = bus.events.once('ack')
await bus.publish('orders.placed', { orderId: 'ord-1' })
await handled
await bus.close()

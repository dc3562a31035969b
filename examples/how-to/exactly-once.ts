import { createBus } from 'busbar'
import { memory } from 'busbar/memory'

const bus = createBus({ service: 'billing', transport: memory() })

let total = 0
bus.consume(
  'charges',
  ({ data }) => {
    total += data as number
    console.log(total, 'cents so far')
  },
  { group: 'totals' },
)

bus.consume(
  'orders',
  async ({ data }, ctx) => {
    for (const cents of data as number[]) await ctx.publish('charges', cents)
    if (ctx.attempt === 1) throw new Error('the process might as well have been killed here')
  },
  { guarantee: 'exactly-once', retry: { baseMs: 1 } },
)

await bus.start()
const charged = bus.events.once('ack', { filter: ({ topic }) => topic === 'charges' && total >= 350 })
await bus.publish('orders', [100, 250])
await charged
await bus.close()

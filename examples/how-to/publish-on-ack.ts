import { createBus } from 'busbar'
import { memory } from 'busbar/memory'

const bus = createBus({ service: 'billing', transport: memory() })
bus.consume('receipts', ({ data }) => console.log(data))

bus.consume(
  'payments',
  async (_message, ctx) => {
    // Held until the handler succeeds: the first attempt publishes nothing.
    await ctx.publish('receipts', `receipt of attempt ${ctx.attempt}`)
    if (ctx.attempt === 1) throw new Error('the printer is out of paper')
  },
  { publishOnAck: true, retry: { baseMs: 1 } },
)

await bus.start()
const printed = bus.events.once('ack', { filter: ({ topic }) => topic === 'receipts' })
await bus.publish('payments', { cents: 4200 })
await printed
await bus.close()

import { createBus } from 'busbar'
import { memory } from 'busbar/memory'

const bus = createBus({ service: 'shop', transport: memory() })
const spans: string[] = []
const off = bus.observe({
  publishEnd: ({ transport, messages }, { failures }) => {
    spans.push(`published ${messages.length - failures.size} of ${messages.length} to ${transport.system}`)
  },
  // What a start method returns is passed to its end method.
  handleStart: ({ topic }, ctx) => `${topic}, attempt ${ctx.attempt}`,
  handleEnd: (_message, _ctx, { ok, error }, name) => {
    spans.push(`${name}: ${ok ? 'ok' : String(error)}`)
  },
  settleEnd: ({ settlements }, { failures }) => {
    for (const [index, { outcome }] of settlements.entries())
      if (!failures.some((failure) => failure.index === index)) spans.push(`settled: ${outcome.type}`)
  },
})

bus.consume('orders.placed', (_message, ctx) => {
  if (ctx.attempt === 1) throw new Error('not yet')
})
await bus.start()
const acked = bus.events.once('ack')
await bus.publish('orders.placed', { orderId: 'ord-1' })
await acked
off()
await bus.close()
console.log(spans.join('\n'))

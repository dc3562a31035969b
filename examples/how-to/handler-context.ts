import { createBus } from 'busbar'
import { memory } from 'busbar/memory'

const transport = memory()
const bus = createBus({ service: 'payments', transport })

bus.consume(
  'payments.due',
  async (message, ctx) => {
    console.log(`${ctx.group}, attempt ${ctx.attempt}`)
    // Slow, and known to be: the deadline is a minute from now, no longer the 1,000 ms below.
    ctx.extend(60_000)
    await askProvider(ctx.signal)
    // Carries the conversation on: the correlation id of this message, and this message as its cause.
    await ctx.publish('payments.taken', message.data)
  },
  { timeoutMs: 1_000 },
)

async function askProvider(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
}

await bus.start()
const { id } = await bus.publish('payments.due', 'ord-1')
const [taken] = await transport.waitForMessages('payments.taken', 1)
console.log(`caused by the first: ${taken?.causationId === id}; same conversation: ${taken?.correlationId === id}`)
await bus.close()

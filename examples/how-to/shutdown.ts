import { createBus } from 'busbar'
import { memory } from 'busbar/memory'

const bus = createBus({ service: 'reports', transport: memory(), closeTimeoutMs: 10_000 })

bus.consume('reports.requested', async (message, ctx) => {
  console.log(`working on ${String(message.data)}`)
  // Give the signal to whatever waits: it aborts when closeTimeoutMs has passed.
  await fetchReport(ctx.signal)
  console.log('done')
})

async function fetchReport(signal: AbortSignal): Promise<void> {
  signal.throwIfAborted()
  await new Promise((resolve) => setTimeout(resolve, 50))
}

for (const signal of ['SIGTERM', 'SIGINT'] as const) {
  process.once(signal, () => {
    bus.close().then(
      () => console.log('closed'),
      (error: unknown) => {
        console.error('closing failed', error)
        process.exitCode = 1
      },
    )
  })
}

await bus.start()
const working = bus.events.once('delivery')
await bus.publish('reports.requested', 'sales')
await working
process.kill(process.pid, 'SIGTERM')

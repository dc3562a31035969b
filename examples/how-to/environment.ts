import { createBus } from 'busbar'
import { transportFromUrl } from 'busbar/url'

/** A whole number from the environment, or the default. */
function numberFrom(name: string, otherwise: number): number {
  const text = process.env[name]
  if (text === undefined || text === '') return otherwise
  const value = Number(text)
  if (!Number.isInteger(value)) throw new Error(`${name} must be a whole number, got "${text}"`)
  return value
}

const bus = createBus({
  service: process.env['SERVICE'] ?? 'billing',
  // memory: · sqlite:./busbar.db · amqp://… · nats://… · redis://…?retention.maxMessages=1000000
  transport: await transportFromUrl(process.env['BUS_URL'] ?? 'memory:'),
})
const concurrency = numberFrom('CONCURRENCY', 10)
bus.consume('orders.placed', (message) => console.log(`charge ${String(message.data)}`), {
  concurrency,
  retry: { attempts: numberFrom('RETRY_ATTEMPTS', 5) },
})

await bus.start()
console.log(`${bus.service} with ${concurrency} handlers at once`)
const handled = bus.events.once('ack')
await bus.publish('orders.placed', 'ord-1')
await handled
await bus.close()

import { createBus } from 'busbar'
import { memory } from 'busbar/memory'
import { circuitBreaker } from 'busbar/middleware'

const bus = createBus({ service: 'billing', transport: memory() })

const payments = circuitBreaker({
  name: 'payment-api',
  failureThreshold: 3,
  resetTimeoutMs: 200,
  onStateChange: ({ from, to }) => console.log(`payment-api: ${from} -> ${to}`),
})

let calls = 0
const callPaymentApi = (): void => {
  if (++calls <= 4) throw new Error('503')
}

// Both call the same thing, so both share the breaker: when it opens, both pause.
const options = { middleware: [payments], retry: { attempts: 5, baseMs: 10 } } as const
const charging = bus.consume('orders.placed', callPaymentApi, options)
const refunding = bus.consume('orders.cancelled', callPaymentApi, options)

await bus.start()
const allAcked = Promise.withResolvers<void>()
bus.events.on('ack', () => {
  if (charging.stats().acked + refunding.stats().acked === 6) allAcked.resolve()
})
for (const orderId of ['ord-1', 'ord-2', 'ord-3']) {
  await bus.publish('orders.placed', { orderId })
  await bus.publish('orders.cancelled', { orderId })
}
await allAcked.promise
console.log(`${calls} calls for 6 messages, state ${payments.state}`)
await bus.close()

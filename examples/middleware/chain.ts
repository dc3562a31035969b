import { createBus } from 'busbar'
import type { Middleware } from 'busbar'
import { memory } from 'busbar/memory'
import { circuitBreaker, logger, throttle, timeout } from 'busbar/middleware'

// A middleware of your own is a function around the rest of the chain.
const timed: Middleware = (next) => async (message, ctx) => {
  const start = performance.now()
  try {
    return await next(message, ctx)
  } finally {
    console.log(`${message.topic} attempt ${ctx.attempt} took ${performance.now() - start < 1_000 ? 'little' : 'long'}`)
  }
}

const log = { debug: console.log, info: console.log, warn: console.log, error: console.log }

const bus = createBus({
  service: 'billing',
  transport: memory(),
  middleware: [logger({ logger: { ...log, debug: () => {} } }), timed], // around every handler of the bus
})

const payments = circuitBreaker({ name: 'payment-api', failureThreshold: 5, resetTimeoutMs: 10_000 })

bus.consume('orders.placed', (message) => console.log('charged', message.data), {
  middleware: [payments, throttle({ perSecond: 50 }), timeout({ ms: 5_000 })], // around this one, inside those of the bus
})

await bus.start()
const handled = bus.events.once('ack')
await bus.publish('orders.placed', { orderId: 'ord-1' })
await handled
await bus.close()

import { createBus, sleep } from 'busbar'
import type { ConsumerControl } from 'busbar'
import { memory, memoryBroker } from 'busbar/memory'
import { manualClock } from 'busbar/testing'
import { expect, it } from 'vitest'

it('lifting a cap while the consumer drains takes nothing in', async () => {
  const clock = manualClock()
  const broker = memoryBroker()
  const publisher = createBus({ logger: false, service: 'shop', transport: memory({ broker }), clock })
  const bus = createBus({ logger: false, service: 'billing', transport: memory({ broker }), clock })
  let control: ConsumerControl | undefined
  const consumer = bus.consume('orders.placed', async (_message, ctx) => {
    control = ctx.consumer
    await sleep(clock, 1_000)
  })
  await publisher.start()
  await bus.start()
  await publisher.publish('orders.placed', 1)
  await clock.advance(10)
  control?.limit('circuit-breaker:api', 0)
  const closing = bus.close()
  await publisher.publish('orders.placed', 2)
  await clock.advance(10)
  control?.limit('circuit-breaker:api', undefined)
  await clock.advance(2_000)
  await closing
  expect(consumer.stats()).toMatchObject({ received: 1, acked: 1, released: 0 })
  await publisher.close()
})

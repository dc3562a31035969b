import assert from 'node:assert/strict'
import { test } from 'node:test'
import { createBus, defineEvent } from 'busbar'
import type { Bus, Transport } from 'busbar'
import { memory } from 'busbar/memory'
import { manualClock, recorder } from 'busbar/testing'

const OrderPlaced = defineEvent<{ orderId: string; total: number }>('orders.placed')
const PaymentTaken = defineEvent<{ orderId: string }>('payments.taken')

/** What is to be tested: it takes its transport, and what it calls, from outside. */
function billing(transport: Transport, charge: (total: number) => void, clock = manualClock()): Bus {
  const bus = createBus({ service: 'billing', transport, clock })
  bus.consume(
    OrderPlaced,
    async (message, ctx) => {
      charge(message.data.total)
      await ctx.publish(PaymentTaken, { orderId: message.data.orderId })
    },
    { retry: { attempts: 2, backoff: 'fixed', baseMs: 60_000 } },
  )
  return bus
}

await test('charges the order and says so', async () => {
  const transport = memory()
  const charged: number[] = []
  await using bus = billing(transport, (total) => charged.push(total))
  await bus.start()
  await bus.publish(OrderPlaced, { orderId: 'ord-1', total: 42 })

  const [taken] = await transport.waitForMessages('payments.taken', 1)
  assert.deepEqual(charged, [42])
  assert.deepEqual(taken?.data(), { orderId: 'ord-1' })
})

await test('tries again after a minute, without waiting for one', async () => {
  const clock = manualClock()
  let calls = 0
  const failOnce = (): void => {
    if (++calls === 1) throw new Error('the provider did not answer')
  }
  await using bus = billing(memory(), failOnce, clock)
  const events = recorder(bus)
  await bus.start()
  await bus.publish(OrderPlaced, { orderId: 'ord-1', total: 42 })

  await events.waitFor('retry')
  await clock.advance(60_000)
  await events.waitFor('ack')
  assert.equal(calls, 2)
})

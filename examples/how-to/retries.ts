import { createBus, defineEvent } from 'busbar'
import { memory } from 'busbar/memory'
import { z } from 'zod'

class CardRefused extends Error {}

const PaymentDue = defineEvent('payments.due', z.object({ orderId: z.string(), card: z.string() }), {
  key: (payment) => payment.orderId,
})

const bus = createBus({ service: 'payments', transport: memory() })

let calls = 0
bus.consume(
  PaymentDue,
  (message, ctx) => {
    calls++
    console.log(`attempt ${ctx.attempt} for ${message.data.orderId}`)
    if (message.data.card === 'stolen') throw new CardRefused('stolen card')
    if (message.data.card === '') ctx.reject('an order without a card was never valid')
    if (calls === 1) throw new Error('the provider did not answer')
    console.log(`charged ${message.data.orderId}`)
  },
  {
    retry: {
      attempts: 4,
      baseMs: 50,
      maxMs: 5_000,
      // Trying again does not make a refused card good.
      retryIf: (error) => !(error instanceof CardRefused),
      budgetPerMinute: 600,
    },
  },
)

await bus.start()
await bus.publish(PaymentDue, { orderId: 'ord-1', card: 'visa' })
await bus.events.once('ack')
for (const card of ['stolen', '']) {
  const died = bus.events.once('deadLetter')
  await bus.publish(PaymentDue, { orderId: 'ord-2', card })
  await died
}

for (const letter of await bus.deadLetters(PaymentDue).list()) {
  console.log(`${letter.reason}: ${letter.errorName}: ${letter.errorMessage}`)
}
await bus.close()

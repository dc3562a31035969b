import { chance } from '../chance.ts'
import { OrderPlaced, OutOfStock, PaymentDeclined, PaymentRefunded, PaymentTaken } from '../events.ts'
import type { Service } from '../service.ts'

/** Charges cards through a provider that sometimes fails, and refunds them when there is nothing to send. */
export const payments: Service = {
  name: 'payments',
  schema: `CREATE TABLE IF NOT EXISTS charges (
    order_id TEXT PRIMARY KEY, cents INTEGER NOT NULL, refunded INTEGER NOT NULL DEFAULT 0
  ) WITHOUT ROWID`,

  consume({ bus, state, duplicate }) {
    const insert = state.prepare('INSERT INTO charges (order_id, cents) VALUES (?, ?) ON CONFLICT DO NOTHING')
    const refund = state.prepare('UPDATE charges SET refunded = 1 WHERE order_id = ? AND refunded = 0')

    return [
      bus.consume(
        OrderPlaced,
        async ({ data: order }, ctx) => {
          // Throws when the provider fails; the bus retries, and later events of this order wait meanwhile.
          const accepted = askProvider(order.orderId, ctx.attempt)
          if (!accepted) {
            await ctx.publish(PaymentDeclined, { orderId: order.orderId, reason: 'the card was declined' })
            return
          }
          if (insert.run(order.orderId, order.totalCents).changes === 0) duplicate()
          await ctx.publish(PaymentTaken, { orderId: order.orderId, paymentId: `pay-${order.orderId}`, order })
        },
        { concurrency: 100, retry: { attempts: 8, baseMs: 50, maxMs: 1_000 } },
      ),

      bus.consume(OutOfStock, async ({ data }, ctx) => {
        if (refund.run(data.orderId).changes === 0) duplicate()
        await ctx.publish(PaymentRefunded, { orderId: data.orderId, reason: `${data.sku} is out of stock` })
      }),
    ]
  },
}

/** The provider fails once for one order in ten, and twice for one in fifty. 3 % of the cards are declined. */
function askProvider(orderId: string, attempt: number): boolean {
  const luck = chance('provider', orderId)
  const failures = luck < 0.02 ? 2 : luck < 0.1 ? 1 : 0
  if (attempt <= failures) throw new Error('the payment provider answered 503')
  return chance('card', orderId) >= 0.03
}

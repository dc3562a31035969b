import {
  OrderCancelled,
  OrderPlaced,
  OrderShipped,
  OrderSubmitted,
  PaymentDeclined,
  PaymentRefunded,
} from '../events.ts'
import type { Service } from '../service.ts'

/** Accepts orders and records how each of them ended. */
export const orders: Service = {
  name: 'orders',
  schema: `CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY, status TEXT NOT NULL) WITHOUT ROWID`,

  consume({ bus, state, duplicate }) {
    const insert = state.prepare(`INSERT INTO orders VALUES (?, 'placed') ON CONFLICT DO NOTHING`)
    // An order that has ended does not change, whatever arrives late or twice.
    const end = state.prepare(`UPDATE orders SET status = ? WHERE order_id = ? AND status = 'placed'`)

    return [
      bus.consume(
        OrderSubmitted,
        async ({ data: order }, ctx) => {
          if (insert.run(order.orderId).changes === 0) duplicate()
          // Publish again for a duplicate: the first attempt may have died between the insert and the publish.
          await ctx.publish(OrderPlaced, order)
        },
        { concurrency: 100 },
      ),

      bus.consume(OrderShipped, ({ data }) => {
        if (end.run('shipped', data.orderId).changes === 0) duplicate()
      }),

      bus.consume(PaymentDeclined, async ({ data }, ctx) => {
        if (end.run('cancelled', data.orderId).changes === 0) duplicate()
        await ctx.publish(OrderCancelled, data)
      }),

      bus.consume(PaymentRefunded, async ({ data }, ctx) => {
        if (end.run('cancelled', data.orderId).changes === 0) duplicate()
        await ctx.publish(OrderCancelled, data)
      }),
    ]
  },
}

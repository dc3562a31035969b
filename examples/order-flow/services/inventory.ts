import { chance } from '../chance.ts'
import { OutOfStock, PaymentTaken, StockReserved } from '../events.ts'
import type { Service } from '../service.ts'

/** Reserves paid articles. Some are never in stock. */
export const inventory: Service = {
  name: 'inventory',
  schema: `CREATE TABLE IF NOT EXISTS reservations (order_id TEXT PRIMARY KEY, pieces INTEGER NOT NULL) WITHOUT ROWID`,

  consume({ bus, state, duplicate }) {
    const insert = state.prepare('INSERT INTO reservations VALUES (?, ?) ON CONFLICT DO NOTHING')

    return [
      bus.consume(
        PaymentTaken,
        async ({ data: { orderId, order } }, ctx) => {
          const missing = order.items.find((item) => isOutOfStock(item.sku))
          if (missing !== undefined) {
            await ctx.publish(OutOfStock, { orderId, sku: missing.sku })
            return
          }
          const pieces = order.items.reduce((sum, item) => sum + item.quantity, 0)
          if (insert.run(orderId, pieces).changes === 0) duplicate()
          await ctx.publish(StockReserved, { orderId, order })
        },
        { concurrency: 100 },
      ),
    ]
  },
}

function isOutOfStock(sku: string): boolean {
  return chance('stock', sku) < 0.05
}

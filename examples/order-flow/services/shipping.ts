import type { Order } from '../events.ts'
import { OrderShipped, StockReserved } from '../events.ts'
import type { Service } from '../service.ts'

/**
 * Sends parcels. A parcel can't be called back, so at-least-once delivery must become exactly one parcel here: the order's id
 * is a primary key, and the parcel is handed over in the transaction that inserts it.
 */
export const shipping: Service = {
  name: 'shipping',
  schema: `
    CREATE TABLE IF NOT EXISTS shipments (order_id TEXT PRIMARY KEY, parcel_id INTEGER NOT NULL) WITHOUT ROWID;
    -- What really left the house. No constraint keeps a second parcel out of here: the audit looks for one.
    CREATE TABLE IF NOT EXISTS parcels (parcel_id INTEGER PRIMARY KEY, order_id TEXT NOT NULL, label TEXT NOT NULL);`,

  consume({ bus, state, fixed, duplicate }) {
    const find = state.prepare('SELECT parcel_id FROM shipments WHERE order_id = ?')
    const handOver = state.prepare('INSERT INTO parcels (order_id, label) VALUES (?, ?)')
    const record = state.prepare('INSERT INTO shipments VALUES (?, ?)')

    /** The parcel of an order: the one already sent, or a new one. */
    function ship(orderId: string, label: string): number {
      const before = find.get(orderId)
      if (before !== undefined) {
        duplicate()
        return Number(before['parcel_id'])
      }
      state.exec('BEGIN IMMEDIATE')
      try {
        const parcelId = Number(handOver.run(orderId, label).lastInsertRowid)
        record.run(orderId, parcelId)
        state.exec('COMMIT')
        return parcelId
      } catch (error) {
        state.exec('ROLLBACK')
        throw error
      }
    }

    return [
      bus.consume(
        StockReserved,
        async ({ data: { orderId, order } }, ctx) => {
          const parcelId = ship(orderId, fixed ? printLabel(order) : printLabelWithBug(order))
          await ctx.publish(OrderShipped, { orderId, parcelId })
        },
        { concurrency: 100, retry: { attempts: 3, baseMs: 50 } },
      ),
    ]
  },
}

/** Not every country has postcodes; this throws a TypeError there, until a fixed release is deployed. */
function printLabelWithBug({ customer, shipTo }: Order): string {
  const postcode = (shipTo.postcode as string).toUpperCase()
  return `${customer.name}, ${shipTo.street}, ${postcode} ${shipTo.city}, ${shipTo.country}`
}

function printLabel({ customer, shipTo }: Order): string {
  const place = shipTo.postcode === null ? shipTo.city : `${shipTo.postcode.toUpperCase()} ${shipTo.city}`
  return `${customer.name}, ${shipTo.street}, ${place}, ${shipTo.country}`
}

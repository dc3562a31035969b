import { OrderCancelled, OrderShipped } from '../events.ts'
import type { Service } from '../service.ts'

/** Notifies each customer once. */
export const notifications: Service = {
  name: 'notifications',
  schema: `CREATE TABLE IF NOT EXISTS mails (order_id TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID`,

  consume({ bus, state, duplicate }) {
    const insert = state.prepare('INSERT INTO mails VALUES (?, ?) ON CONFLICT DO NOTHING')

    return [
      bus.consume(OrderShipped, ({ data }) => {
        const sent = insert.run(data.orderId, `Parcel ${data.parcelId} is on its way to you.`)
        if (sent.changes === 0) duplicate()
      }),

      bus.consume(OrderCancelled, ({ data }) => {
        const sent = insert.run(data.orderId, `We are sorry: ${data.reason}.`)
        if (sent.changes === 0) duplicate()
      }),
    ]
  },
}

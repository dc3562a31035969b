import { DatabaseSync } from 'node:sqlite'
import { statePath } from './service.ts'

export interface Accounts {
  readonly shipped: number
  readonly cancelled: number
  readonly deadLettered: number
  /** Orders in none of these states, about which services disagree, or whose customer was not notified. */
  readonly missing: readonly string[]
  /** Orders with more than one parcel. */
  readonly shippedTwice: readonly string[]
}

/** Reads the databases of the services from outside, without taking part in the events. */
export interface Audit {
  /** How many orders have ended so far, and how many customers have been notified. */
  progress(): { readonly shipped: number; readonly cancelled: number; readonly notified: number }
  hasEnded(orderId: string): boolean
  /** Accounts for every single order. */
  close(placed: ReadonlySet<string>, deadLetters: ReadonlySet<string>): Accounts
}

/** The services must have started once, so that their databases exist. */
export function openAudit(stateDir: string): Audit {
  const [orders, shipping, notifications] = ['orders', 'shipping', 'notifications'].map(
    (service) => new DatabaseSync(statePath(stateDir, service), { readOnly: true, timeout: 5_000 }),
  ) as [DatabaseSync, DatabaseSync, DatabaseSync]
  const countByStatus = orders.prepare('SELECT status, COUNT(*) AS count FROM orders GROUP BY status')
  const countMails = notifications.prepare('SELECT COUNT(*) AS count FROM mails')
  const mailTo = notifications.prepare('SELECT 1 FROM mails WHERE order_id = ?')
  const statusOf = orders.prepare('SELECT status FROM orders WHERE order_id = ?')

  return {
    progress() {
      const counts = new Map(countByStatus.all().map((row) => [row['status'], Number(row['count'])]))
      return {
        shipped: counts.get('shipped') ?? 0,
        cancelled: counts.get('cancelled') ?? 0,
        notified: Number(countMails.get()?.['count']),
      }
    },

    hasEnded(orderId) {
      const status = statusOf.get(orderId)?.['status']
      return status === 'shipped' || status === 'cancelled'
    },

    close(placed, deadLetters) {
      const parcels = new Map<string, number>()
      for (const row of shipping.prepare('SELECT order_id, COUNT(*) AS count FROM parcels GROUP BY order_id').all())
        parcels.set(String(row['order_id']), Number(row['count']))

      let [shipped, cancelled, deadLettered] = [0, 0, 0]
      const missing: string[] = []
      for (const orderId of placed) {
        const status = statusOf.get(orderId)?.['status']
        const hasParcel = parcels.has(orderId)
        const isTold = mailTo.get(orderId) !== undefined
        if (status === 'shipped' && hasParcel && isTold) shipped++
        else if (status === 'cancelled' && !hasParcel && isTold) cancelled++
        else if (status !== 'shipped' && status !== 'cancelled' && deadLetters.has(orderId)) deadLettered++
        else missing.push(orderId)
      }
      const shippedTwice = [...parcels].filter(([, count]) => count > 1).map(([orderId]) => orderId)
      orders.close()
      shipping.close()
      notifications.close()
      return { shipped, cancelled, deadLettered, missing, shippedTwice }
    },
  }
}

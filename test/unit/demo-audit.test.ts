import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { openAudit } from '../../examples/order-flow/audit.ts'

let folder: string

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'busbar-audit-test-'))
})

afterEach(() => {
  rmSync(folder, { recursive: true, force: true })
})

/** The books of the services that are audited. */
function books(statuses: Record<string, string>, parcels: readonly string[], mails: readonly string[]): void {
  const orders = new DatabaseSync(join(folder, 'orders.db'))
  orders.exec('CREATE TABLE orders (order_id TEXT PRIMARY KEY, status TEXT NOT NULL)')
  for (const [id, status] of Object.entries(statuses))
    orders.prepare('INSERT INTO orders VALUES (?, ?)').run(id, status)
  orders.close()
  const shipping = new DatabaseSync(join(folder, 'shipping.db'))
  shipping.exec('CREATE TABLE parcels (parcel_id INTEGER PRIMARY KEY, order_id TEXT NOT NULL)')
  for (const id of parcels) shipping.prepare('INSERT INTO parcels (order_id) VALUES (?)').run(id)
  shipping.close()
  const notifications = new DatabaseSync(join(folder, 'notifications.db'))
  notifications.exec('CREATE TABLE mails (order_id TEXT PRIMARY KEY)')
  for (const id of mails) notifications.prepare('INSERT INTO mails VALUES (?)').run(id)
  notifications.close()
}

it('accounts for orders that ended well', () => {
  books({ a: 'shipped', b: 'cancelled', c: 'placed' }, ['a'], ['a', 'b'])
  const audit = openAudit(folder)
  expect(audit.progress()).toEqual({ shipped: 1, cancelled: 1, notified: 2 })
  expect(['a', 'b', 'c', 'd'].map((id) => audit.hasEnded(id))).toEqual([true, true, false, false])
  // d never came so far as to be in a book; its dead letter is all there is of it.
  expect(audit.close(new Set(['a', 'b', 'c', 'd']), new Set(['c', 'd']))).toEqual({
    shipped: 1,
    cancelled: 1,
    deadLettered: 2,
    missing: [],
    shippedTwice: [],
  })
})

it('finds what is missing, what contradicts itself and what was sent twice', () => {
  const statuses = { stuck: 'placed', claimed: 'shipped', sent: 'cancelled', untold: 'cancelled', twice: 'shipped' }
  books(statuses, ['sent', 'twice', 'twice'], ['claimed', 'sent', 'twice'])
  const audit = openAudit(folder)
  expect(audit.close(new Set([...Object.keys(statuses), 'gone']), new Set())).toEqual({
    shipped: 1,
    cancelled: 0,
    deadLettered: 0,
    missing: ['stuck', 'claimed', 'sent', 'untold', 'gone'],
    shippedTwice: ['twice'],
  })
})

it('does not count an order twice that has a dead letter and ended anyway', () => {
  books({ a: 'shipped' }, ['a'], ['a'])
  const audit = openAudit(folder)
  expect(audit.close(new Set(['a']), new Set(['a']))).toMatchObject({ shipped: 1, deadLettered: 0, missing: [] })
})

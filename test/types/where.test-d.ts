import { createBus, defineConsumer, defineEvent, defineEvents } from 'busbar'
import type { Where } from 'busbar'
import { memory } from 'busbar/memory'

interface Order {
  readonly status: 'open' | 'paid'
  readonly total: number
  readonly note?: string
  readonly coupon: string | null
  readonly tags: readonly string[]
  readonly address: { readonly zip: string }
  readonly items: readonly { readonly sku: string; readonly count: number }[]
  readonly placedAt: Date
  readonly isGift: boolean
}

const OrderPlaced = defineEvent<Order>('orders.placed')
const OrderPaid = defineEvent<{ readonly by: string }>('orders.paid')
const bus = createBus({ service: 'billing', transport: memory() })

// --- what may be written ------------------------------------------------------------------------------------------

const accepted: readonly Where<Order>[] = [
  { status: 'paid', total: { gte: 100, lt: 1_000 } },
  { status: ['open', 'paid'], coupon: null },
  { status: { not: 'open' }, note: { exists: false } },
  { note: ['gift', null, { exists: false }] },
  { tags: 'vip', address: { zip: { prefix: '10' } } },
  { items: { sku: 'x', count: { gt: 1 } }, placedAt: { exists: true }, isGift: true },
  { $key: { prefix: 'eu-' }, $type: ['a', 'b'], $subject: { exists: false }, $headers: { tenant: 'a' } },
  { $or: [{ total: 1 }, { $not: { $key: 'a' } }], $and: [{ status: 'open' }] },
]
const anything: Where = { whatever: { nested: { gt: 1 } }, $key: 'a' }

bus.consume(OrderPlaced, () => {}, { where: { status: 'paid' } })
bus.consume(OrderPlaced, () => [], { where: { status: 'paid' }, batch: { size: 10 } })
bus.consume('orders.placed', () => {}, { where: anything })
bus.consume(defineEvents('orders.*', [OrderPlaced, OrderPaid]), () => {}, { where: { by: 'card' } })
bus.consume(defineConsumer({ topic: OrderPlaced, where: accepted[0], handle: (message) => message.data.total }))

// --- what is a mistake ----------------------------------------------------------------------------------------------

// @ts-expect-error a field that the data does not have
bus.consume(OrderPlaced, () => {}, { where: { state: 'paid' } })
// @ts-expect-error a value that the field can't have
bus.consume(OrderPlaced, () => {}, { where: { status: 'done' } })
// @ts-expect-error an operator that is not known
bus.consume(OrderPlaced, () => {}, { where: { total: { above: 5 } } })
// @ts-expect-error an operator of another type
bus.consume(OrderPlaced, () => {}, { where: { total: { prefix: '5' } } })
// @ts-expect-error no coercion
bus.consume(OrderPlaced, () => {}, { where: { total: '5' } })
// @ts-expect-error a nested field that is not there
bus.consume(OrderPlaced, () => {}, { where: { address: { city: 'x' } } })
// @ts-expect-error a field of an element that is not there
bus.consume(OrderPlaced, () => {}, { where: { items: { price: 1 } } })
// @ts-expect-error an attribute of another type
bus.consume(OrderPlaced, () => {}, { where: { $key: 5 } })
// @ts-expect-error inside of logic, too
bus.consume(OrderPlaced, () => {}, { where: { $or: [{ state: 'paid' }] } })
// @ts-expect-error of an event definition, by its own data
defineConsumer({ topic: OrderPaid, where: { status: 'paid' }, handle: () => {} })
// @ts-expect-error an attribute is one of the message, not of a field
bus.consume(OrderPlaced, () => {}, { where: { address: { $key: 'a' } } })

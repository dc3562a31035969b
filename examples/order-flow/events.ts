import { defineEvent } from 'busbar'
import type { Codec, EventDefinition } from 'busbar'
import { z } from 'zod'

/** One line of the input file. */
export const Order = z.object({
  orderId: z.string().min(1).max(64),
  placedAt: z.iso.datetime(),
  customer: z.object({ name: z.string().min(1), email: z.email() }),
  items: z
    .array(z.object({ sku: z.string().min(1), quantity: z.int().positive(), unitCents: z.int().nonnegative() }))
    .min(1),
  currency: z.string().length(3),
  totalCents: z.int().nonnegative(),
  shipTo: z.object({
    street: z.string().min(1),
    city: z.string().min(1),
    /** Null in places without postcodes, such as Hong Kong. One of the services can't handle that. */
    postcode: z.string().nullable().default(null),
    country: z.string().length(2),
  }),
})
export type Order = z.output<typeof Order>

/** Prefix of all topics, so that the demo can run on a shared broker. */
export const TOPICS = 'order-flow'

// The order's id is the key of every event: events of one order are handled in order, different orders in parallel.
const key = (data: { readonly orderId: string }): string => data.orderId
const orderId = z.string()
const reason = z.string()

export const OrderSubmitted = defineEvent(`${TOPICS}.orders.submitted`, Order, { key })
export const OrderPlaced = defineEvent(`${TOPICS}.orders.placed`, Order, { key })
export const OrderCancelled = defineEvent(`${TOPICS}.orders.cancelled`, z.object({ orderId, reason }), { key })

export const PaymentTaken = defineEvent(
  `${TOPICS}.payments.taken`,
  z.object({ orderId, paymentId: z.string(), order: Order }),
  { key },
)
export const PaymentDeclined = defineEvent(`${TOPICS}.payments.declined`, z.object({ orderId, reason }), { key })
export const PaymentRefunded = defineEvent(`${TOPICS}.payments.refunded`, z.object({ orderId, reason }), { key })

export const StockReserved = defineEvent(`${TOPICS}.inventory.reserved`, z.object({ orderId, order: Order }), { key })
export const OutOfStock = defineEvent(`${TOPICS}.inventory.out-of-stock`, z.object({ orderId, sku: z.string() }), {
  key,
})

export const OrderShipped = defineEvent(`${TOPICS}.shipping.shipped`, z.object({ orderId, parcelId: z.int() }), { key })

// What a broken foreign producer sends: bytes that claim to be JSON.
const unchecked: Codec = {
  contentType: 'application/json',
  encode: (text) => Buffer.from(String(text)),
  decode: (body) => Buffer.from(body).toString(),
}

/** The topic of `OrderSubmitted` as a broken producer uses it: with any text, neither validated nor well-formed. */
export const UncheckedSubmission: EventDefinition<string> = defineEvent<string>(OrderSubmitted.topic, {
  codec: unchecked,
})

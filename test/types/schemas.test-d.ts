import { type } from 'arktype'
import { defineConsumer, defineEvent } from 'busbar'
import type { Bus, EventDefinition, Message } from 'busbar'
import * as v from 'valibot'
import { z } from 'zod'
import { sameType } from './same-type.ts'

declare const bus: Bus

// What is published is the schema's input, what is handled its output: each library infers both.

interface Output {
  orderId: string
  total: number
  placedAt: Date
}

const withZod = defineEvent(
  'orders.placed',
  z.object({
    orderId: z.string(),
    total: z.number().default(0),
    placedAt: z.string().transform((text) => new Date(text)),
  }),
  {
    key: (order) => {
      sameType<{ orderId: string; placedAt: string; total?: number | undefined }>()(order)
      return order.orderId
    },
  },
)
sameType<EventDefinition<{ orderId: string; placedAt: string; total?: number | undefined }, Output>>()(withZod)

const withValibot = defineEvent(
  'orders.placed',
  v.object({
    orderId: v.string(),
    total: v.optional(v.number(), 0),
    placedAt: v.pipe(
      v.string(),
      v.transform((text) => new Date(text)),
    ),
  }),
  { key: (order) => order.orderId },
)
sameType<EventDefinition<{ orderId: string; total?: number | undefined; placedAt: string }, Output>>()(withValibot)

const withArktype = defineEvent(
  'orders.placed',
  type({ orderId: 'string', total: 'number = 0', placedAt: 'string.date.parse' }),
  { key: (order) => order.orderId },
)
sameType<EventDefinition<{ orderId: string; placedAt: string; total?: number }, Output>>()(withArktype)

for (const event of [withZod, withValibot, withArktype] as const) {
  void bus.publish(event, { orderId: 'ord-1', placedAt: '2030-01-01' })
  void bus.publish(event, { orderId: 'ord-1', placedAt: '2030-01-01', total: 42 })
}

bus.consume(withZod, (message) => sameType<Message<Output>>()(message))
bus.consume(withValibot, (message) => sameType<Message<Output>>()(message))
bus.consume(withArktype, (message) => sameType<Message<Output>>()(message))

bus.consume(withZod, (messages) => sameType<readonly Message<Output>[]>()(messages), { batch: { size: 10 } })
bus.consume(withValibot, (messages) => sameType<readonly Message<Output>[]>()(messages), { batch: { size: 10 } })
bus.consume(withArktype, (messages) => sameType<readonly Message<Output>[]>()(messages), { batch: { size: 10 } })

defineConsumer({ topic: withZod, handle: (message) => sameType<Output>()(message.data) })
defineConsumer({ topic: withValibot, handle: (message) => sameType<Output>()(message.data) })
defineConsumer({ topic: withArktype, handle: (message) => sameType<Output>()(message.data) })
defineConsumer({
  topic: withZod,
  batch: { size: 10 },
  handleBatch: (messages) => sameType<readonly Message<Output>[]>()(messages),
})

// @ts-expect-error a number is no order id
void bus.publish(withZod, { orderId: 1, placedAt: '2030-01-01' })
// @ts-expect-error a number is no order id
void bus.publish(withValibot, { orderId: 1, placedAt: '2030-01-01' })
// @ts-expect-error a number is no order id
void bus.publish(withArktype, { orderId: 1, placedAt: '2030-01-01' })

// @ts-expect-error the output is not the input
void bus.publish(withZod, { orderId: 'ord-1', placedAt: new Date(), total: 1 })
// @ts-expect-error something is missing
void bus.publish(withZod, { orderId: 'ord-1' })
// @ts-expect-error there is no such field
void bus.publish(withZod, { orderId: 'ord-1', placedAt: '2030-01-01', totl: 1 })
// @ts-expect-error data is required
void bus.publish(withZod)

// @ts-expect-error a key is a string
defineEvent('orders.placed', z.object({ total: z.number() }), { key: (order) => order.total })
// @ts-expect-error there is no such field to take the key from
defineEvent('orders.placed', z.object({ total: z.number() }), { key: (order) => order.orderId })
// @ts-expect-error a schema is needed, not any object
defineEvent('orders.placed', { orderId: 'string' }, { key: () => '' })
// @ts-expect-error there is no such option
defineEvent('orders.placed', z.object({}), { verson: 2 })

// @ts-expect-error the handler wants something else than the event has
bus.consume(withZod, (message: Message<{ orderId: number }>) => message)

// Schemas of single values.
const Count = defineEvent('counts.taken', z.number())
void bus.publish(Count, 3)
// @ts-expect-error a string is no number
void bus.publish(Count, '3')
bus.consume(Count, (message) => sameType<number>()(message.data))

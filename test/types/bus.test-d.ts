import { createBus, defineConsumer, defineEvent, defineEvents, isEvent, PublishError, TimeoutError } from 'busbar'
import type {
  AnyConsumerDefinition,
  AnyEventDefinition,
  BatchHandler,
  Bus,
  BusbarError,
  BusExtension,
  BusSnapshot,
  ConsumeOptions,
  ConsumerHandle,
  EventDefinition,
  Handler,
  HandlerContext,
  Message,
  Middleware,
  OutgoingMessage,
  Position,
  PublishMiddleware,
  PublishReceipt,
  PublishResult,
  Transport,
} from 'busbar'
import { circuitBreaker, dedupe, logger, throttle, timeout } from 'busbar/middleware'
import type { CircuitState, DedupeStore } from 'busbar/middleware'
import { batchInTransaction, inTransaction } from 'busbar/stores'
import type { UnitOfWork } from 'busbar/stores'
import { memoryDedupeStore } from 'busbar/stores/memory'
import { postgresDedupeStore, postgresUnitOfWork } from 'busbar/stores/postgres'
import { redisDedupeStore } from 'busbar/stores/redis'
import { Cluster, Redis } from 'ioredis'
import type { Pool, PoolClient } from 'pg'
import postgres from 'postgres'
import { createClient, createClientPool, createCluster } from 'redis'
import { sameType } from './same-type.ts'

declare const bus: Bus
declare const transport: Transport

interface Order {
  readonly orderId: string
  readonly total: number
}

const OrderPlaced = defineEvent<Order>('orders.placed', { key: (order) => order.orderId })
const OrderPaid = defineEvent<{ readonly orderId: string }>('orders.paid')

// --- a definition without a schema: the type is the caller's word ----------------------------------------------------

sameType<EventDefinition<Order>>()(OrderPlaced)
sameType<EventDefinition>()(defineEvent('orders.placed'))
sameType<Promise<PublishReceipt>>()(bus.publish(OrderPlaced, { orderId: 'ord-1', total: 1 }))
// @ts-expect-error something is missing
void bus.publish(OrderPlaced, { orderId: 'ord-1' })
// @ts-expect-error one event is not another one
const other: EventDefinition<Order> = OrderPaid
const any: readonly AnyEventDefinition[] = [OrderPlaced, OrderPaid, other]

// --- a plain topic: anything goes in, nobody knows what comes out -----------------------------------------------------

void bus.publish('orders.placed', { anything: [1, 'two'] }, { key: 'k', headers: { a: 'b' }, delayMs: 10 })
void bus.publish('orders.placed', null)
bus.consume('orders.>', (message) => sameType<unknown>()(message.data))
bus.consume('orders.>', (messages) => sameType<readonly Message[]>()(messages), { batch: { size: 2 } })
// @ts-expect-error there is no such option
void bus.publish('orders.placed', {}, { delay: 10 })
// @ts-expect-error header values are strings
void bus.publish('orders.placed', {}, { headers: { retries: 1 } })

// --- many at once ------------------------------------------------------------------------------------------------------

const results = bus.publishMany(OrderPlaced, [{ data: { orderId: 'ord-1', total: 1 }, key: 'k' }])
sameType<Promise<readonly PublishReceipt[]>>()(results)
const maybe = bus.publishMany(OrderPlaced, [{ data: { orderId: 'ord-1', total: 1 } }], { allowFailures: true })
sameType<Promise<readonly PublishResult[]>>()(maybe)
sameType<Promise<readonly PublishResult[]>>()(bus.publishMany('orders', [{ data: 1 }], { allowFailures: true }))
sameType<Promise<readonly PublishReceipt[]>>()(bus.publishMany('orders', [{ data: 1 }], { allowFailures: false }))
// @ts-expect-error one of the items does not fit
void bus.publishMany(OrderPlaced, [{ data: { orderId: 'ord-1', total: 1 } }, { data: { orderId: 2, total: 1 } }])
for (const { position } of await results) sameType<Position | undefined>()(position)
for (const result of await maybe) {
  if (result.error === undefined) sameType<Position | undefined>()(result.position)
  else sameType<Error>()(result.error)
}

// --- handlers ----------------------------------------------------------------------------------------------------------

sameType<ConsumerHandle>()(bus.consume(OrderPlaced, () => {}))
bus.consume(OrderPlaced, async (message, ctx) => {
  sameType<Message<Order>>()(message)
  sameType<HandlerContext>()(ctx)
  sameType<AbortSignal>()(ctx.signal)
  await ctx.publish(OrderPaid, { orderId: message.data.orderId })
  await ctx.publish('orders.audited', { by: 'me' })
  sameType<readonly PublishReceipt[]>()(await ctx.publishMany(OrderPaid, [{ data: { orderId: '1' } }]))
  sameType<readonly PublishResult[]>()(await ctx.publishMany('x', [{ data: 1 }], { allowFailures: true }))
  // @ts-expect-error that is no OrderPaid
  await ctx.publish(OrderPaid, { orderId: 1 })
  // @ts-expect-error messages are for reading
  message.headers['x'] = 'y'
  // @ts-expect-error messages are for reading
  message.id = '1'
})
// Ending an attempt by ctx.reject or ctx.retry ends the function for the compiler, too.
const totalOf: Handler<Order> = (message, ctx): number => {
  if (message.data.total > 0) return message.data.total
  if (ctx.attempt > 3) return ctx.reject('no total', { cause: new Error('why') })
  return ctx.retry({ delayMs: 10, countAttempt: false })
}
bus.consume(OrderPlaced, totalOf)
bus.consume(
  OrderPlaced,
  (messages, ctx) =>
    messages.map((message, index) => (message.data.total > ctx.attempt(index) ? true : new Error('no'))),
  { batch: { size: 100, timeoutMs: 5 } },
)
// @ts-expect-error without `batch` there is one message
bus.consume(OrderPlaced, (messages) => messages.map((message) => message.id))
// @ts-expect-error a batch handler says "true", nothing or an error of each message
bus.consume(OrderPlaced, () => ['done'], { batch: { size: 2 } })
// @ts-expect-error there is no such option
bus.consume(OrderPlaced, () => {}, { concurency: 3 })
// @ts-expect-error there is no such backoff
bus.consume(OrderPlaced, () => {}, { retry: { backoff: 'linear' } })

// --- consumers in files ------------------------------------------------------------------------------------------------

const billing = defineConsumer({
  topic: OrderPlaced,
  concurrency: 10,
  retry: { retryIf: (error, message, attempt) => error instanceof TypeError && message.id !== '' && attempt < 3 },
  handle: (message) => sameType<Order>()(message.data),
})
sameType<AnyConsumerDefinition>()(billing)
const audit = defineConsumer({ topic: 'orders.>', handle: (message) => sameType<unknown>()(message.data) })
createBus({ service: 'billing', transport, consumers: [billing, audit] })
bus.consume(billing)
// @ts-expect-error a service has a name
createBus({ transport })
// @ts-expect-error there is no such option
createBus({ service: 'billing', transport, consumer: [] })

// @ts-expect-error a batch handler needs a batch size
defineConsumer({ topic: OrderPlaced, handleBatch: () => {} })
// @ts-expect-error a handler for single messages has no batch
defineConsumer({ topic: OrderPlaced, handle: () => {}, batch: { size: 2 } })
// @ts-expect-error nobody handles it
defineConsumer({ topic: OrderPlaced })
// @ts-expect-error nobody handles it
bus.consume(OrderPlaced)

// --- several events -----------------------------------------------------------------------------------------------------

const OrderEvents = defineEvents('orders.*', [OrderPlaced, OrderPaid])
bus.consume(OrderEvents, (message, ctx) => {
  sameType<Message<Order> | Message<{ readonly orderId: string }>>()(message)
  sameType<HandlerContext>()(ctx)
  if (isEvent(message, OrderPlaced)) sameType<number>()(message.data.total)
  // @ts-expect-error only one of the two has a total
  else void message.data.total
})
bus.consume(
  OrderEvents,
  (messages) => {
    for (const { data } of messages) sameType<string>()(data.orderId)
  },
  {
    batch: { size: 2 },
  },
)
defineConsumer({ topic: OrderEvents, handle: (message) => sameType<string>()(message.data.orderId) })
sameType<typeof OrderEvents>()(defineEvents('orders.*', [OrderPlaced, OrderPaid], { others: 'skip' }))
// @ts-expect-error there is no such choice
defineEvents('orders.*', [OrderPlaced], { others: 'drop' })
// @ts-expect-error several events can't be published as one
void bus.publish(OrderEvents, { orderId: '1' })

// --- middleware --------------------------------------------------------------------------------------------------------

const own: Middleware = (next) => (message, ctx) => next(message, ctx)
const breaker = circuitBreaker({ onStateChange: ({ to }) => sameType<CircuitState>()(to) })
sameType<CircuitState>()(breaker.state)
// @ts-expect-error the state is for reading
breaker.state = 'closed'
const store: DedupeStore = memoryDedupeStore()
const chain: ConsumeOptions['middleware'] = [
  own,
  logger({ logger: console }),
  dedupe({ store, key: (message) => message.id }),
  breaker,
  throttle({ perSecond: 5, key: (message) => message.key ?? '' }),
  timeout({ ms: 100 }),
]
bus.consume(OrderPlaced, () => {}, { middleware: chain ?? [] })
// @ts-expect-error the factory was not called
bus.consume(OrderPlaced, () => {}, { middleware: [throttle] })
// @ts-expect-error a store is needed
dedupe({ ttlMs: 5 })

bus.consume(OrderPlaced, (messages) => sameType<readonly Message<Order>[]>()(messages), {
  batch: { size: 2 },
  middleware: [
    (next) => (messages, ctx) => {
      sameType<readonly Message[]>()(messages)
      return next(messages, ctx)
    },
  ],
})
defineConsumer({
  topic: OrderPlaced,
  handleBatch: () => {},
  batch: { size: 2 },
  middleware: [(next) => (messages, ctx) => next(messages.slice(), ctx)],
})
// @ts-expect-error a batch handler has batch middleware
bus.consume(OrderPlaced, (messages) => messages.map(() => true), { batch: { size: 2 }, middleware: [own] })
// @ts-expect-error a handler has no batch middleware
bus.consume(OrderPlaced, () => {}, { middleware: [(next: BatchHandler): BatchHandler => next] })
const tagged: PublishMiddleware = (next) => (call) => {
  sameType<string>()(call.items[0]?.id ?? '')
  // @ts-expect-error a call is for reading
  call.topic = 'other'
  return next({ ...call, items: call.items.map((item) => ({ ...item, headers: { ...item.headers, tag: 'a' } })) })
}
// @ts-expect-error a step returns results
const forgetful: PublishMiddleware = (next) => async (call) => void (await next(call))
createBus({ service: 'billing', transport, publishMiddleware: [tagged, forgetful] })

// --- raw port ----------------------------------------------------------------------------------------------------------

const encoded = bus.encode(OrderPlaced, { orderId: 'ord-1', total: 1 }, { delayMs: 5 })
sameType<Promise<OutgoingMessage>>()(encoded)
// @ts-expect-error something is missing
void bus.encode(OrderPlaced, { orderId: 'ord-1' })
void bus.encode('orders.placed', 1)

// --- transactions: typed as bus.publish; what concerns all messages is said once -----------------------------------------

sameType<Promise<number>>()(
  bus.transaction(async (tx) => {
    sameType<Promise<PublishReceipt>>()(tx.publish(OrderPlaced, { orderId: 'ord-1', total: 1 }, { key: 'k' }))
    sameType<Promise<readonly PublishReceipt[]>>()(tx.publishMany(OrderPaid, [{ data: { orderId: 'ord-1' }, id: 'a' }]))
    await tx.publish('audit', { anything: true })
    // @ts-expect-error something is missing
    void tx.publish(OrderPlaced, { orderId: 'ord-1' })
    // @ts-expect-error one transaction, one transport
    void tx.publish('audit', 1, { transport: 'other' })
    // @ts-expect-error the signal is that of the transaction
    void tx.publish('audit', 1, { signal: AbortSignal.timeout(1) })
    return 5
  }),
)
sameType<Promise<void>>()(bus.transaction(() => {}, { transport: 'other', signal: AbortSignal.timeout(1) }))
bus.consume(OrderPlaced, () => {}, { guarantee: 'exactly-once' })
// @ts-expect-error a batch handler publishes nothing
bus.consume(OrderPlaced, () => [], { batch: { size: 5 }, guarantee: 'exactly-once' })
sameType<Promise<readonly PublishResult[]>>()(bus.sendEncoded([await encoded], { transport: 'other' }))

// --- observers ---------------------------------------------------------------------------------------------------------

const unobserve = bus.observe({
  publishStart: () => 1,
  publishEnd: (publish, { failures }, state) => {
    sameType<number>()(state)
    sameType<number>()(failures.size + publish.messages.length)
  },
  handleStart: ({ id }) => id,
  handleEnd: (_message, ctx, { ok }, state) => {
    sameType<string>()(state)
    sameType<string>()(ctx.transport.system)
    sameType<boolean>()(ok)
  },
})
sameType<() => void>()(unobserve)
// --- extensions ----------------------------------------------------------------------------------------------------------

const relay = {
  name: 'relay',
  start: (started: Bus) => void started.publish('relay.started', 1),
  drain: async () => {},
  close: ({ deadlineMs }: { deadlineMs: number }) => void deadlineMs,
  health: () => ({ status: 'degraded', detail: 'slow' }) as const,
  snapshot: () => ({ rows: 3 }),
  rows: 3,
}
sameType<Promise<void>>()(bus.use(relay))
const extensions: readonly BusExtension[] = [relay, { name: 'nothing' }]
createBus({ service: 'billing', transport, extensions })
// @ts-expect-error an extension has a name
void bus.use({ start: () => {} })
// @ts-expect-error there is no such status
void bus.use({ name: 'a', health: () => ({ status: 'fine' }) })
sameType<BusSnapshot>()(bus.snapshot())
sameType<number>()(bus.snapshot().published.others.confirmed)

// --- events and errors -------------------------------------------------------------------------------------------------

const off = bus.events.on('ack', (event) => sameType<number>()(event.durationMs))
sameType<() => void>()(off)
bus.events.on('retry', ({ mode }) => sameType<'inline' | 'delayed'>()(mode))
bus.events.onAny((name) => name satisfies string)
// @ts-expect-error there is no such event
bus.events.on('acked', () => {})

try {
  await bus.publish(OrderPlaced, { orderId: 'ord-1', total: 1 })
} catch (error) {
  if (PublishError.is(error)) sameType<'not-sent' | 'unknown'>()(error.outcome)
  else if (TimeoutError.is(error)) error satisfies BusbarError
  // @ts-expect-error nothing is known of it
  else error.code satisfies string
}

await using scoped = createBus({ service: 'scoped', transport })
void [any, scoped, totalOf]

// --- a handler in a transaction: the data comes from the event, the transaction from the unit of work ----------------

interface Tx {
  readonly isTx: true
}
declare const unitOfWork: UnitOfWork<Tx>

bus.consume(
  OrderPlaced,
  inTransaction(unitOfWork, (message, ctx) => {
    sameType<Order>()(message.data)
    sameType<Tx>()(ctx.tx)
    sameType<number>()(ctx.attempt)
  }),
)
bus.consume(
  OrderPlaced,
  batchInTransaction(unitOfWork, (messages, ctx) => {
    sameType<readonly Message<Order>[]>()(messages)
    sameType<Tx>()(ctx.tx)
    return messages.map(() => true as const)
  }),
  { batch: { size: 10, timeoutMs: 10 } },
)
bus.consume(
  'orders.placed',
  inTransaction(unitOfWork, (message) => sameType<unknown>()(message.data)),
)
const inBatches: BatchHandler = batchInTransaction(unitOfWork, () => {})
// @ts-expect-error -- a batch handler needs batch options
bus.consume(OrderPlaced, inBatches)

// --- stores take the clients of the libraries as they are ------------------------------------------------------------

declare const pool: Pool
postgresDedupeStore({ client: pool })
postgresDedupeStore({ client: postgres('') })
sameType<UnitOfWork<PoolClient>>()(postgresUnitOfWork({ client: pool }))
redisDedupeStore({ client: createClient() })
redisDedupeStore({ client: createCluster({ rootNodes: [] }) })
redisDedupeStore({ client: createClientPool() })
redisDedupeStore({ client: new Redis() })
redisDedupeStore({ client: new Cluster([]) })
// @ts-expect-error -- its connections are not for transactions
postgresUnitOfWork({ client: postgres('') })

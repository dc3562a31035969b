import { AsyncLocalStorage } from 'node:async_hooks'
import { createBus, PublishError } from 'busbar'
import type { PublishMiddleware } from 'busbar'
import { memory } from 'busbar/memory'

const requests = new AsyncLocalStorage<{ tenant: string }>()

/** Adds a header to every message. */
const tenant: PublishMiddleware = (next) => (call) => {
  const name = requests.getStore()?.tenant ?? 'none'
  return next({ ...call, items: call.items.map((item) => ({ ...item, headers: { ...item.headers, tenant: name } })) })
}

/** Refuses, by throwing: nothing is sent. */
const guard: PublishMiddleware = (next) => (call) => {
  if (call.topic.startsWith('internal.') && requests.getStore() !== undefined)
    throw new Error(`a request may not publish to ${call.topic}`)
  return next(call)
}

/** Sends what was certainly not sent once more. */
const retry: PublishMiddleware = (next) => async (call) => {
  const results = await next(call)
  const isWorthIt = results.every(
    ({ error }) => PublishError.is(error) && error.retryable && error.outcome === 'not-sent',
  )
  return isWorthIt ? next(call) : results
}

const transport = memory()
const bus = createBus({ service: 'shop', transport, publishMiddleware: [guard, retry, tenant] })
await bus.start()

await requests.run({ tenant: 'acme' }, async () => {
  await bus.publishMany('orders.placed', [{ data: { orderId: 'ord-1' } }, { data: { orderId: 'ord-2' } }])
  await bus.publish('internal.reset', {}).catch((error: Error) => console.log(`refused: ${error.message}`))
})
for (const { headers } of transport.messages('orders.placed')) console.log(`tenant ${headers['tenant']}`)

// Encode now, send later, perhaps from a table in another process.
const stored = await bus.encode('orders.placed', { orderId: 'ord-3' })
const [result] = await bus.sendEncoded([stored])
console.log(result?.error ?? `sent ${stored.topic}, ${stored.body?.byteLength ?? 0} bytes`)
await bus.close()

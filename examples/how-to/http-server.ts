import { createServer } from 'node:http'
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createBus, defineEvent, PublishError, ValidationError } from 'busbar'
import type { Bus } from 'busbar'
import { memory } from 'busbar/memory'
import { z } from 'zod'

const OrderPlaced = defineEvent('orders.placed', z.object({ orderId: z.string() }), { key: (order) => order.orderId })

/** 202 when the broker has the order, 400 when the body is not a valid order, 503 when the broker can't be reached. */
async function place(bus: Bus, body: unknown): Promise<{ readonly status: number; readonly answer: object }> {
  try {
    const { id } = await bus.publish(OrderPlaced, body as { orderId: string })
    return { status: 202, answer: { id } }
  } catch (error) {
    if (ValidationError.is(error)) return { status: 400, answer: { problem: error.message } }
    if (PublishError.is(error)) return { status: 503, answer: { problem: error.message, outcome: error.outcome } }
    throw error
  }
}

function serve(bus: Bus): Server {
  return createServer((request, response) => {
    const answer = async (): Promise<void> => {
      const chunks: Buffer[] = []
      for await (const chunk of request) chunks.push(chunk as Buffer)
      const result = await place(bus, JSON.parse(Buffer.concat(chunks).toString('utf8')))
      response.writeHead(result.status, { 'content-type': 'application/json' }).end(JSON.stringify(result.answer))
    }
    answer().catch((error: unknown) => response.writeHead(500).end(String(error)))
  })
}

const bus = createBus({ service: 'shop', transport: memory() })
bus.consume(OrderPlaced, (message) => console.log(`handling ${message.data.orderId}`))
await bus.start()
const server = serve(bus).listen(0, '127.0.0.1')
await new Promise((resolve) => server.once('listening', resolve))

const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
const handled = bus.events.once('ack')
for (const order of [{ orderId: 'ord-1' }, { orderId: 1 }]) {
  const response = await fetch(url, { method: 'POST', body: JSON.stringify(order) })
  console.log(response.status)
}
await handled

// Order matters: no new requests, then no new messages.
server.close()
server.closeAllConnections()
await bus.close()

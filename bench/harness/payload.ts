/** The body of every message that carries JSON, ours and the peers': what an order event looks like. */
export interface Order {
  readonly orderId: string
  readonly customer: string
  readonly total: number
  readonly note: string
}

function orderOf(index: number, bytes: number): Order {
  const order = {
    orderId: `ord-${String(index).padStart(8, '0')}`,
    customer: `cus-${String((index * 7919) % 100_000).padStart(5, '0')}`,
    total: 1000 + (index % 9000),
    note: '',
  }
  return { ...order, note: 'x'.repeat(bytes - JSON.stringify(order).length) }
}

/** `count` orders whose JSON is exactly `bytes` long each. Made before the clock starts: data is not what we measure. */
export function makeOrders(count: number, bytes: number): readonly Order[] {
  return Array.from({ length: count }, (_, index) => orderOf(index, bytes))
}

/** The same as bytes, for the cases without a codec. */
export function makeBodies(count: number, bytes: number): readonly Buffer[] {
  return makeOrders(count, bytes).map((order) => Buffer.from(JSON.stringify(order)))
}

import type { Bus, PublishItem } from 'busbar'
import { OrderSubmitted, UncheckedSubmission } from './events.ts'
import type { Order } from './events.ts'
import type { OrderLine } from './order-file.ts'

const CHUNK = 500

export interface FeedOptions {
  /** Prefix of every correlation id. */
  readonly run: string
  /** Number of the order that is cut in half when published, as if its producer had died: the poison message. 0 for none. */
  readonly poison: number
  /** Called with the ids of confirmed orders. A line that is not an order is identified by its number. */
  readonly onPlaced: (ids: readonly string[]) => void
}

/** Publishes the lines in order. Resolves when the broker has confirmed all of them. */
export async function feed(bus: Bus, lines: AsyncIterable<OrderLine>, options: FeedOptions): Promise<void> {
  let good: PublishItem<Order>[] = []
  let bad: PublishItem<string>[] = []
  let count = 0

  async function flush(): Promise<void> {
    await bus.publishMany(OrderSubmitted, good)
    await bus.publishMany(UncheckedSubmission, bad)
    options.onPlaced([...good.map((item) => item.data.orderId), ...bad.map((item) => item.key ?? '')])
    good = []
    bad = []
  }

  for await (const line of lines) {
    const id = line.order?.orderId ?? `line-${line.number}`
    const correlationId = `${options.run}/${id}`
    count++
    if (line.order === undefined) bad.push({ data: line.text, key: id, correlationId })
    else if (count === options.poison) bad.push({ data: half(JSON.stringify(line.order)), key: id, correlationId })
    else good.push({ data: line.order, correlationId })
    if (good.length + bad.length === CHUNK) await flush()
  }
  await flush()
}

function half(text: string): string {
  return text.slice(0, text.length / 2)
}

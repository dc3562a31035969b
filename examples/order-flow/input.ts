import { createWriteStream } from 'node:fs'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import type { Arguments } from './arguments.ts'
import { generateOrders } from './generate-orders.ts'
import { checkOrders } from './order-file.ts'

const DEFAULT_ORDERS = 10_000

/** The file to read and how many of its lines: the user's file, already checked, or a generated one. */
export async function prepareInput(
  { input, orders, tolerant }: Arguments,
  folder: string,
): Promise<{ readonly path: string; readonly total: number }> {
  if (input !== undefined) return { path: input, total: await checkOrders(input, orders ?? Infinity, tolerant) }
  const path = join(folder, 'orders.ndjson')
  const total = orders ?? DEFAULT_ORDERS
  await pipeline(Readable.from(lines(total)), createWriteStream(path))
  return { path, total }
}

function* lines(total: number): Generator<string> {
  for (const order of generateOrders(total)) yield `${JSON.stringify(order)}\n`
}

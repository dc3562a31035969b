import { createReadStream } from 'node:fs'
import { open, stat } from 'node:fs/promises'
import { createInterface } from 'node:readline'
import { Order } from './events.ts'
import { InputError } from './input-error.ts'

/** One line of the file: a valid order, or invalid text with the reason. */
export type OrderLine =
  | { readonly number: number; readonly order: Order }
  | { readonly number: number; readonly order: undefined; readonly text: string; readonly problem: string }

/** Reads up to `limit` lines of an NDJSON file of orders. Empty lines don't count. */
export async function* readOrders(path: string, limit: number): AsyncGenerator<OrderLine> {
  const lines = createInterface({ input: createReadStream(path), crlfDelay: Infinity })
  let number = 0
  let found = 0
  for await (const raw of lines) {
    number++
    const text = number === 1 ? raw.replace(/^\ufeff/, '') : raw
    if (text.trim() === '') continue
    yield parse(number, text)
    if (++found === limit) return
  }
}

/**
 * Reads the whole file before anything is published. Throws `InputError` with the first bad lines unless they are tolerated.
 * Duplicate order ids never are, since they can't be accounted for. Returns the number of lines.
 */
export async function checkOrders(path: string, limit: number, tolerant: boolean): Promise<number> {
  await checkReadable(path)
  const lineOf = new Map<string, number>()
  const problems: string[] = []
  let count = 0
  for await (const line of readOrders(path, limit)) {
    count++
    if (line.order === undefined) {
      if (!tolerant) problems.push(`${path}:${line.number}: ${line.problem}`)
      continue
    }
    const { orderId } = line.order
    const before = lineOf.get(orderId)
    if (before !== undefined) problems.push(`${path}:${line.number}: orderId "${orderId}" is already on line ${before}`)
    else lineOf.set(orderId, line.number)
  }
  if (problems.length > 0) throw new InputError(explain(problems, count))
  if (count === 0) throw new InputError(`${path} holds no orders: one JSON object a line is expected`)
  return count
}

async function checkReadable(path: string): Promise<void> {
  const info = await stat(path).catch((error: NodeJS.ErrnoException) => {
    throw new InputError(error.code === 'ENOENT' ? `${path} does not exist` : `${path} can't be read: ${error.message}`)
  })
  if (!info.isFile()) throw new InputError(`${path} is not a regular file, which is needed to read it twice`)
  const file = await open(path).catch((error: Error) => {
    throw new InputError(`${path} can't be read: ${error.message}`)
  })
  await file.close()
}

function explain(problems: readonly string[], count: number): string {
  const shown = problems.slice(0, 5).join('\n  ')
  const more = problems.length > 5 ? `\n  ... and ${problems.length - 5} more` : ''
  return (
    `${problems.length} of ${count} lines can't be taken, so nothing was published:\n  ${shown}${more}\n` +
    'Correct them, or publish malformed lines as they are with --tolerant: they end as dead letters.'
  )
}

function parse(number: number, text: string): OrderLine {
  let data: unknown
  try {
    data = JSON.parse(text)
  } catch (error) {
    return { number, order: undefined, text, problem: `not valid JSON: ${(error as Error).message}` }
  }
  const result = Order.safeParse(data)
  if (result.success) return { number, order: result.data }
  const problem = result.error.issues
    .map((issue) => (issue.path.length === 0 ? issue.message : `${issue.path.join('.')}: ${issue.message}`))
    .join('; ')
  return { number, order: undefined, text, problem: `not a valid order: ${problem}` }
}

import type { OutgoingMessage } from './message.ts'

/** Maximum number of asynchronous schemas of one `publishMany` that run at once. */
const MAX_AT_ONCE = 32

/**
 * Makes a message of each item. Synchronous unless a schema is asynchronous; then a bounded number of schemas run at once. An
 * item that fails has its error in its place. Never throws.
 */
export function makeMany<Item>(
  items: readonly Item[],
  make: (item: Item) => OutgoingMessage | Promise<OutgoingMessage>,
): (OutgoingMessage | Error)[] | Promise<(OutgoingMessage | Error)[]> {
  const made: (OutgoingMessage | Error)[] = Array.from({ length: items.length })
  for (let index = 0; index < items.length; index++) {
    try {
      const one = make(items[index] as Item)
      if (one instanceof Promise) return makeRest(items, make, made, index, one)
      made[index] = one
    } catch (error) {
      made[index] = toError(error)
    }
  }
  return made
}

async function makeRest<Item>(
  items: readonly Item[],
  make: (item: Item) => OutgoingMessage | Promise<OutgoingMessage>,
  made: (OutgoingMessage | Error)[],
  first: number,
  pending: Promise<OutgoingMessage>,
): Promise<(OutgoingMessage | Error)[]> {
  let next = first
  const work = async (started?: Promise<OutgoingMessage>): Promise<void> => {
    for (let index = next++; index < items.length; index = next++) {
      try {
        made[index] = await (started ?? make(items[index] as Item))
      } catch (error) {
        made[index] = toError(error)
      }
      started = undefined
    }
  }
  const workers = [work(pending)]
  for (let count = 1; count < Math.min(MAX_AT_ONCE, items.length - first); count++) workers.push(work())
  await Promise.all(workers)
  return made
}

export function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error), { cause: error })
}

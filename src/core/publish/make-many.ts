/** Maximum number of asynchronous schemas and codecs of one `publishMany`, or of one batch, that run at once. */
const MAX_AT_ONCE = 32

/**
 * Makes something of each item, such as a message to publish. Synchronous unless `make` is asynchronous for some item; then a
 * bounded number of calls run at once. An item that fails has its error in its place. Never throws.
 */
export function makeMany<Item, Made>(
  items: readonly Item[],
  make: (item: Item) => Made | Promise<Made>,
): (Made | Error)[] | Promise<(Made | Error)[]> {
  // Not Array.from({ length }): that takes longer than the rest of this loop.
  const made: (Made | Error)[] = []
  for (let index = 0; index < items.length; index++) {
    try {
      const one = make(items[index] as Item)
      if (one instanceof Promise) return makeRest(items, make, made, index, one)
      made.push(one)
    } catch (error) {
      made.push(toError(error))
    }
  }
  return made
}

async function makeRest<Item, Made>(
  items: readonly Item[],
  make: (item: Item) => Made | Promise<Made>,
  made: (Made | Error)[],
  first: number,
  pending: Promise<Made>,
): Promise<(Made | Error)[]> {
  let next = first
  const work = async (started?: Promise<Made>): Promise<void> => {
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

/** `next` of a value, now or as soon as it is there. */
export function andThen<Value, Next>(
  value: Value | Promise<Value>,
  next: (value: Value) => Next | Promise<Next>,
): Next | Promise<Next> {
  return value instanceof Promise ? value.then(next) : next(value)
}

export function toError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error), { cause: error })
}

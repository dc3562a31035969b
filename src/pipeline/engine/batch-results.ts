import type { Engine, Stage } from './engine.ts'
import { Item } from './item.ts'
import { Root } from './root.ts'
import type { RootContext, RootOwner } from './root.ts'

/** What becomes of the results of a batch: see `BatchCall.passOn`. */
export type PassOnBatch = (items: readonly Item[], result: unknown, key: string) => void

/** One result for each item, or an error. An item whose result is missing has failed: success must be said. */
export function eachResult(
  engine: Engine,
  next: Stage,
  name: string,
  fail: (item: Item, error: unknown) => void,
): PassOnBatch {
  return (items, result) => {
    if (!Array.isArray(result)) {
      const error = new TypeError(
        `"${name}" must return a list with one result for each of its ${items.length} messages`,
      )
      for (const item of items) settleItem(engine, item, () => fail(item, error))
      return
    }
    for (const [index, item] of items.entries()) {
      const value: unknown = result[index]
      if (index >= result.length)
        settleItem(engine, item, () => fail(item, new Error(`"${name}" returned no result for message ${item.id}`)))
      else if (value instanceof Error) settleItem(engine, item, () => fail(item, value))
      else
        settleItem(engine, item, () => {
          item.data = value
          next.push(item)
        })
    }
  }
}

/** All items have succeeded. */
export function noResult(engine: Engine): PassOnBatch {
  return (items) => {
    for (const item of items) engine.end(item)
  }
}

/**
 * One item for the whole batch: the messages of the batch end when everything that comes from it has. Those of batches with the same
 * key stay in order.
 */
export function oneResult(engine: Engine, next: Stage): PassOnBatch {
  return (items, result, key) => {
    const live = items.filter((item) => !item.root.isDead)
    for (const item of items) if (item.root.isDead) engine.end(item)
    if (live.length === 0) return
    const root = new BatchRoot(engine, live)
    // Where no order matters, none is made.
    next.push(new Item(root, result, live.some((item) => item.key !== undefined) ? key : undefined, [], undefined))
  }
}

function settleItem(engine: Engine, item: Item, work: () => void): void {
  if (item.root.isDead) engine.end(item)
  else work()
}

/** What was made of a whole batch. Its messages end when everything that came from it has. */
class BatchRoot extends Root {
  readonly #items: readonly Item[]

  constructor(engine: Engine, items: readonly Item[]) {
    const [first] = items as readonly [Item, ...Item[]]
    const bytes = items.reduce((sum, { root }) => sum + root.bytes, 0)
    super(new BatchOwner(engine, items), new BatchContext(first.root.context, first.id), bytes)
    this.#items = items
    // Several of the items may come from one message, which gives up once.
    const roots = new Set(items.map(({ root }) => root))
    let abandoned = 0
    const giveUp = (): void => {
      if (++abandoned === roots.size) this.abandon()
    }
    for (const root of roots) if (root.isAbandonable) root.waits.add(giveUp)
  }

  /** When all of its messages are. */
  override get isAbandonable(): boolean {
    return true
  }

  override begin(): void {
    if (this.running === 0) for (const { root } of this.#items) root.begin()
    super.begin()
  }

  override get isDead(): boolean {
    return this.#items.every(({ root }) => root.isDead)
  }
}

class BatchOwner implements RootOwner {
  readonly #engine: Engine
  readonly #items: readonly Item[]

  constructor(engine: Engine, items: readonly Item[]) {
    this.#engine = engine
    this.#items = items
  }

  complete({ failure }: Root): void {
    for (const item of this.#items)
      if (failure === undefined) this.#engine.end(item)
      else this.#engine.fail(item, failure.error, failure.stage)
  }

  idle(): void {
    for (const { root } of this.#items) this.#engine.idle(root)
  }
}

/** That of the first message. */
class BatchContext implements RootContext {
  readonly message = undefined
  readonly id: string
  readonly #first: RootContext

  constructor(first: RootContext, id: string) {
    this.#first = first
    this.id = id
  }

  get attempt(): number {
    return this.#first.attempt
  }

  get aborted(): boolean {
    return this.#first.aborted
  }

  get signal(): AbortSignal {
    return this.#first.signal
  }

  get publish(): RootContext['publish'] {
    return this.#first.publish
  }
}

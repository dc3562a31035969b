import type { Engine, Stage } from './engine.ts'
import type { Item } from './item.ts'

/** What becomes of the result of a stage's function: see `Call.passOn`. */
export type PassOn = (item: Item, result: unknown) => void | Promise<void>

/** What becomes of an item that has failed. */
export type Fail = (item: Item, error: unknown) => void

export function mapped(next: Stage): PassOn {
  return (item, result) => {
    item.data = result
    next.push(item)
  }
}

export function tapped(next: Stage): PassOn {
  return (item) => next.push(item)
}

export function filtered(engine: Engine, next: Stage): PassOn {
  return (item, result) => (result ? next.push(item) : engine.end(item))
}

export function ended(engine: Engine): PassOn {
  return (item) => engine.end(item)
}

/** `next` gets each element. Arrays go at once, iterators are pulled while not too many of their items are open, if no merge holds those. */
export function flattened(engine: Engine, next: Stage, name: string, fail: Fail): PassOn {
  return (item, result) => {
    if (Array.isArray(result)) {
      if (result.length === 0) return engine.end(item)
      item.split(result.length)
      for (const [index, data] of result.entries()) next.push(item.child(data, index))
      return undefined
    }
    if (isIterable(result)) return pull(engine, next, fail, item, result)
    return fail(item, new TypeError(`"${name}" must return an iterable, got ${typeof result}`))
  }
}

async function pull(
  engine: Engine,
  next: Stage,
  fail: Fail,
  item: Item,
  elements: Iterable<unknown> | AsyncIterable<unknown>,
): Promise<void> {
  let index = 0
  try {
    for await (const data of elements) {
      if (item.root.isDead) break
      engine.run(() => {
        item.split(2)
        next.push(item.child(data, index++))
      })
      // A merge ahead may hold what this makes until all of it is made: to wait for it would be to wait for ever.
      if (item.region === undefined) await engine.whenFewer(item.root)
    }
  } catch (error) {
    engine.run(() => (item.root.isDead ? engine.end(item) : fail(item, error)))
    return
  }
  engine.run(() => engine.end(item))
}

function isIterable(value: unknown): value is Iterable<unknown> | AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && (Symbol.iterator in value || Symbol.asyncIterator in value)
}

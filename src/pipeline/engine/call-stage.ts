import { backoffMs } from '../../core/consume/retry.ts'
import type { ResolvedRetry } from '../../core/consume/consume-options.ts'
import { Queue } from '../../core/util/queue.ts'
import type { Engine, Stage } from './engine.ts'
import { isThenable } from './is-thenable.ts'
import type { Item } from './item.ts'

/** How often a stage tries, and how long it waits in between. */
export type ResolvedStageRetry = Pick<ResolvedRetry, 'attempts' | 'backoff' | 'baseMs' | 'maxMs'>

/** What a stage does with an item: calls user code, and says what becomes of its result. */
export interface Call {
  readonly name: string
  /** Maximum number of promises that it waits for at once. */
  readonly concurrency: number
  /** Undefined: an item that fails is not tried again here. */
  readonly retry: ResolvedStageRetry | undefined
  /** Calls user code. May throw. */
  run(item: Item): unknown
  /** Passes on what came out. A promise: the item is not through yet, as with an iterator that is pulled. Never throws or rejects. */
  passOn(item: Item, result: unknown): void | Promise<void>
  /** Where items go that have failed for good; undefined: their message fails. */
  readonly failTo: ((item: Item, error: unknown) => void) | undefined
}

/** Items of one key: one is with user code, or waits for its turn or its retry, and the others wait behind it. */
interface Lane {
  readonly waiting: Queue<Item>
}

/** What waits for one promise, and then for another: callbacks of its own for each item would cost more than the item. */
interface Slot {
  item: Item
  /** Of the item when it came: later stages may change it. */
  key: string | undefined
  /** Nobody waits any more. */
  isOver: boolean
  /** User code has ended, and what it made is being passed on. */
  isPassing: boolean
  readonly succeeded: (value?: unknown) => void
  readonly failed: (error: unknown) => void
  readonly giveUp: () => void
}

/**
 * Calls user code for items, those of one key one at a time and in order. What ends synchronously takes no slot and no lane. A key
 * that waits for a retry holds no slot.
 */
export class CallStage implements Stage {
  readonly name: string
  readonly #engine: Engine
  readonly #call: Call
  readonly #lanes = new Map<string, Lane>()
  /** Their turn has come, but every slot is taken. */
  readonly #ready = new Queue<Item>()
  /** Slots whose promise has settled. */
  readonly #free: Slot[] = []
  #running = 0

  constructor(engine: Engine, call: Call) {
    this.name = call.name
    this.#engine = engine
    this.#call = call
  }

  push(item: Item): void {
    // Later stages may change it.
    const { key } = item
    const lane = key === undefined ? undefined : this.#lanes.get(key)
    if (lane !== undefined) lane.waiting.push(item)
    else if (!this.#start(item) && key !== undefined) this.#lanes.set(key, { waiting: new Queue() })
  }

  /** True when the item is through; else it is with user code, or waits for a slot or a retry. */
  #start(item: Item): boolean {
    if (item.root.isDead) {
      this.#engine.end(item)
      return true
    }
    if (item.root.context.aborted) {
      this.#engine.fail(item, item.signal.reason, this.name)
      return true
    }
    if (this.#running >= this.#call.concurrency) {
      this.#ready.push(item)
      return false
    }
    const { root } = item
    root.begin()
    let result: unknown
    try {
      result = this.#call.run(item)
    } catch (error) {
      this.#engine.idle(root)
      return this.#failed(item, error)
    }
    if (isThenable(result)) {
      const slot = this.#take(item)
      // A promise of somebody else may do anything in its `then`.
      void Promise.resolve(result).then(slot.succeeded, slot.failed)
      return false
    }
    if (this.#passOn(item, result)) return false
    this.#engine.idle(root)
    return true
  }

  /** True when that takes time: then the item has a slot until everything has been passed on. */
  #passOn(item: Item, result: unknown): boolean {
    item.failures = 0
    const passing = this.#call.passOn(item, result)
    if (passing === undefined) return false
    const slot = this.#take(item)
    slot.isPassing = true
    void passing.then(slot.succeeded)
    return true
  }

  /** Until its promise settles, or until nobody waits for the message any more. */
  #take(item: Item): Slot {
    this.#running++
    this.#engine.pending++
    const slot = this.#free.pop() ?? this.#newSlot()
    slot.item = item
    slot.key = item.key
    slot.isOver = false
    slot.isPassing = false
    if (item.root.isAbandonable) item.root.waits.add(slot.giveUp)
    return slot
  }

  #newSlot(): Slot {
    const slot: Slot = {
      item: undefined as unknown as Item,
      key: undefined,
      isOver: false,
      isPassing: false,
      succeeded: (value) => this.#settled(slot, false, value),
      failed: (error) => this.#settled(slot, true, error),
      giveUp: () => this.#giveUp(slot),
    }
    return slot
  }

  #settled(slot: Slot, hasFailed: boolean, value: unknown): void {
    this.#engine.enter()
    try {
      const { item, key, isOver, isPassing } = slot
      if (!isOver) this.#leave(slot)
      // Its message must not live as long as the stage.
      slot.item = undefined as unknown as Item
      this.#free.push(slot)
      if (isOver) {
        this.#engine.idle(item.root)
        return
      }
      let isThrough = true
      if (isPassing) this.#engine.idle(item.root)
      else if (hasFailed) {
        this.#engine.idle(item.root)
        isThrough = this.#failed(item, value)
      } else if (item.root.isDead) {
        this.#engine.end(item)
        this.#engine.idle(item.root)
      } else if (this.#passOn(item, value)) isThrough = false
      else this.#engine.idle(item.root)
      if (isThrough) this.#advance(key)
      this.#fill()
    } finally {
      this.#engine.leave()
    }
  }

  #leave(slot: Slot): void {
    slot.isOver = true
    this.#running--
    this.#engine.pending--
    if (slot.item.root.isAbandonable) slot.item.root.waits.delete(slot.giveUp)
  }

  #giveUp(slot: Slot): void {
    this.#leave(slot)
    // What is being passed on ends by itself.
    if (!slot.isPassing) this.#engine.end(slot.item)
    this.#advance(slot.key)
    this.#fill()
  }

  /** True when the item is through; false when it waits for its retry. */
  #failed(item: Item, error: unknown): boolean {
    if (item.root.isDead) {
      this.#engine.end(item)
      return true
    }
    const { retry, failTo, name } = this.#call
    item.failures++
    if (retry !== undefined && item.failures < retry.attempts) {
      this.#engine.pending++
      this.#engine.after(backoffMs(retry, item.failures), () => {
        this.#engine.pending--
        this.#ready.push(item)
        this.#fill()
      })
      return false
    }
    item.failures = 0
    if (failTo === undefined) this.#engine.fail(item, error, name)
    else failTo(item, error)
    return true
  }

  /** The first of this key is through: those behind it follow. */
  #advance(key: string | undefined): void {
    if (key === undefined) return
    const lane = this.#lanes.get(key) as Lane
    for (let next = lane.waiting.shift(); next !== undefined; next = lane.waiting.shift())
      if (!this.#start(next)) return
    this.#lanes.delete(key)
  }

  #fill(): void {
    while (this.#running < this.#call.concurrency) {
      const item = this.#ready.shift()
      if (item === undefined) return
      const { key } = item
      if (this.#start(item)) this.#advance(key)
    }
  }
}

import type { BatchTrigger } from '../message.ts'
import type { Engine, Holder, Stage } from './engine.ts'
import { isThenable } from './is-thenable.ts'
import type { Item } from './item.ts'

export interface BatchCall {
  readonly name: string
  readonly size: number
  readonly bytes: number
  readonly timeoutMs: number
  readonly maxOpenKeys: number
  readonly concurrency: number
  /** True when the batch is complete with this item. May throw. */
  readonly until: ((data: unknown) => boolean) | undefined
  /** Items of one key share a batch. May throw. */
  readonly keyOf: ((data: unknown) => string) | undefined
  /** Calls user code. May throw. */
  run(items: readonly Item[], key: string, trigger: BatchTrigger): unknown
  /** Passes on what came out. Never throws. */
  passOn(items: readonly Item[], result: unknown, key: string): void
  /** All these items failed with this error. */
  failed(items: readonly Item[], error: unknown): void
}

interface OpenBatch {
  readonly key: string
  readonly openedAt: number
  readonly items: Item[]
  bytes: number
  readonly endTimer: () => void
}

interface ClosedBatch {
  readonly key: string
  readonly items: readonly Item[]
  readonly trigger: BatchTrigger
}

/**
 * Gathers items, and hands them to user code when there are enough, or when the first of them has waited long enough. Batches
 * start in the order in which they were closed; no two with items of the same key run at once.
 */
export class BatchStage implements Stage, Holder {
  readonly name: string
  readonly #engine: Engine
  readonly #call: BatchCall
  /** By key, the oldest first. */
  readonly #open = new Map<string, OpenBatch>()
  readonly #closed: ClosedBatch[] = []
  /** Keys of items that user code has. */
  readonly #busy = new Set<string>()
  #running = 0
  #isFilling = false

  constructor(engine: Engine, call: BatchCall) {
    this.name = call.name
    this.#engine = engine
    this.#call = call
    engine.holders.push(this)
  }

  get oldest(): number | undefined {
    const [first] = this.#open.values()
    return first?.openedAt
  }

  push(item: Item): void {
    if (item.root.isDead) return this.#engine.end(item)
    const { keyOf, until, size, bytes, maxOpenKeys } = this.#call
    let key: string
    let isLast: boolean
    try {
      key = keyOf === undefined ? '' : keyOf(item.data)
      isLast = until?.(item.data) === true
    } catch (error) {
      return this.#call.failed([item], error)
    }
    const before = this.#open.get(key)
    if (before !== undefined && before.bytes + item.root.bytes > bytes) this.#close(before, 'bytes')
    const batch = this.#open.get(key) ?? this.#begin(key, maxOpenKeys)
    batch.items.push(item)
    batch.bytes += item.root.bytes
    if (batch.items.length >= size) this.#close(batch, 'size')
    else if (batch.bytes >= bytes) this.#close(batch, 'bytes')
    else if (isLast) this.#close(batch, 'until')
    return undefined
  }

  flushOldest(trigger: 'pressure' | 'drain'): void {
    const [first] = this.#open.values()
    if (first !== undefined) this.#close(first, trigger)
  }

  #begin(key: string, maxOpenKeys: number): OpenBatch {
    if (this.#open.size >= maxOpenKeys) this.flushOldest('pressure')
    const endTimer = this.#engine.after(this.#call.timeoutMs, () => this.#close(batch, 'timeout'))
    const batch: OpenBatch = { key, openedAt: this.#engine.tick(), items: [], bytes: 0, endTimer }
    this.#open.set(key, batch)
    return batch
  }

  #close(batch: OpenBatch, trigger: BatchTrigger): void {
    batch.endTimer()
    this.#open.delete(batch.key)
    this.#closed.push({ key: batch.key, items: batch.items, trigger })
    this.#fill()
  }

  /** Starts what may start. A batch that ends at once may close others, or let others go: they are looked at here. */
  #fill(): void {
    if (this.#isFilling) return
    this.#isFilling = true
    for (let batch = this.#nextFree(); batch !== undefined; batch = this.#nextFree()) this.#start(batch)
    this.#isFilling = false
  }

  /** The first closed batch that may run now, taken out. One behind another one with the same keys waits for that. */
  #nextFree(): ClosedBatch | undefined {
    if (this.#running >= this.#call.concurrency) return undefined
    const blocked = new Set(this.#busy)
    for (const [index, batch] of this.#closed.entries()) {
      if (batch.items.every(({ key }) => key === undefined || !blocked.has(key))) {
        this.#closed.splice(index, 1)
        return batch
      }
      for (const { key } of batch.items) if (key !== undefined) blocked.add(key)
    }
    return undefined
  }

  #start({ key, items, trigger }: ClosedBatch): void {
    const live: Item[] = []
    for (const item of items)
      if (item.root.isDead) this.#engine.end(item)
      else if (item.root.context.aborted) this.#engine.fail(item, item.signal.reason, this.name)
      else live.push(item)
    if (live.length === 0) return
    for (const { root } of live) root.begin()
    let result: unknown
    try {
      result = this.#call.run(live, key, trigger)
    } catch (error) {
      this.#ended(live, () => this.#call.failed(live, error))
      return
    }
    if (!isThenable(result)) {
      this.#ended(live, () => this.#call.passOn(live, result, key))
      return
    }
    this.#running++
    this.#engine.pending++
    for (const item of live) if (item.key !== undefined) this.#busy.add(item.key)
    let isOver = false
    const leave = (work: () => void): void => {
      isOver = true
      this.#running--
      this.#engine.pending--
      for (const item of live) {
        if (item.key !== undefined) this.#busy.delete(item.key)
        if (item.root.isAbandonable) item.root.waits.delete(giveUp)
      }
      work()
      this.#fill()
    }
    // Several of the items may come from one message, which gives up once.
    const roots = new Set(live.map(({ root }) => root))
    let abandoned = 0
    const giveUp = (): void => {
      // Others of the batch are still waited for.
      if (++abandoned < roots.size) return
      leave(() => {
        for (const item of live) this.#engine.end(item)
      })
    }
    for (const root of roots) if (root.isAbandonable) root.waits.add(giveUp)
    const settle = (work: () => void): void =>
      this.#engine.run(() => {
        if (!isOver) leave(work)
        for (const { root } of live) this.#engine.idle(root)
      })
    Promise.resolve(result).then(
      (value: unknown) => settle(() => this.#call.passOn(live, value, key)),
      (error: unknown) => settle(() => this.#call.failed(live, error)),
    )
  }

  #ended(items: readonly Item[], work: () => void): void {
    work()
    for (const { root } of items) this.#engine.idle(root)
  }
}

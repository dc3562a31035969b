import type { Message } from '../../core/message.ts'
import type { PipelineMessage } from '../message.ts'
import type { Root } from './root.ts'

const NO_ITEMS: readonly Item[] = Object.freeze([])

/** What flows through the stages: a message of a source, or something that a stage made from one. */
export class Item implements PipelineMessage {
  readonly root: Root
  data: unknown
  /** What must stay in order: items of one key are handled one at a time. Undefined: no order. */
  key: string | undefined
  /** Which child of which child it is; empty for the message of the source. */
  readonly path: readonly number[]
  /** The innermost branch whose merge lies ahead. */
  region: Region | undefined
  /** How often the stage that it is in has failed for it. */
  failures = 0

  constructor(root: Root, data: unknown, key: string | undefined, path: readonly number[], region: Region | undefined) {
    this.root = root
    this.data = data
    this.key = key
    this.path = path
    this.region = region
  }

  /** That of its message, and the path: the same after a redelivery. */
  get id(): string {
    return this.path.length === 0 ? this.root.context.id : `${this.root.context.id}/${this.path.join('/')}`
  }

  get attempt(): number {
    return this.root.context.attempt
  }

  get signal(): AbortSignal {
    return this.root.context.signal
  }

  get source(): Message | undefined {
    return this.root.context.message
  }

  get publish(): PipelineMessage['publish'] {
    return this.root.context.publish
  }

  child(data: unknown, index: number): Item {
    return new Item(this.root, data, this.key, [...this.path, index], this.region)
  }

  /** Replaces it with `count` others, perhaps none: all that counts it must count those. */
  split(count: number): void {
    this.root.open += count - 1
    for (let region = this.region; region !== undefined; region = region.outer) region.open += count - 1
  }
}

/** What came out of one item between a branch and the merge behind it. */
export class Region {
  /** Where it ends. */
  readonly merge: object
  /** The region around it, when the branch is inside of another one. */
  readonly outer: Region | undefined
  /** Items on their way to the merge. */
  open = 1
  readonly #onWhole: () => void
  #arrived: Item[] | undefined

  /** `onWhole` is called when nothing is on its way any more. */
  constructor(merge: object, outer: Region | undefined, onWhole: () => void) {
    this.merge = merge
    this.outer = outer
    this.#onWhole = onWhole
  }

  /** One of its items has ended on its way. */
  left(): void {
    if (--this.open === 0) this.#onWhole()
  }

  arrive(item: Item): void {
    item.region = this.outer
    if (this.#arrived === undefined) this.#arrived = [item]
    else this.#arrived.push(item)
    this.left()
  }

  /** What arrived, in the order in which it was made. */
  inOrder(): readonly Item[] {
    return this.#arrived?.toSorted((a, b) => comparePaths(a.path, b.path)) ?? NO_ITEMS
  }
}

function comparePaths(a: readonly number[], b: readonly number[]): number {
  for (let at = 0; at < a.length && at < b.length; at++)
    if (a[at] !== b[at]) return (a[at] as number) - (b[at] as number)
  return a.length - b.length
}

import type { Engine, Stage } from './engine/engine.ts'
import type { Item } from './engine/item.ts'

/** What a running pipeline gives to its stages. */
export interface StageHost {
  readonly engine: Engine
  /** The running stage of a node; made when it is first asked for. */
  stage(node: Node): Stage
}

/** Where an item goes that has failed for good in a stage. */
export type FailTo = (item: Item, error: unknown) => void

/** One stage of a pipeline, as it was written. */
export interface Node {
  readonly name: string
  readonly kind: string
  /** What follows; undefined until the flow goes on, and for its end. */
  next: Node | undefined
  /** The `catch` behind it. */
  caughtBy: Node | undefined
  /** Cases of a branch, by name. */
  readonly cases: readonly { readonly name: string; readonly first: Node }[]
  /** Messages that a batch of it may have, and batches that run at once; nothing for other stages. */
  readonly gathers: { readonly size: number; readonly concurrency: number }
  /** It is not followed by anything. */
  readonly isEnd: boolean
  make(host: StageHost, next: Stage, failTo: FailTo | undefined): Stage
}

/** Where an item of this stage goes when it fails: to the `catch` behind it, as `Failed`. */
export function failToOf(host: StageHost, { caughtBy, name }: Node): FailTo | undefined {
  if (caughtBy === undefined) return undefined
  return (item, error) => {
    item.data = { data: item.data, error, stage: name }
    host.stage(caughtBy).push(item)
  }
}

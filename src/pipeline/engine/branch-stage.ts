import type { Stage } from './engine.ts'
import { Region } from './item.ts'
import type { Item } from './item.ts'

export interface BranchCase {
  readonly name: string
  /** Undefined: takes everything. */
  readonly test: ((item: Item) => boolean) | undefined
  readonly first: Stage
}

/** Sends items to the first case that wants them, or to all of them. What nobody wants has failed. */
export class BranchStage implements Stage {
  readonly name: string
  readonly #fail: (item: Item, error: unknown) => void
  readonly #cases: readonly BranchCase[]
  readonly #match: 'first' | 'all'
  readonly #merge: MergeStage | undefined

  /** `fail`: for what no case wants. `merge`: where the open cases come together again; undefined when none is open. */
  constructor(
    fail: (item: Item, error: unknown) => void,
    name: string,
    cases: readonly BranchCase[],
    match: 'first' | 'all',
    merge: MergeStage | undefined,
  ) {
    this.name = name
    this.#fail = fail
    this.#cases = cases
    this.#match = match
    this.#merge = merge
  }

  push(item: Item): void {
    let wanted: readonly BranchCase[]
    try {
      wanted =
        this.#match === 'first'
          ? this.#cases.filter(({ test }) => test === undefined || test(item)).slice(0, 1)
          : this.#cases.filter(({ test }) => test === undefined || test(item))
    } catch (error) {
      this.#fail(item, error)
      return
    }
    const [only] = wanted
    if (only === undefined) {
      const names = this.#cases.map(({ name }) => name).join(', ')
      this.#fail(item, new UnmatchedError(`No case of "${this.name}" wants the message: ${names}`))
      return
    }
    this.#merge?.expect(item)
    if (wanted.length === 1) {
      only.first.push(item)
      return
    }
    item.split(wanted.length)
    for (const [index, { first }] of wanted.entries()) first.push(item.child(item.data, index))
  }
}

/** A message that no case of a branch wants. */
export class UnmatchedError extends Error {
  override name = 'UnmatchedError'
}

/** What is on its way to a merge, of one key and in order. */
interface Expected {
  readonly regions: Region[]
  isLeaving: boolean
}

/**
 * Where branches come together: items of one key leave it in the order in which they entered the branch, whichever way was
 * faster.
 */
export class MergeStage implements Stage {
  readonly name: string
  readonly #next: Stage
  readonly #expected = new Map<string, Expected>()

  constructor(name: string, next: Stage) {
    this.name = name
    this.#next = next
  }

  /** An item of a key enters the branch. */
  expect(item: Item): void {
    const { key } = item
    if (key === undefined) return
    const expected = this.#expected.get(key) ?? { regions: [], isLeaving: false }
    item.region = new Region(this, item.region, () => this.#leave(key, expected))
    expected.regions.push(item.region)
    this.#expected.set(key, expected)
  }

  push(item: Item): void {
    // It had no key at the branch.
    if (item.region?.merge !== this) this.#next.push(item)
    else item.region.arrive(item)
  }

  /** What is passed on may make others whole: they follow here, after all of this one. */
  #leave(key: string, expected: Expected): void {
    if (expected.isLeaving) return
    expected.isLeaving = true
    const { regions } = expected
    while (regions[0]?.open === 0) for (const item of (regions.shift() as Region).inOrder()) this.#next.push(item)
    expected.isLeaving = false
    if (regions.length === 0 && this.#expected.get(key) === expected) this.#expected.delete(key)
  }
}

import type { Clock, Timer } from '../../core/clock.ts'

interface WakeUp<Subject> {
  readonly at: number
  /** Ties are broken by order of insertion, so that a run can be repeated. */
  readonly order: number
  readonly subject: Subject
}

/** Things that are due at some time, behind one timer: a binary heap. */
export class WakeUps<Subject> {
  readonly #clock: Clock
  readonly #onDue: (subject: Subject) => void
  readonly #heap: WakeUp<Subject>[] = []
  #timer: Timer | undefined
  #armedFor = Infinity
  #order = 0

  constructor(clock: Clock, onDue: (subject: Subject) => void) {
    this.#clock = clock
    this.#onDue = onDue
  }

  get size(): number {
    return this.#heap.length
  }

  /** `at` is monotonic. */
  add(at: number, subject: Subject): void {
    const heap = this.#heap
    heap.push({ at, order: this.#order++, subject })
    for (let index = heap.length - 1; index > 0;) {
      const parent = (index - 1) >> 1
      if (!this.#swapIfEarlier(index, parent)) break
      index = parent
    }
    this.#arm()
  }

  subjects(): Subject[] {
    return this.#heap.map(({ subject }) => subject)
  }

  clear(): void {
    this.#heap.length = 0
    this.#timer?.cancel()
    this.#timer = undefined
    this.#armedFor = Infinity
  }

  #arm(): void {
    const at = this.#heap[0]?.at
    if (at === undefined || at >= this.#armedFor) return
    this.#timer?.cancel()
    this.#armedFor = at
    this.#timer = this.#clock.setTimer(Math.max(0, at - this.#clock.monotonic()), () => this.#fire())
  }

  #fire(): void {
    this.#timer = undefined
    this.#armedFor = Infinity
    const now = this.#clock.monotonic()
    for (let top = this.#heap[0]; top !== undefined && top.at <= now; top = this.#heap[0]) {
      this.#pop()
      this.#onDue(top.subject)
    }
    this.#arm()
  }

  #pop(): void {
    const heap = this.#heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return
    heap[0] = last
    for (let index = 0; ;) {
      const left = 2 * index + 1
      const right = left + 1
      let first = index
      if (left < heap.length && this.#earlier(left, first)) first = left
      if (right < heap.length && this.#earlier(right, first)) first = right
      if (first === index) return
      this.#swapIfEarlier(first, index)
      index = first
    }
  }

  #earlier(a: number, b: number): boolean {
    const left = this.#heap[a] as WakeUp<Subject>
    const right = this.#heap[b] as WakeUp<Subject>
    return left.at === right.at ? left.order < right.order : left.at < right.at
  }

  #swapIfEarlier(index: number, other: number): boolean {
    if (!this.#earlier(index, other)) return false
    const heap = this.#heap
    ;[heap[index], heap[other]] = [heap[other] as WakeUp<Subject>, heap[index] as WakeUp<Subject>]
    return true
  }
}

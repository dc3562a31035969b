/**
 * How long each of several lanes went without progress, while nothing was wrong. A lane that stood still during trouble counts from the
 * moment in which the trouble was over.
 */
export class StallWatch {
  readonly #now: () => number
  readonly #progressedAt = new Map<string, number>()
  #healthySince: number | undefined
  readonly #pauses: number[] = []
  #longestMs = 0
  #longestLane = ''

  constructor(now: () => number = () => performance.now()) {
    this.#now = now
  }

  get longestMs(): number {
    return this.#longestMs
  }

  /** Of a hundred pauses between two steps of a lane, one was longer. */
  get p99Ms(): number {
    const sorted = Float64Array.from(this.#pauses).toSorted()
    return sorted[Math.floor(sorted.length * 0.99)] ?? 0
  }

  /** Where the longest stall was. */
  get longestLane(): string {
    return this.#longestLane
  }

  progressed(lane: string): void {
    const now = this.#now()
    this.#measure(lane, now)
    this.#progressedAt.set(lane, now)
  }

  /** Something is wrong from now on: what happens until `healthy` does not count. */
  trouble(): void {
    const now = this.#now()
    for (const lane of this.#progressedAt.keys()) this.#measure(lane, now)
    this.#healthySince = undefined
  }

  healthy(): void {
    this.#healthySince ??= this.#now()
  }

  /** The lane is not expected to move any more. */
  end(lane: string): void {
    this.#measure(lane, this.#now())
    this.#progressedAt.delete(lane)
  }

  #measure(lane: string, now: number): void {
    const progressedAt = this.#progressedAt.get(lane)
    if (progressedAt === undefined || this.#healthySince === undefined) return
    const stall = now - Math.max(progressedAt, this.#healthySince)
    this.#pauses.push(stall)
    if (stall <= this.#longestMs) return
    this.#longestMs = stall
    this.#longestLane = lane
  }
}

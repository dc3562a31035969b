/** Records that were handed out together, in the order of their offsets. */
export interface HandedOut {
  readonly count: number
  offsetAt(index: number): number
  /** Where reading continues behind them: records that were filtered out are finished with them. */
  readonly nextOffset: number
  readonly leaderEpoch: number
  /** How many handlers of a run are at work on it; undefined if it is finished as a whole, by whoever has it. */
  readonly running?: number | undefined
}

interface Entry {
  readonly batch: HandedOut
  /** Records from the start without a gap. */
  prefix: number
  /** Only of those behind the prefix. */
  finished: Set<number> | undefined
}

/**
 * What of a partition is finished without a gap. Records are handed out in order and finished in any: the floor never passes one that
 * is not finished.
 */
export class FinishedPrefix {
  readonly #entries: Entry[] = []
  #floor: number
  #leaderEpoch: number

  constructor(offset: number, leaderEpoch: number) {
    this.#floor = offset
    this.#leaderEpoch = leaderEpoch
  }

  /** What may be committed: the first offset that is not finished. */
  get floor(): number {
    return this.#floor
  }

  /** Of the last record before the floor. */
  get leaderEpoch(): number {
    return this.#leaderEpoch
  }

  get unfinished(): number {
    return this.#entries.length
  }

  /** What is not finished, in order. */
  get batches(): readonly HandedOut[] {
    return this.#entries.map(({ batch }) => batch)
  }

  /** Nobody is at work: what is unfinished was given to a run that begins no more of it. */
  get isAtRest(): boolean {
    return this.#entries.every(({ batch, prefix }) => prefix >= batch.count || batch.running === 0)
  }

  handOut(batch: HandedOut): void {
    this.#entries.push({ batch, prefix: 0, finished: undefined })
  }

  /** All of a batch. True if the floor has moved. */
  finish(batch: HandedOut): boolean {
    const entry = this.#entryOf(batch)
    if (entry === undefined) return false
    entry.prefix = batch.count
    return this.#advance()
  }

  /** One record of a batch. True if the floor has moved. */
  finishOne(batch: HandedOut, index: number): boolean {
    const entry = this.#entryOf(batch)
    if (entry === undefined || index < entry.prefix) return false
    if (index > entry.prefix) {
      entry.finished ??= new Set()
      entry.finished.add(index)
      return false
    }
    entry.prefix++
    while (entry.finished?.delete(entry.prefix) === true) entry.prefix++
    return entry === this.#entries[0] && this.#advance()
  }

  /** Nothing was handed out that is not finished, and reading continues elsewhere. */
  moveTo(offset: number, leaderEpoch: number): void {
    this.#entries.length = 0
    this.#floor = offset
    this.#leaderEpoch = leaderEpoch
  }

  /** The last batches have become shorter; those that are empty were not handed out. True if the floor has moved. */
  shortened(from: HandedOut): boolean {
    const first = this.#entries.findIndex(({ batch }) => batch === from)
    if (first < 0) return false
    this.#entries.length = from.count > 0 ? first + 1 : first
    return this.#advance()
  }

  /** Offsets that hold no records for this reader are passed. */
  skipTo(offset: number, leaderEpoch: number): boolean {
    if (this.#entries.length > 0 || offset <= this.#floor) return false
    this.#floor = offset
    this.#leaderEpoch = leaderEpoch
    return true
  }

  #entryOf(batch: HandedOut): Entry | undefined {
    const first = this.#entries[0]
    return first?.batch === batch ? first : this.#entries.find((each) => each.batch === batch)
  }

  #advance(): boolean {
    const before = this.#floor
    for (let entry = this.#entries[0]; entry !== undefined; entry = this.#entries[0]) {
      const { batch, prefix } = entry
      if (prefix > 0) this.#leaderEpoch = batch.leaderEpoch
      if (prefix < batch.count) {
        if (prefix > 0) this.#floor = batch.offsetAt(prefix)
        break
      }
      this.#floor = batch.nextOffset
      this.#leaderEpoch = batch.leaderEpoch
      this.#entries.shift()
    }
    return this.#floor !== before
  }
}

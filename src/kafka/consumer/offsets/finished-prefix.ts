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

/** A batch that is not finished. */
interface Entry {
  readonly batch: HandedOut
  /** Records from the start without a gap. */
  prefix: number
  /** Only of those behind the prefix. */
  finished: Set<number> | undefined
  /** The floor, and its epoch, when everything before the batch is finished. */
  readonly from: number
  readonly fromEpoch: number
}

/**
 * What of a partition is finished without a gap. Records are handed out in order and finished in any: the floor never passes one that
 * is not finished. What is finished is not kept, however long a record before it takes.
 */
export class FinishedPrefix {
  /** In order; a batch that is finished is taken out. */
  readonly #entries = new Map<HandedOut, Entry>()
  /** The first of them: most records that are finished are of its batch. */
  #first: Entry | undefined
  #floor: number
  #leaderEpoch: number
  /** The floor, and its epoch, when all that was handed out is finished. */
  #end: number
  #endEpoch: number

  constructor(offset: number, leaderEpoch: number) {
    this.#floor = this.#end = offset
    this.#leaderEpoch = this.#endEpoch = leaderEpoch
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
    return this.#entries.size
  }

  /** What is not finished, in order. */
  get batches(): readonly HandedOut[] {
    return [...this.#entries.keys()]
  }

  /** Nobody is at work: what is unfinished was given to a run that begins no more of it. */
  get isAtRest(): boolean {
    return this.batches.every(({ running }) => running === 0)
  }

  /** It was handed out and is not finished. */
  has(batch: HandedOut): boolean {
    return this.#entries.has(batch)
  }

  handOut(batch: HandedOut): void {
    const entry: Entry = { batch, prefix: 0, finished: undefined, from: this.#end, fromEpoch: this.#endEpoch }
    this.#entries.set(batch, entry)
    this.#first ??= entry
    this.#end = batch.nextOffset
    this.#endEpoch = batch.leaderEpoch
  }

  /** All of a batch. True if the floor has moved. */
  finish(batch: HandedOut): boolean {
    const entry = this.#entryOf(batch)
    return entry !== undefined && this.#remove(entry)
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
    if (entry.prefix >= batch.count) return this.#remove(entry)
    return entry === this.#first && this.#advance()
  }

  /** Nothing was handed out that is not finished, and reading continues elsewhere. */
  moveTo(offset: number, leaderEpoch: number): void {
    this.#entries.clear()
    this.#first = undefined
    this.#floor = this.#end = offset
    this.#leaderEpoch = this.#endEpoch = leaderEpoch
  }

  /** The last batches have become shorter, from this one on; those that are empty were not handed out. True if the floor has moved. */
  shortened(batch: HandedOut): boolean {
    const entry = this.#entries.get(batch)
    if (entry === undefined) return false
    const { batches } = this
    for (const later of batches.slice(batches.indexOf(batch) + 1)) this.#entries.delete(later)
    this.#end = batch.count > 0 ? batch.nextOffset : entry.from
    this.#endEpoch = batch.count > 0 ? batch.leaderEpoch : entry.fromEpoch
    return entry.prefix >= batch.count && this.#remove(entry)
  }

  #entryOf(batch: HandedOut): Entry | undefined {
    return this.#first?.batch === batch ? this.#first : this.#entries.get(batch)
  }

  #remove(entry: Entry): boolean {
    this.#entries.delete(entry.batch)
    if (entry !== this.#first) return false
    this.#first = this.#entries.values().next().value
    return this.#advance()
  }

  #advance(): boolean {
    const first = this.#first
    if (first === undefined) return this.#moveFloor(this.#end, this.#endEpoch)
    const { batch, prefix, from, fromEpoch } = first
    return prefix > 0 ? this.#moveFloor(batch.offsetAt(prefix), batch.leaderEpoch) : this.#moveFloor(from, fromEpoch)
  }

  #moveFloor(offset: number, leaderEpoch: number): boolean {
    const hasMoved = offset !== this.#floor
    this.#floor = offset
    this.#leaderEpoch = leaderEpoch
    return hasMoved
  }
}

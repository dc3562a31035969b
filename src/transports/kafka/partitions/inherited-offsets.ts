import { inherited, NEW, raised, RETURNED, UNKNOWN } from '../../../core/partitions/attempt-state.ts'
import type { Acquired, AttemptState } from '../../../core/partitions/attempt-state.ts'
import type { CommitRecord, OffsetNote, OpenRun } from './commit-record.ts'

/** What we know besides the record. */
export interface OwnKnowledge {
  /** If we were the owner: everything below was handed out here, or is finished. */
  readonly handedOut: number
  /** If we were the owner: how it had come to us. */
  readonly before: 'clean' | 'taken'
  /** From here on nothing has been handed out by an owner that died. */
  readonly suspectTo: number
  /** Attempts that have ended here, by offset: they may be more than the record says, which was stored before. */
  readonly used: ReadonlyMap<number, number>
}

/** What the owner before has left: asked record by record, in the order of their offsets. */
export class InheritedOffsets {
  readonly #record: Pick<CommitRecord, 'to'>
  readonly #how: Acquired
  readonly #own: OwnKnowledge
  readonly #open: readonly OpenRun[]
  #openAt = 0
  readonly #notes: readonly OffsetNote[]
  #notesAt = 0

  constructor(record: Pick<CommitRecord, 'to' | 'open' | 'notes'>, how: Acquired, own: OwnKnowledge) {
    this.#record = record
    this.#how = how
    this.#own = own
    this.#open = record.open
    this.#notes = record.notes.map((note) => raised(inherited(note, how), note.offset, own.used))
  }

  /** The record knows what is finished up to here. */
  get to(): number {
    return this.#record.to
  }

  /** Unfinished ones from `offset` on, which have not been read yet. */
  runsFrom(offset: number): OpenRun[] {
    const runs: OpenRun[] = []
    for (let at = this.#openAt; at < this.#open.length; at++) {
      const [first, last] = this.#open[at] as OpenRun
      if (last >= offset) runs.push([Math.max(first, offset), last])
    }
    return runs
  }

  notesFrom(offset: number): OffsetNote[] {
    return this.#notes.slice(this.#notesAt).filter((note) => note.offset >= offset)
  }

  /** How many offsets from `from` to `to` the record does not know to be finished. */
  openBetween(from: number, to: number): number {
    let count = Math.max(0, to - Math.max(from, this.#record.to))
    for (const [first, last] of this.#open) count += Math.max(0, Math.min(last + 1, to) - Math.max(first, from))
    return count
  }

  /** The next record was read; undefined when it is finished. */
  next(offset: number): AttemptState | undefined {
    while (this.#notesAt < this.#notes.length && (this.#notes[this.#notesAt] as OffsetNote).offset < offset)
      this.#notesAt++
    const note = this.#notes[this.#notesAt]
    const noted = note?.offset === offset ? note : undefined
    if (offset >= this.#record.to) return noted ?? raised(this.#beyond(offset), offset, this.#own.used)
    while (this.#openAt < this.#open.length && (this.#open[this.#openAt] as OpenRun)[1] < offset) this.#openAt++
    const run = this.#open[this.#openAt]
    if (run === undefined || run[0] > offset) return undefined
    return noted ?? raised(this.#isDoubtful(offset) ? UNKNOWN : RETURNED, offset, this.#own.used)
  }

  #beyond(offset: number): AttemptState {
    if (this.#how === 'ours' && offset < this.#own.handedOut) return RETURNED
    return offset < this.#own.suspectTo ? UNKNOWN : NEW
  }

  /** Whoever had it may have died with it. */
  #isDoubtful(offset: number): boolean {
    if (this.#how !== 'ours') return this.#how === 'taken'
    return offset >= this.#own.handedOut && this.#own.before === 'taken'
  }
}

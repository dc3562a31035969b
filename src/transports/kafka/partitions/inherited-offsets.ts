import type { CommitRecord, OffsetNote, OpenRun } from './commit-record.ts'
import type { Known } from './kafka-delivery.ts'

/**
 * How a partition came to us: `clean`: handed over in order, or new. `ours`: we were the last to own it. `taken`: from a
 * member that died, or was cut off.
 */
export type Acquired = 'clean' | 'ours' | 'taken'

const NEW: Known = { history: 'new', used: 0, running: false, notBefore: undefined, inOrder: false }
const RETURNED: Known = { ...NEW, history: 'returned' }
const UNKNOWN: Known = { ...NEW, history: 'unknown' }

/** A record that was published with a delay, and is read before its time: no member can have handed it out. */
export function early(known: Known, deliverAt: number): Known {
  return { ...known, history: known.used > 0 ? known.history : 'new', notBefore: deliverAt, inOrder: false }
}

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
    this.#notes = record.notes.map((note) => this.#raised(note.offset, inherited(note, how)))
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
  next(offset: number): Known | undefined {
    while (this.#notesAt < this.#notes.length && (this.#notes[this.#notesAt] as OffsetNote).offset < offset)
      this.#notesAt++
    const note = this.#notes[this.#notesAt]
    const noted = note?.offset === offset ? note : undefined
    if (offset >= this.#record.to) return noted ?? this.#raised(offset, this.#beyond(offset))
    while (this.#openAt < this.#open.length && (this.#open[this.#openAt] as OpenRun)[1] < offset) this.#openAt++
    const run = this.#open[this.#openAt]
    if (run === undefined || run[0] > offset) return undefined
    return noted ?? this.#raised(offset, this.#isDoubtful(offset) ? UNKNOWN : RETURNED)
  }

  #beyond(offset: number): Known {
    if (this.#how === 'ours' && offset < this.#own.handedOut) return RETURNED
    return offset < this.#own.suspectTo ? UNKNOWN : NEW
  }

  /** Whoever had it may have died with it. */
  #isDoubtful(offset: number): boolean {
    if (this.#how !== 'ours') return this.#how === 'taken'
    return offset >= this.#own.handedOut && this.#own.before === 'taken'
  }

  #raised<Message extends Known>(offset: number, known: Message): Message {
    const used = this.#own.used.get(offset) ?? 0
    return used > known.used ? { ...known, used } : known
  }
}

/** What the owner before has noted, as its next owner sees it. */
function inherited(note: OffsetNote, how: Acquired): OffsetNote {
  const left = { ...note, running: false }
  // Nothing was out when it was freed.
  if (how === 'clean') return left
  // Lost while its handler was running here: that attempt does not count.
  if (how === 'ours') return { ...left, history: 'returned', used: note.running ? note.used - 1 : note.used }
  // It may have been handed out, and its handler may have begun, since the record was written.
  return { ...left, history: note.running || note.history === 'died' ? 'died' : 'unknown' }
}

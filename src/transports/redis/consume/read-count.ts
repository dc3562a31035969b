import { compareIds } from '../topology/compare-ids.ts'

/** How far a group has read a stream at one moment, by the server: see `READ_STATE`. */
export interface ReadState {
  readonly last: string
  readonly added: number
  readonly passed: number | undefined
  readonly read: number | undefined
  /** Which process of the server says so. Empty where the user may not ask: then nothing is compared. */
  readonly server: string
}

/** Empty when the group is missing; only an empty id where the server does not count. */
export type ReadStateReply = readonly [] | readonly [Buffer] | readonly [Buffer, number, number, number, Buffer]

/** Undefined when the server does not count, or the group is missing. */
export function readStateOf([last, added, passed, read, server]: ReadStateReply): ReadState | undefined {
  if (last === undefined || last.length === 0) return undefined
  return {
    last: last.toString('latin1'),
    added: added as number,
    passed: known(passed as number),
    read: known(read as number),
    server: String(server),
  }
}

function known(count: number): number | undefined {
  return count < 0 ? undefined : count
}

/** Entries that were removed unread. */
export interface Gap {
  /** Undefined when the stream was replaced by an older state of it: what was in it is unknown. */
  readonly count: number | undefined
  /** What was read after this id has been counted. */
  readonly since: string
  /** Only if this entry is not in the stream any more: otherwise the group was just moved back. */
  readonly unless?: string
}

/**
 * Counts what is read of a stream by its one reader. What the server no longer counts as unread although it was not read
 * here was removed, or skipped when the group was moved. That holds however much was read since, so a read need not
 * ask the server for anything.
 */
export class ReadCount {
  readonly #report: (gap: Gap) => void
  /** Entries up to `#last`; undefined until the server has said how many that is. */
  #count: number | undefined = undefined
  #last = ''
  #since = ''
  #added = 0
  #server = ''
  #seen = ''
  /** Number of calls of `reset`. */
  resets = 0
  /** The server's last answer, while what it had handed out by then may still be on its way here. */
  #open: ReadState | undefined = undefined

  constructor(report: (gap: Gap) => void) {
    this.#report = report
  }

  /** It knows how many entries were read: a later answer of the server will do as well. */
  get isCounting(): boolean {
    return this.#count !== undefined
  }

  /** The server's last answer waits for the end of a read. */
  get isOpen(): boolean {
    return this.#open !== undefined
  }

  /**
   * Everything up to this id was read here, or is not to be read any more; empty while unknown. It outlasts `reset`: what a lost reply
   * brought comes after it.
   */
  get seen(): string {
    return this.#seen
  }

  see(id: string): void {
    if (id !== '' && (this.#seen === '' || compareIds(this.#seen, id) < 0)) this.#seen = id
  }

  /** Others read as well, or the group is somewhere else by now. */
  forgetSeen(): void {
    this.#seen = ''
  }

  /** Something may have been read that is not counted here: by another member, or in a reply that was lost. */
  reset(): void {
    this.#count = this.#open = undefined
    this.#last = ''
    this.#added = 0
    this.resets++
  }

  /** Nothing has been read here yet. `state`: how far the group has read, if the server knows. */
  begin(state: ReadState | undefined): void {
    this.reset()
    if (state === undefined) return
    this.#checkReplaced(state)
    this.#compare(state)
  }

  /** The entries of one reply: how many, the oldest and the newest. */
  add(count: number, first: string, last: string): void {
    if (this.#last !== '' && compareIds(first, this.#last) <= 0) {
      const unless = this.#last
      this.reset()
      this.#report({ count: undefined, since: this.#since, unless })
    }
    if (this.#open !== undefined && compareIds(this.#open.last, last) < 0) this.readEnded()
    if (this.#count !== undefined) this.#count += count
    this.#last = last
    this.see(last)
  }

  /** A read has ended and its entries were added: nothing is on its way here. */
  readEnded(): void {
    const state = this.#open
    if (state === undefined) return
    this.#open = undefined
    this.#compare(state)
  }

  /**
   * The server says how far the group has read, perhaps in the middle of a read. `resets`: their number when it was asked. False
   * when that can't be compared with what was read.
   */
  heard(state: ReadState, resets: number): boolean {
    if (resets !== this.resets) return false
    this.#checkReplaced(state)
    const order = this.#last === '' ? 1 : compareIds(state.last, this.#last)
    // A read has overtaken it, and its entries were added: the next look will do.
    if (order < 0) return false
    this.#open = state
    if (order === 0) this.readEnded()
    return true
  }

  /** Another process of the server may have lost the end of the stream, and what it knows of the group. */
  #checkReplaced({ added, server }: ReadState): void {
    const same = server !== '' && server === this.#server
    if (same && added < this.#added) this.#report({ count: undefined, since: this.#since })
    if (!same || added < this.#added) this.#count = undefined
    this.#server = server
    this.#added = added
  }

  #compare({ last, passed, read }: ReadState): void {
    // More was read than there ever was.
    if (passed !== undefined && this.#count !== undefined && passed < this.#count)
      this.#report({ count: undefined, since: this.#since })
    const counted = this.#count ?? read
    if (this.#count === undefined) this.#since = last
    this.#count = passed ?? counted
    this.#last = last
    this.see(last)
    if (passed !== undefined && counted !== undefined && passed > counted)
      this.#report({ count: passed - counted, since: this.#since })
  }
}

import type { Known, OpenMessage, PartitionState, Span } from './partition-record.ts'

/**
 * How a partition came to us: `clean`: handed over in order, or new. `ours`: we were the last to own it. `taken`: from a
 * member that died, or was cut off.
 */
export type Acquired = 'clean' | 'ours' | 'taken'

const NEW: Known = { history: 'new', used: 0, running: false, notBefore: undefined, inOrder: false }
const RETURNED: Known = { ...NEW, history: 'returned' }
const UNKNOWN: Known = { ...NEW, history: 'unknown' }

/** A message that was published with a delay, and is read before its time: no member can have handed it out. */
export function early(known: Known, dueAt: number): Known {
  return { ...(known.history !== 'died' && known.used === 0 ? NEW : known), notBefore: dueAt }
}

/** What the owner before has left of a partition, as its next owner reads it again, in order. */
export class InheritedMessages {
  /** Up to here the record says what is settled. */
  readonly #to: number
  /** Up to here messages may have been handed out. */
  readonly #reserved: number
  readonly #beyond: Known
  readonly #open: readonly OpenMessage[]
  #openAt = 0
  readonly #spans: readonly Span[]
  readonly #how: Acquired
  readonly #used: ReadonlyMap<number, number>
  #spansAt = 0
  /** Number of messages of that span that were read. */
  #spanRead = 0

  /**
   * If we were the owner: `handedOut`: how far we had come; `used`: attempts that have ended here, by sequence. They may be
   * more than the record says, which was stored before.
   */
  constructor(
    { open, spans, to, reserved }: PartitionState,
    how: Acquired,
    handedOut: number,
    used: ReadonlyMap<number, number>,
  ) {
    this.#to = to
    // Above `to` in a record that is free, too: by the owner before that one, which died.
    this.#reserved = how === 'ours' ? Math.min(reserved, handedOut) : reserved
    this.#beyond = how === 'ours' ? RETURNED : UNKNOWN
    this.#used = used
    this.#open = open.map((message) => this.#raised(message.seq, inherited(message, how)))
    this.#spans = spans
    this.#how = how
  }

  /** Nothing beyond has been handed out by an owner that died. */
  get suspectTo(): number {
    return this.#beyond === UNKNOWN ? this.#reserved : 0
  }

  /** The last message that the record knows of. */
  get to(): number {
    return this.#to
  }

  /** Number of open messages that have not been read yet. */
  get left(): number {
    return this.#open.length - this.#openAt
  }

  /** They have not been read yet. */
  get leftOpen(): readonly OpenMessage[] {
    return this.#open.slice(this.#openAt)
  }

  /** Delayed messages behind `readTo`, which have not been read yet. */
  spansBehind(readTo: number): Span[] {
    const spans: Span[] = []
    for (let at = this.#spansAt; at < this.#spans.length; at++) {
      const [first, last, count, suspect] = this.#spans[at] as Span
      const left = at === this.#spansAt ? count - this.#spanRead : count
      if (last <= readTo || left <= 0) continue
      const from = Math.max(first, readTo + 1)
      spans.push(suspect === 1 || this.#how === 'taken' ? [from, last, left, 1] : [from, last, left])
    }
    return spans
  }

  /** The next message was read; undefined when it is settled. */
  next(seq: number): Known | undefined {
    const known = seq <= this.#to ? this.#known(seq) : seq <= this.#reserved ? this.#beyond : NEW
    return known === undefined ? undefined : this.#raised(seq, known)
  }

  #raised<Message extends Known>(seq: number, known: Message): Message {
    const used = this.#used.get(seq) ?? 0
    return used > known.used ? { ...known, used } : known
  }

  #known(seq: number): Known | undefined {
    while (this.#openAt < this.#open.length && (this.#open[this.#openAt] as OpenMessage).seq < seq) this.#openAt++
    const open = this.#open[this.#openAt]
    if (open?.seq === seq) {
      this.#openAt++
      return open
    }
    while (this.#spansAt < this.#spans.length && (this.#spans[this.#spansAt] as Span)[1] < seq) {
      this.#spansAt++
      this.#spanRead = 0
    }
    const span = this.#spans[this.#spansAt]
    if (span === undefined || span[0] > seq) return undefined
    this.#spanRead++
    // It may have been handed out since the record was written, if it is due.
    if (span[3] === 1 || this.#how === 'taken') return UNKNOWN
    return this.#how === 'ours' ? RETURNED : NEW
  }

  /** Everything has been read; returns how many of the open messages have not come: they are no longer in the stream. */
  end(): number {
    const { left } = this
    this.#openAt = this.#open.length
    this.#spansAt = this.#spans.length
    return left
  }
}

/** A message that the owner before has left, as its next owner sees it. */
function inherited(open: OpenMessage, how: Acquired): OpenMessage {
  const left = { ...open, out: false, running: false }
  // Nothing was out when it was freed.
  if (how === 'clean' || (how === 'ours' && !open.out)) return left
  if (how === 'ours')
    // Lost while its handler was running here: that attempt does not count.
    return { ...left, history: 'returned', used: open.running ? open.used - 1 : open.used }
  // It may have been handed out, and its handler may have begun, since the record was written.
  return { ...left, history: open.running || open.history === 'died' ? 'died' : 'unknown' }
}

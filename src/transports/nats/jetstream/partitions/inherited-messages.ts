import { inherited, NEW, raised, RETURNED, UNKNOWN } from '../../../../core/partitions/attempt-state.ts'
import type { Acquired, AttemptState } from '../../../../core/partitions/attempt-state.ts'
import type { OpenMessage, PartitionState, Span } from './partition-record.ts'

/** What the owner before has left of a partition, as its next owner reads it again, in order. */
export class InheritedMessages {
  /** Up to here the record says what is settled. */
  readonly #to: number
  /** Up to here messages may have been handed out. */
  readonly #reserved: number
  readonly #beyond: AttemptState
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
    this.#open = open.map((message) => raised(inheritedMessage(message, how), message.seq, used))
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
  next(seq: number): AttemptState | undefined {
    const known = seq <= this.#to ? this.#known(seq) : seq <= this.#reserved ? this.#beyond : NEW
    return known === undefined ? undefined : raised(known, seq, this.#used)
  }

  #known(seq: number): AttemptState | undefined {
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
function inheritedMessage(open: OpenMessage, how: Acquired): OpenMessage {
  // What was not out here has not changed since.
  return { ...inherited(open, how === 'ours' && !open.out ? 'clean' : how), out: false }
}

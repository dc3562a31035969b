import { MAX_RECORD_CHARACTERS, RESERVED_PER_DELIVERY, RESERVED_PER_NOTE, roomForTimes } from './commit-record.ts'
import type { OffsetNote } from './commit-record.ts'

/** Owner, offsets, and the like. */
const FIXED_BYTES = 64

/** How much of the commit record of a partition is taken: by what the last one said, and by what may have to be said since. */
export class RecordBudget {
  /** Size of the last record, and how large it may be. */
  #bytes = FIXED_BYTES
  #maxBytes = bytesOf(MAX_RECORD_CHARACTERS)
  /** How many deliveries were opened since. */
  #opened = 0
  /** What the last record may grow by without that: handlers that hang, and retries, are noted later than that their messages were handed out. */
  #growth = 0

  /** Whether one more unfinished record would still fit. */
  get hasRoom(): boolean {
    return this.#bytes + this.#growth + RESERVED_PER_DELIVERY * (this.#opened + 1) <= this.#maxBytes
  }

  /** The last record was larger than half of what it may be. */
  get isTight(): boolean {
    return 2 * this.#bytes > this.#maxBytes
  }

  /** A record may stay unfinished from now on. */
  opened(): void {
    this.#opened++
  }

  /** A record has everything that is unfinished now; of so many that are out it has no note, only of these. */
  made(unnoted: number, notes: readonly OffsetNote[]): void {
    this.#opened = 0
    this.#growth = RESERVED_PER_NOTE * unnoted + roomForTimes(notes)
  }

  /** The record has that size, and may have that much, in characters. */
  measured(characters: number, maxCharacters: number): void {
    this.#bytes = bytesOf(characters)
    this.#maxBytes = bytesOf(maxCharacters)
  }

  /** Nothing is stored: there is no record that could become too large. */
  lift(): void {
    this.#maxBytes = Infinity
  }
}

/** Base64 makes four characters of three bytes; the prefix takes four. */
function bytesOf(characters: number): number {
  return Math.floor(((characters - 4) * 3) / 4)
}

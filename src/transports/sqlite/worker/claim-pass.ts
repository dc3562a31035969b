import { StoredWriter } from './columns.ts'
import type { KeyRules, KeyRulesReader } from './key-rules.ts'
import type { Seat } from './members.ts'
import type { FairShare } from './fair-share.ts'
import type { Tx } from './tx.ts'

/** A claim in progress. */
export interface Handed {
  readonly seq: number
  readonly key: string | null
  readonly targeted: boolean
}

/** One pass over one topic for one subscription. */
export class ClaimPass {
  readonly seat: Seat
  readonly writer: StoredWriter
  readonly handed: Handed[] = []
  left: number
  leftBytes: number
  /** There may be more than was taken. */
  more = false
  /** It left something to a member that goes without messages. */
  restrained = false
  readonly #tx: Tx
  readonly #reader: KeyRulesReader
  #rules: KeyRules | undefined
  readonly #fairShare: FairShare
  #newKeys: number | undefined
  readonly #maxPerKey: number
  /** Number of messages taken in this pass, by key. */
  readonly #taken = new Map<string, number>()

  constructor(parts: {
    tx: Tx
    seat: Seat
    left: number
    leftBytes: number
    reader: KeyRulesReader
    fairShare: FairShare
  }) {
    this.seat = parts.seat
    this.left = parts.left
    this.leftBytes = parts.leftBytes
    this.writer = new StoredWriter(parts.seat.at.topic.name)
    this.#tx = parts.tx
    this.#reader = parts.reader
    this.#fairShare = parts.fairShare
    this.#maxPerKey = parts.seat.member.spec.maxPerKey
  }

  get full(): boolean {
    return this.left <= 0 || this.leftBytes <= 0
  }

  get rules(): KeyRules {
    return (this.#rules ??= this.#reader.read(this.#tx, this.seat))
  }

  /** The scope of the message's order: its key, the whole topic, or nothing. */
  keyOf(key: string | null): string | null {
    const { order } = this.seat.member.spec
    return order === 'key' ? key : order === 'strict' ? '' : null
  }

  /** How many more messages of the key the member may have. */
  room(key: string): number {
    return this.#maxPerKey - this.#count(key)
  }

  /** The member has its maximum of the key's messages: others go first. */
  isFull(key: string): boolean {
    return this.room(key) <= 0
  }

  /** The member has messages of the key. */
  has(key: string): boolean {
    return this.#count(key) > 0
  }

  #count(key: string): number {
    return this.#tx.held(this.seat, key) + (this.#taken.get(key) ?? 0)
  }

  /** False when the key should be left to another member. Ends the pass: later messages must not overtake what is left. */
  takes(key: string | null): boolean {
    if (key === null) return true
    const taken = this.#taken.get(key) ?? 0
    this.#newKeys ??= this.#fairShare.newKeys(this.#tx, this.seat)
    if (this.#newKeys !== Infinity && taken === 0 && !this.#tx.holds(this.seat, key)) {
      if (this.#newKeys <= 0) {
        this.restrained = true
        return false
      }
      this.#newKeys--
    }
    this.#taken.set(key, taken + 1)
    return true
  }
}

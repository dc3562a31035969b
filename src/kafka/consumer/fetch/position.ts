/** Where to read if there is no offset, or the log no longer has it. */
export type ResetPolicy = 'earliest' | 'latest' | 'fail' | { readonly timestampMs: number }

/** What a group has committed for a partition. */
export interface CommittedPosition {
  /** The next offset to read. */
  readonly offset: number
  /** Of the leader that has written the record before it; -1 if it is not known. */
  readonly leaderEpoch: number
  readonly metadata: string
}

/** Where to start reading a partition: an offset, or a policy. */
export type StartPosition = ResetPolicy | { readonly offset: number; readonly leaderEpoch?: number | undefined }

/** What must be found out before a partition can be read. */
export type PositionState =
  /** What the group has committed; without a group, where the policy says. */
  | 'unset'
  /** Where the policy says: the log does not have the offset. */
  | 'outOfRange'
  /** Whether the log still has the record before the offset, of a broker whose fetches can't tell. */
  | 'validating'
  | 'fetching'

/**
 * Where one partition is read: `unset → validating → fetching → outOfRange`. An answer counts only for the version that it was
 * asked for with: a seek, a reset or a new leader in between makes it worthless. Pure.
 */
export class Position {
  #state: PositionState = 'unset'
  #offset = -1
  #lastEpoch = -1
  #checkedEpoch = -1
  #version = 0

  get state(): PositionState {
    return this.#state
  }

  /** The next offset to read; -1 if it is not known. */
  get offset(): number {
    return this.#offset
  }

  /** Of the leader that has written the record before the offset; -1 if it is not known. */
  get lastEpoch(): number {
    return this.#lastEpoch
  }

  get version(): number {
    return this.#version
  }

  /** An offset that was committed, looked up or asked for. */
  moveTo(offset: number, lastEpoch: number): void {
    this.#become(offset, lastEpoch, 'fetching')
    // It may be of a log that has been truncated since.
    this.#checkedEpoch = -1
  }

  /** Records up to here were taken. */
  advance(offset: number, lastEpoch: number): void {
    this.#offset = offset
    this.#lastEpoch = lastEpoch
  }

  /**
   * Before a fetch that can't carry `lastEpoch`, from a leader of this epoch: it is asked once about each new epoch (KIP-320). True if it has
   * to be asked now.
   */
  mustValidate(leaderEpoch: number): boolean {
    if (this.#state !== 'fetching' && this.#state !== 'validating') return false
    if (this.#lastEpoch === -1 || leaderEpoch === -1 || leaderEpoch <= this.#checkedEpoch) return false
    this.#state = 'validating'
    return true
  }

  /** The leader's log of the last epoch ends at `endOffset`. True if records that were read are no longer in it. */
  validated(leaderEpoch: number, endOffset: number): boolean {
    this.#checkedEpoch = leaderEpoch
    if (this.#state === 'validating') this.#state = 'fetching'
    return endOffset < this.#offset
  }

  /** What was read from `endOffset` on has been replaced: reading continues there. */
  truncate(endOffset: number, lastEpoch: number): void {
    this.#become(endOffset, lastEpoch, 'fetching')
  }

  outOfRange(): void {
    this.#become(-1, -1, 'outOfRange')
  }

  /** Nothing that is known about it holds any more. */
  forget(): void {
    this.#become(-1, -1, 'unset')
    this.#checkedEpoch = -1
  }

  #become(offset: number, lastEpoch: number, state: PositionState): void {
    this.#offset = offset
    this.#lastEpoch = lastEpoch
    this.#state = state
    this.#version++
  }
}

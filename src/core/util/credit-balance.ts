/**
 * The credit that a subscription has left: what the runtime has requested and not been given yet. Both parts add up over the
 * calls of `request`. There is credit while both are positive, so the last message may exceed the bytes.
 */
export class CreditBalance {
  messages = 0
  bytes = 0

  /** False when nothing may be delivered now. */
  get isLeft(): boolean {
    return this.messages > 0 && this.bytes > 0
  }

  /** The runtime requests more. */
  add(messages: number, bytes: number): void {
    this.messages += messages
    this.bytes += bytes
  }

  /** A delivery of that size, or several, are handed to the runtime. */
  spend(bytes: number, messages = 1): void {
    this.messages -= messages
    this.bytes -= bytes
  }

  /**
   * How many more one partition may have, which has `outstanding` already: a busy key, or a partition that stands still, must
   * not take all. It may have `most`, and more than that while `left` remain for others.
   */
  roomOf(outstanding: number, most: number, left: number): number {
    return Math.max(0, Math.min(this.messages, Math.max(most - outstanding, this.messages - left)))
  }
}

import type { Channel } from 'amqplib'

/**
 * Starts and stops the consumer on one channel, and ends with that channel. One change after another: the next may be wanted
 * while the last is in progress.
 */
export class ChannelConsumer {
  readonly channel: Channel
  /** Whether there should be a consumer. */
  isWanted = false
  /** No more may come for now, wanted or not. */
  isFull = false
  /** Resolves with the consumer's tag. */
  readonly #consume: () => Promise<string>
  #tag: string | undefined
  #isOver = false
  #adjusting: Promise<void> | undefined

  constructor(channel: Channel, consume: () => Promise<string>) {
    this.channel = channel
    this.#consume = consume
  }

  /** Starts or stops the consumer as needed. Rejects when the broker refuses. */
  adjust(): Promise<void> {
    this.#adjusting ??= this.#run().finally(() => {
      this.#adjusting = undefined
    })
    return this.#adjusting
  }

  async #run(): Promise<void> {
    for (;;) {
      const tag = this.#tag
      const isToConsume = this.isWanted && !this.isFull
      if (this.#isOver || isToConsume === (tag !== undefined)) return
      if (tag === undefined) this.#tag = await this.#consume()
      else {
        this.#tag = undefined
        await this.channel.cancel(tag).catch(() => undefined)
      }
    }
  }

  /** The channel has ended. */
  end(): void {
    this.#isOver = true
    this.isWanted = false
  }
}

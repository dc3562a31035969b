import type { Channel, GetMessage } from 'amqplib'
import { sleep } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import type { Session } from './link.ts'

/** Most unacked messages of one consumer: the field on the wire has 16 bits. */
const MAX_PREFETCH = 65_535
const SETTLE_MS = 1_000
const POLL_MS = 5

/**
 * Reads a queue without using it up: takes messages and gives all but the removed ones back in the end. Nobody else sees
 * them meanwhile, so a reader holds the queue's lock. AMQP has no other way to look into a queue.
 */
export class QueueBrowser {
  readonly #clock: Clock
  readonly #queue: string
  readonly #channel: Channel
  #taken = 0
  #removed = 0

  private constructor(clock: Clock, queue: string, channel: Channel) {
    this.#clock = clock
    this.#queue = queue
    this.#channel = channel
  }

  static async open(clock: Clock, session: Session, queue: string): Promise<QueueBrowser> {
    const channel = await session.channel()
    return new QueueBrowser(clock, queue, channel)
  }

  /** The next messages in order; fewer than `limit` when there are no more. */
  async next(limit: number): Promise<readonly GetMessage[]> {
    const found: GetMessage[] = []
    while (found.length < limit) {
      const some = await this.#take(Math.min(limit - found.length, MAX_PREFETCH))
      found.push(...some.messages)
      if (some.isEnd) break
    }
    this.#taken += found.length
    return found
  }

  async #take(count: number): Promise<{ messages: readonly GetMessage[]; isEnd: boolean }> {
    const channel = this.#channel
    const { messageCount } = await channel.checkQueue(this.#queue)
    if (messageCount === 0) return { messages: [], isEnd: true }
    const messages: GetMessage[] = []
    let arrived = (): void => undefined
    await channel.prefetch(count)
    const { consumerTag } = await channel.consume(this.#queue, (message) => {
      if (message !== null) messages.push(message as unknown as GetMessage)
      arrived()
    })
    const waitFor = async (wanted: number): Promise<void> => {
      if (messages.length >= wanted) return
      const enough = new AbortController()
      arrived = () => {
        if (messages.length >= wanted) enough.abort()
      }
      await sleep(this.#clock, SETTLE_MS, enough.signal).catch(() => undefined)
    }
    if (messageCount >= count) await waitFor(count)
    // A get answers after the deliveries before it: when it finds nothing, there is nothing more to come.
    let isEnd = false
    while (messages.length < count && !isEnd) {
      const message = await channel.get(this.#queue)
      if (message === false) isEnd = true
      else messages.push(message)
    }
    // In a cluster, deliveries may come another way than that answer.
    if (isEnd) await waitFor(Math.min(messageCount, count))
    await channel.cancel(consumerTag)
    return { messages, isEnd }
  }

  /** Deletes one that was taken. */
  remove(message: Pick<GetMessage, 'fields'>): void {
    this.#channel.ack(message as never)
    this.#removed++
  }

  /** Gives the rest back, and waits until it is there again: whoever reads next must see it. */
  async close(): Promise<void> {
    const channel = this.#channel
    const kept = this.#taken - this.#removed
    try {
      if (kept > 0) {
        channel.nackAll(true)
        const until = this.#clock.monotonic() + SETTLE_MS
        while (this.#clock.monotonic() < until) {
          const { messageCount } = await channel.checkQueue(this.#queue)
          if (messageCount >= kept) break
          await sleep(this.#clock, POLL_MS)
        }
      }
    } finally {
      await channel.close().catch(() => undefined)
    }
  }
}

import type { Channel, ConsumeMessage, GetMessage } from 'amqplib'
import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { closeQuietly } from '../connection/amqp.ts'
import { REPLY, replyCode } from '../errors.ts'
import type { LiveConnection } from '../connection/live-connection.ts'

/** Maximum number of unacked messages of one consumer: the field on the wire has 16 bits. */
const MAX_PREFETCH = 65_535
const SETTLE_MS = 1_000
const POLL_MS = 5
/**
 * A quorum queue keeps the order of messages that come back together only when they are few: it holds them in a map,
 * and Erlang's maps are ordered up to 32 keys.
 */
const RETURN_AT_ONCE = 32
/**
 * With more than 32 commands not yet applied, the broker holds further ones back, joins them, and forgets them with the
 * channel.
 */
const COMMANDS_UNDER_WAY = 8

/** Consecutive messages with the same fate. */
interface Run {
  readonly goes: boolean
  last: number
  count: number
}

/**
 * Reads a queue without consuming it: takes messages and gives all but the removed ones back in the end. Meanwhile they
 * are invisible to others, so a reader holds the queue's lock. AMQP has no other way to look into a queue.
 */
export class QueueBrowser {
  readonly #clock: Clock
  readonly #queue: string
  readonly #channel: Channel
  /** Tags of the messages taken, in the order of the queue, by consumer. */
  readonly #taken: number[][] = []
  readonly #removed = new Set<number>()

  private constructor(clock: Clock, queue: string, channel: Channel) {
    this.#clock = clock
    this.#queue = queue
    this.#channel = channel
  }

  static async open(clock: Clock, live: LiveConnection, queue: string): Promise<QueueBrowser> {
    const channel = await live.channel()
    return new QueueBrowser(clock, queue, channel)
  }

  /** Rejects when the queue can't be read. */
  async check(): Promise<void> {
    await this.#channel.checkQueue(this.#queue)
  }

  /** The next messages in order; fewer than `limit` when there are no more. */
  async next(limit: number): Promise<readonly GetMessage[]> {
    const found: GetMessage[] = []
    while (found.length < limit) {
      const some = await this.#take(Math.min(limit - found.length, MAX_PREFETCH))
      found.push(...some.messages)
      if (some.isEnd) break
    }
    return found
  }

  /** Uses one consumer for the messages present now. Later ones are left for the next call. */
  async #take(count: number): Promise<{ messages: readonly GetMessage[]; isEnd: boolean }> {
    const channel = this.#channel
    const { messageCount } = await channel.checkQueue(this.#queue)
    const expected = Math.min(count, messageCount)
    if (expected === 0) return { messages: [], isEnd: true }
    const messages: GetMessage[] = []
    const isComplete = new AbortController()
    await channel.prefetch(expected)
    const { consumerTag } = await channel.consume(this.#queue, (message) => {
      if (message !== null) messages.push(message as unknown as GetMessage)
      if (messages.length === expected) isComplete.abort()
    })
    await sleep(this.#clock, SETTLE_MS, isComplete.signal).catch(() => undefined)
    await channel.cancel(consumerTag)
    this.#taken.push(messages.map(({ fields }) => fields.deliveryTag))
    return { messages, isEnd: messageCount < count }
  }

  /** Marks a message to be deleted when the browser closes. */
  remove(message: Pick<GetMessage, 'fields'>): void {
    this.#removed.add(message.fields.deliveryTag)
  }

  /** Gives the rest back, and waits until it is in the queue again: the next reader must see it. */
  async close(): Promise<void> {
    const channel = this.#channel
    try {
      if (this.#taken.length > 0) await this.#settle()
    } catch (error) {
      // Deleted meanwhile, with everything that would have gone back.
      if (replyCode(error) !== REPLY.notFound) throw error
    } finally {
      const closing = closeQuietly(channel)
      // An unresponsive broker does not answer a close either; and if nothing was taken there is nothing to wait for.
      if (this.#taken.length > 0) await closing
    }
  }

  /** In runs of kept and deleted messages, in the order of the queue, so that few commands are in progress at a time. */
  async #settle(): Promise<void> {
    const channel = this.#channel
    const { messageCount: before } = await channel.checkQueue(this.#queue)
    let returned = 0
    let underWay = 0
    for (const run of this.#taken.flatMap((tags) => this.#runsOf(tags))) {
      const upTo = { fields: { deliveryTag: run.last } } as ConsumeMessage
      if (run.goes) channel.ack(upTo, true)
      else {
        channel.nack(upTo, true, true)
        returned += run.count
      }
      // A message that came back shows that everything before it has been done.
      if (++underWay < COMMANDS_UNDER_WAY || run.goes) continue
      underWay = 0
      await this.#waitFor(before + returned)
    }
    await this.#waitFor(before + returned)
  }

  #runsOf(tags: readonly number[]): Run[] {
    const runs: Run[] = []
    let run: Run | undefined
    for (const last of tags) {
      const goes = this.#removed.has(last)
      if (run === undefined || run.goes !== goes || (!goes && run.count === RETURN_AT_ONCE)) {
        run = { goes, last, count: 0 }
        runs.push(run)
      }
      run.last = last
      run.count++
    }
    return runs
  }

  async #waitFor(count: number): Promise<void> {
    const until = this.#clock.monotonic() + SETTLE_MS
    while (this.#clock.monotonic() < until) {
      const { messageCount } = await this.#channel.checkQueue(this.#queue)
      if (messageCount >= count) return
      await sleep(this.#clock, POLL_MS)
    }
  }
}

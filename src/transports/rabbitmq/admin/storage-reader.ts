import type { GetMessage } from 'amqplib'
import type { Clock, Timer } from '../../../core/clock.ts'
import type { EncodedMessage, Position } from '../../../core/message.ts'
import type { StoredMessage } from '../../../core/transport.ts'
import type { BrokerLocks } from './broker-lock.ts'
import { REPLY, replyCode } from '../errors.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { QueueBrowser } from './queue-browser.ts'

/** How long a look into a queue is kept open for the next page, while its messages are hidden from others. */
const IDLE_MS = 300
const STEP = 500
/**
 * When a look ends half-way, the rest is cycled too, up to this many messages, or the queue would come out in another
 * order.
 */
const TURN_OVER = 20_000

interface Seen {
  readonly message: Pick<GetMessage, 'fields'>
  /** Dropped once it was handed out: a look may cover more than fits into memory. */
  stored: StoredMessage | undefined
  isRemoved: boolean
}

/** One look into a queue: messages stay taken until it ends, so that the next page continues where the last one ended. */
interface Look {
  readonly browser: QueueBrowser
  readonly seen: Seen[]
  /** Index of each position. */
  readonly places: Map<string, number>
  /** Number of messages of each id. */
  readonly counts: Map<string, number>
  isEnd: boolean
  readonly finish: () => Promise<void>
}

/**
 * Reads and prunes the queue of a dead-letter topic. Messages in a RabbitMQ queue have no address, so a position is the
 * message's id and its number among those with that id, oldest first.
 */
export class StorageReader {
  readonly #clock: Clock
  readonly #locks: BrokerLocks
  readonly #queue: string
  readonly #live: () => Promise<LiveConnection>
  readonly #toMessage: (message: GetMessage) => EncodedMessage
  #look: Look | undefined
  #timer: Timer | undefined
  /** Calls run one after another. */
  #tail: Promise<unknown> = Promise.resolve()

  constructor(parts: {
    readonly clock: Clock
    readonly locks: BrokerLocks
    readonly queue: string
    readonly live: () => Promise<LiveConnection>
    readonly toMessage: (message: GetMessage) => EncodedMessage
  }) {
    this.#clock = parts.clock
    this.#locks = parts.locks
    this.#queue = parts.queue
    this.#live = parts.live
    this.#toMessage = parts.toMessage
  }

  read(after: Position | undefined, limit: number): Promise<readonly StoredMessage[]> {
    return this.#alone(async () => {
      // A read from the start shows the current state.
      if (after === undefined) await this.#finish()
      let look = await this.#open()
      let from = after === undefined ? 0 : (await this.#find(look, after)) + 1
      if (look.seen.slice(from, from + limit).some(({ stored, isRemoved }) => stored === undefined && !isRemoved)) {
        // A page that was handed out before: start a new look.
        await this.#finish()
        look = await this.#open()
        from = after === undefined ? 0 : (await this.#find(look, after)) + 1
      }
      while (!look.isEnd && look.seen.length < from + limit) await this.#more(look, from + limit - look.seen.length)
      const page: StoredMessage[] = []
      for (const seen of look.seen.slice(from, from + limit)) {
        if (seen.stored !== undefined && !seen.isRemoved) page.push(seen.stored)
        seen.stored = undefined
      }
      return page
    })
  }

  remove(positions: readonly Position[]): Promise<number> {
    return this.#alone(async () => {
      const look = await this.#open()
      let removed = 0
      for (const position of positions) {
        const seen = look.seen[await this.#find(look, position)]
        if (seen === undefined || seen.isRemoved) continue
        seen.isRemoved = true
        look.browser.remove(seen.message)
        removed++
      }
      // The next reader, in this process or another, must find them removed.
      await this.#finish()
      return removed
    })
  }

  async close(): Promise<void> {
    await this.#alone(() => this.#finish())
  }

  async #alone<Result>(work: () => Promise<Result>): Promise<Result> {
    const run = this.#tail.then(async () => {
      this.#timer?.cancel()
      try {
        return await work()
      } catch (error) {
        // The connection is lost, and everything taken on it is back.
        const look = this.#look
        this.#look = undefined
        await look?.finish().catch(() => undefined)
        throw error
      } finally {
        if (this.#look !== undefined)
          this.#timer = this.#clock.setTimer(IDLE_MS, () => {
            this.close().catch(() => undefined)
          })
      }
    })
    this.#tail = run.catch(() => undefined)
    return run
  }

  async #open(): Promise<Look> {
    if (this.#look !== undefined) return this.#look
    const live = await this.#live()
    const ready = Promise.withResolvers<Look>()
    const released = Promise.withResolvers<undefined>()
    const locked = this.#locks.with(live, this.#queue, async () => {
      const browser = await QueueBrowser.open(this.#clock, live, this.#queue)
      const finish = async (): Promise<void> => {
        released.resolve(undefined)
        await locked
      }
      ready.resolve({ browser, seen: [], places: new Map(), counts: new Map(), isEnd: false, finish })
      await released.promise
      await browser.close()
    })
    locked.catch((error: unknown) => ready.reject(error))
    this.#look = await ready.promise
    return this.#look
  }

  async #more(look: Look, count: number): Promise<void> {
    let messages: readonly GetMessage[] = []
    try {
      messages = await look.browser.next(count)
    } catch (error) {
      // Nothing was ever stored.
      if (replyCode(error) !== REPLY.notFound) throw error
    }
    if (messages.length < count) look.isEnd = true
    for (const message of messages) {
      const decoded = this.#toMessage(message)
      const { id } = decoded
      const n = look.counts.get(id) ?? 0
      look.counts.set(id, n + 1)
      look.places.set(placeOf(id, n), look.seen.length)
      const stored = { message: decoded, position: { queue: this.#queue, id, n } }
      look.seen.push({ message: { fields: message.fields }, stored, isRemoved: false })
    }
  }

  /** Index of a position; the number of all messages when it does not exist. */
  async #find(look: Look, { id, n }: Position): Promise<number> {
    const place = placeOf(String(id), Number(n ?? 0))
    for (;;) {
      const index = look.places.get(place)
      if (index !== undefined) return index
      if (look.isEnd) return look.seen.length
      await this.#more(look, STEP)
    }
  }

  async #finish(): Promise<void> {
    const look = this.#look
    if (look === undefined) return
    this.#look = undefined
    for (let turned = 0; !look.isEnd && look.seen.length > 0 && turned < TURN_OVER; turned += STEP)
      if ((await look.browser.next(STEP)).length < STEP) look.isEnd = true
    await look.finish()
  }
}

function placeOf(id: string, n: number): string {
  return `${n}:${id}`
}

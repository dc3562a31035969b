import type { ConfirmChannel, Message } from 'amqplib'
import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { ConnectionError, TimeoutError } from '../../../core/errors.ts'
import { closeQuietly } from '../connection/amqp.ts'
import { isLoss } from '../errors.ts'
import type { Connection } from '../connection/connection.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { SilenceWatch } from '../connection/silence-watch.ts'

const TIMEOUT_MS = 3_000
const RETRY_MIN_MS = 20
const RETRY_MAX_MS = 500

interface Preparation {
  /** Default: the exchange that leads to single queues. */
  readonly exchange?: string | undefined
  /** Creates what the message needs. `isAgain`: it existed but no longer does. */
  readonly prepare?: ((live: LiveConnection, isAgain: boolean) => Promise<void>) | undefined
  /** Time limit for all attempts together. Default 3,000. */
  readonly timeoutMs?: number | undefined
}

class NotTaken extends Error {}

type Answer = PromiseWithResolvers<void>

interface OpenChannel {
  readonly live: LiveConnection
  readonly opened: Promise<ConfirmChannel>
  /** For the messages on it, or about to be, that are unanswered. */
  readonly answers: Set<Answer>
  /** Ids of messages that reached no queue; their confirmation follows. */
  readonly returned: Set<string>
  readonly watch: SilenceWatch
}

/**
 * Publishes the transport's own messages: notes, records, messages between members. They are few and small, so the
 * client library's methods are fast enough. Uses the publishing connection: the broker may block a connection that
 * publishes, and acks must not be blocked.
 */
export class ControlPublisher {
  readonly #connection: Connection
  readonly #clock: Clock
  readonly #exchange: string
  readonly #blockedBy: () => string | undefined
  readonly #closing: AbortSignal
  /** Used for the next message. A replaced channel closes when everything on it is answered. */
  #channel: OpenChannel | undefined
  #count = 0

  constructor(parts: {
    readonly connection: Connection
    readonly clock: Clock
    /** The exchange that leads to single queues. */
    readonly exchange: string
    readonly blockedBy: () => string | undefined
    readonly closing: AbortSignal
  }) {
    this.#connection = parts.connection
    this.#clock = parts.clock
    this.#exchange = parts.exchange
    this.#blockedBy = parts.blockedBy
    this.#closing = parts.closing
  }

  /**
   * Sends a message to any listeners. Resolves when the broker has it, even without a listener, and also when the
   * broker refuses it, as RabbitMQ 4.2 does while the node of one listener is down: the others have received it.
   */
  async publish(exchange: string, routingKey: string, content: Buffer): Promise<void> {
    this.#refuseIfBlocked()
    await this.#inTime(TIMEOUT_MS, async (signal) => {
      const live = await this.#up(signal)
      await this.#confirmed(live, exchange, routingKey, content, false, signal)
    })
  }

  /**
   * Puts a message into one of the transport's queues; resolves when it is stored. Retries within the time limit when
   * the broker does not take it: a quorum queue refuses while it has no leader, as it does when new.
   */
  async publishTo(queue: string | (() => string), content: Buffer, preparation: Preparation = {}): Promise<void> {
    this.#refuseIfBlocked()
    let isAgain = false
    await this.#inTime(preparation.timeoutMs ?? TIMEOUT_MS, async (signal) => {
      for (let delay = RETRY_MIN_MS; ; delay = Math.min(2 * delay, RETRY_MAX_MS)) {
        const live = await this.#up(signal)
        try {
          await preparation.prepare?.(live, isAgain)
          const name = typeof queue === 'string' ? queue : queue()
          await this.#confirmed(live, preparation.exchange ?? this.#exchange, name, content, true, signal)
          return
        } catch (error) {
          // A channel may end during a publish while the connection lives.
          const mayBeTaken = !live.isOpen || error instanceof NotTaken || isLoss(error)
          if (signal.aborted || !mayBeTaken) throw error
          isAgain = true
        }
        await sleep(this.#clock, delay, signal)
      }
    })
  }

  #refuseIfBlocked(): void {
    const reason = this.#blockedBy()
    if (reason !== undefined)
      throw new TimeoutError(
        `The broker is blocking publishers (${reason}), and so takes no note of the transport either`,
      )
  }

  /** The signal aborts when the caller no longer waits for the work. */
  async #inTime(timeoutMs: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const done = new AbortController()
    const late = sleep(this.#clock, timeoutMs, done.signal).then(() => {
      throw new TimeoutError(`The broker did not confirm a note of the transport within ${timeoutMs} ms`)
    })
    const working = work(done.signal)
    try {
      await Promise.race([working, late])
    } finally {
      done.abort()
      // Both have settled by now, or their result is ignored.
      late.catch(() => undefined)
      working.catch(() => undefined)
    }
  }

  /** Rejects once the signal has aborted: nothing is declared or published that the caller has given up. */
  async #up(signal: AbortSignal): Promise<LiveConnection> {
    const live = await this.#connection.whenUp(this.#closing)
    signal.throwIfAborted()
    return live
  }

  async #confirmed(
    live: LiveConnection,
    exchange: string,
    routingKey: string,
    content: Buffer,
    mandatory: boolean,
    signal: AbortSignal,
  ): Promise<void> {
    const open = this.#open(live)
    const answer: Answer = Promise.withResolvers()
    open.answers.add(answer)
    try {
      const channel = await open.opened
      signal.throwIfAborted()
      const messageId = String(++this.#count)
      channel.publish(
        exchange,
        routingKey,
        content,
        { persistent: true, mandatory, messageId },
        (error: Error | null) => {
          open.watch.heard()
          if (open.returned.delete(messageId)) answer.reject(new NotTaken(`"${routingKey}" is bound to no queue`))
          else if (error === null || (!mandatory && isNack(error))) answer.resolve()
          else if (isNack(error)) {
            // The channel itself may be the cause (see `ChannelRenewal`): the next attempt uses another one.
            this.#leave(open)
            answer.reject(new NotTaken(`"${routingKey}" refused it: ${error.message}`))
          } else answer.reject(error)
        },
      )
      open.watch.sent()
      await answer.promise
    } finally {
      open.answers.delete(answer)
      if (this.#channel !== open && open.answers.size === 0) void open.opened.then(closeQuietly, () => undefined)
    }
  }

  #open(live: LiveConnection): OpenChannel {
    if (this.#channel?.live === live) return this.#channel
    if (!live.isOpen) throw new ConnectionError('The connection is closed')
    const ended = (): void => {
      this.#leave(open)
      open.watch.cancel()
    }
    const open: OpenChannel = {
      live,
      opened: live.confirmChannel(ended),
      answers: new Set(),
      returned: new Set(),
      watch: new SilenceWatch(this.#clock, {
        isOwed: () => open.answers.size > 0,
        isExcused: () => this.#blockedBy() !== undefined,
        // Without a consumer this changes nothing.
        ask: async () => (await open.opened).prefetch(0),
        giveUp: (silentMs) => {
          this.#leave(open)
          for (const { reject } of open.answers)
            reject(new NotTaken(`The broker answered nothing on the channel for ${silentMs / 1_000} s`))
        },
      }),
    }
    open.opened.then(
      (channel) =>
        channel.on('return', ({ properties }: Message) => void open.returned.add(String(properties.messageId))),
      ended,
    )
    this.#channel = open
    return open
  }

  #leave(open: OpenChannel): void {
    if (this.#channel === open) this.#channel = undefined
  }
}

/** The library's error for a refused message, and for all open ones when a channel ends. */
function isNack({ message }: Error): boolean {
  return message === 'message nacked'
}

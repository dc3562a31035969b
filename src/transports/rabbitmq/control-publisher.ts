import type { ConfirmChannel, Message } from 'amqplib'
import { sleep } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import { ConnectionError, TimeoutError } from '../../core/errors.ts'
import { closeQuietly } from './amqp.ts'
import { isLoss } from './errors.ts'
import type { Link, Session } from './link.ts'

const TIMEOUT_MS = 3_000
const RETRY_MIN_MS = 20
const RETRY_MAX_MS = 500

interface Preparation {
  /** Makes what the message needs. `isAgain`: it was there, and is not any more. */
  readonly prepare?: ((session: Session, isAgain: boolean) => Promise<void>) | undefined
  /** For all tries together, and for as long as the broker does not block publishers. Default 3,000. */
  readonly timeoutMs?: number | undefined
  /** Without it, a broker that blocks publishers is an error at once. Called when a wait for it begins. */
  readonly onBlocked?: ((reason: string) => void) | undefined
}

class NotTaken extends Error {}

interface OpenChannel {
  readonly session: Session
  readonly opened: Promise<ConfirmChannel>
  /** Messages on it, or about to be, that are not answered. */
  unanswered: number
}

/**
 * Publishes what the transport writes for itself: notes, records, words among members. Few and small, so the client
 * library's own way will do. On the connection for publishing: one that publishes may be stopped by the broker, and acks
 * must not be.
 */
export class ControlPublisher {
  readonly #link: Link
  readonly #clock: Clock
  readonly #exchange: string
  readonly #blockedBy: () => string | undefined
  readonly #closing: AbortSignal
  /** For the next message. One that was replaced ends when everything on it is answered. */
  #channel: OpenChannel | undefined
  #count = 0
  /** Ids of messages that reached no queue; their confirmation follows. */
  readonly #returned = new Set<string>()

  constructor(parts: {
    readonly link: Link
    readonly clock: Clock
    /** Where queues of the transport are bound by their own name. */
    readonly exchange: string
    readonly blockedBy: () => string | undefined
    readonly closing: AbortSignal
  }) {
    this.#link = parts.link
    this.#clock = parts.clock
    this.#exchange = parts.exchange
    this.#blockedBy = parts.blockedBy
    this.#closing = parts.closing
  }

  /**
   * A word to whoever listens. Resolves when the broker has it, for nobody as well; and when it refuses it, as RabbitMQ 4.2 does while the
   * node of one listener is down: the others have heard it.
   */
  async publish(exchange: string, routingKey: string, content: Buffer): Promise<void> {
    this.#refuseIfBlocked()
    await this.#inTime(TIMEOUT_MS, async () => {
      await this.#confirmed(await this.#link.whenUp(this.#closing), exchange, routingKey, content, false)
    })
  }

  /**
   * Puts it into a queue of the transport; resolves when it is there. Tried again, in time, when the broker does not take it: a
   * quorum queue refuses while it has no leader, as in its first moments.
   */
  async publishTo(queue: string | (() => string), content: Buffer, preparation: Preparation = {}): Promise<void> {
    await this.#unblocked(preparation)
    let isAgain = false
    await this.#inTime(preparation.timeoutMs ?? TIMEOUT_MS, async (signal) => {
      for (let delay = RETRY_MIN_MS; ; delay = Math.min(2 * delay, RETRY_MAX_MS)) {
        const session = await this.#link.whenUp(this.#closing)
        try {
          await preparation.prepare?.(session, isAgain)
          const name = typeof queue === 'string' ? queue : queue()
          await this.#confirmed(session, this.#exchange, name, content, true)
          return
        } catch (error) {
          // A channel may end under a message while the connection lives.
          const mayBeTaken = !session.isOpen || error instanceof NotTaken || isLoss(error)
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

  async #unblocked({ onBlocked }: Preparation): Promise<void> {
    if (onBlocked === undefined) {
      this.#refuseIfBlocked()
      return
    }
    let reason = this.#blockedBy()
    if (reason !== undefined) onBlocked(reason)
    for (; reason !== undefined; reason = this.#blockedBy()) await sleep(this.#clock, RETRY_MAX_MS, this.#closing)
  }

  /** The work is told by the signal that nobody waits for it any longer. */
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
      // Both have ended by now, or their end is of no interest.
      late.catch(() => undefined)
      working.catch(() => undefined)
    }
  }

  async #confirmed(
    session: Session,
    exchange: string,
    routingKey: string,
    content: Buffer,
    mandatory: boolean,
  ): Promise<void> {
    const open = this.#open(session)
    open.unanswered++
    const channel = await open.opened
    const messageId = String(++this.#count)
    await new Promise<void>((resolve, reject) => {
      channel.publish(
        exchange,
        routingKey,
        content,
        { persistent: true, mandatory, messageId },
        (error: Error | null) => {
          if (this.#returned.delete(messageId)) reject(new NotTaken(`"${routingKey}" is bound to no queue`))
          else if (error === null || (!mandatory && isNack(error))) resolve()
          else if (isNack(error)) {
            // The refusal may be the channel's own (see `ChannelRenewal`): the next try gets another one.
            if (this.#channel === open) this.#channel = undefined
            reject(new NotTaken(`"${routingKey}" refused it: ${error.message}`))
          } else reject(error)
          open.unanswered--
          if (this.#channel !== open && open.unanswered === 0) void closeQuietly(channel)
        },
      )
    })
  }

  #open(session: Session): OpenChannel {
    if (this.#channel?.session === session) return this.#channel
    if (!session.isOpen) throw new ConnectionError('The connection is closed')
    const ended = (): void => {
      if (this.#channel === open) this.#channel = undefined
    }
    const open: OpenChannel = { session, opened: session.confirmChannel(ended), unanswered: 0 }
    open.opened.then(
      (channel) =>
        channel.on('return', ({ properties }: Message) => void this.#returned.add(String(properties.messageId))),
      ended,
    )
    this.#channel = open
    return open
  }
}

/** The library says so of a refused message, and of all that are open when a channel ends. */
function isNack({ message }: Error): boolean {
  return message === 'message nacked'
}

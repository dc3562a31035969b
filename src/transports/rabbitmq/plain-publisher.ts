import type { ConfirmChannel } from 'amqplib'
import { sleep } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import { TimeoutError } from '../../core/errors.ts'
import type { Link, Session } from './link.ts'

const TIMEOUT_MS = 3_000

/**
 * Publishes what the transport writes for itself: notes, records, words among members. Few and small, so the client
 * library's own way will do. On the connection for publishing: one that publishes may be stopped by the broker, and acks
 * must not be.
 */
export class PlainPublisher {
  readonly #link: Link
  readonly #clock: Clock
  readonly #blockedBy: () => string | undefined
  #channel: { readonly session: Session; readonly opened: Promise<ConfirmChannel> } | undefined

  constructor(link: Link, clock: Clock, blockedBy: () => string | undefined) {
    this.#link = link
    this.#clock = clock
    this.#blockedBy = blockedBy
  }

  /** Resolves when the broker has it; rejects when that takes too long, the connection is lost, or the broker takes nothing. */
  async publish(exchange: string, routingKey: string, content: Buffer, messageId?: string): Promise<void> {
    const reason = this.#blockedBy()
    if (reason !== undefined)
      throw new TimeoutError(
        `The broker takes no messages at present (${reason}), and so no note of the transport either`,
      )
    const done = new AbortController()
    const late = sleep(this.#clock, TIMEOUT_MS, done.signal).then(() => {
      throw new TimeoutError(`The broker did not confirm a note of the transport within ${TIMEOUT_MS} ms`)
    })
    try {
      await Promise.race([this.#confirmed(exchange, routingKey, content, messageId), late])
    } finally {
      done.abort()
      // It has ended by now, one way or the other.
      late.catch(() => undefined)
    }
  }

  async #confirmed(
    exchange: string,
    routingKey: string,
    content: Buffer,
    messageId: string | undefined,
  ): Promise<void> {
    const channel = await this.#open()
    await new Promise<void>((resolve, reject) => {
      channel.publish(exchange, routingKey, content, { persistent: true, messageId }, (error: Error | null) => {
        if (error === null) resolve()
        else reject(error)
      })
    })
  }

  async #open(): Promise<ConfirmChannel> {
    const session = await this.#link.whenUp()
    if (this.#channel?.session === session) return this.#channel.opened
    const opened = session.confirmChannel(() => {
      if (this.#channel?.opened === opened) this.#channel = undefined
    })
    opened.catch(() => {
      if (this.#channel?.opened === opened) this.#channel = undefined
    })
    this.#channel = { session, opened }
    return opened
  }
}

import type { Channel, ConsumeMessage } from 'amqplib'
import { ConnectionError } from '../../../core/errors.ts'
import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { closeQuietly } from '../connection/amqp.ts'
import { brokersDeadLetter } from './death-notes.ts'
import type { Names } from '../topology/names.ts'
import type { RabbitMqPublisher } from '../publish/publisher.ts'
import type { LiveConnection } from '../connection/live-connection.ts'

const PREFETCH = 32
const RETRY_MS = 1_000
/** Pauses before it starts again after its end. */
const RESTART_MIN_MS = 100
const RESTART_MAX_MS = 60_000
const READING = 'reading dead letters of the broker'

export interface SorterParts {
  readonly names: Names
  readonly clock: Clock
  readonly publisher: RabbitMqPublisher
  readonly closing: AbortSignal
  readonly failed: (error: unknown, doing: string) => void
  /** Declares its queue again. */
  readonly declare: (live: LiveConnection) => Promise<void>
}

/**
 * Sorts the messages that the broker itself gave up into the dead-letter topics of their groups, whose queues exist only
 * from their first dead letter on. Every process that consumes does so, and the broker gives each message to one.
 */
export class DeadLetterSorter {
  readonly #parts: SorterParts
  #waitMs = RESTART_MIN_MS

  constructor(parts: SorterParts) {
    this.#parts = parts
  }

  /** Sorts for as long as the connection lasts. Never rejects. */
  async start(live: LiveConnection): Promise<void> {
    const { clock, closing, declare, failed } = this.#parts
    const isOver = (): boolean => !live.isOpen || closing.aborted
    for (let isAgain = false; !isOver(); isAgain = true) {
      try {
        if (isAgain) await declare(live)
        await this.#run(live)
      } catch (error) {
        if (isOver()) return
        failed(error, READING)
      }
      await sleep(clock, this.#waitMs, closing).catch(() => undefined)
      this.#waitMs = Math.min(RESTART_MAX_MS, 2 * this.#waitMs)
    }
  }

  /** Rejects when it ends. */
  async #run(live: LiveConnection): Promise<void> {
    const { names, failed } = this.#parts
    const end = Promise.withResolvers<never>()
    end.promise.catch(() => undefined)
    const channel = await live.channel((error) => end.reject(error ?? new ConnectionError('Its channel was closed')))
    await channel.prefetch(PREFETCH)
    await channel.consume(names.deadLetters, (message) => {
      if (message === null) {
        end.reject(
          new ConnectionError(
            `The queue "${names.deadLetters}" was deleted, and is declared again. What the broker gave up meanwhile is lost`,
          ),
        )
        void closeQuietly(channel)
      } else
        this.#sort(channel, message).catch((error: unknown) => failed(error, 'storing a dead letter of the broker'))
    })
    this.#waitMs = RESTART_MIN_MS
    await end.promise
  }

  async #sort(channel: Channel, source: ConsumeMessage): Promise<void> {
    const { names, clock, publisher, closing, failed } = this.#parts
    const { message, carried, groupQueue } = brokersDeadLetter(source, names, clock.now())
    const notes = { attempts: 0, firstAt: undefined, carried, groupQueue }
    const [outcome] = await publisher.publish([message], closing, [notes])
    const error = (await outcome)?.error
    if (error === undefined) {
      ignoreLoss(() => channel.ack(source))
      return
    }
    if (closing.aborted) return
    failed(error, 'storing a dead letter of the broker')
    await sleep(clock, RETRY_MS, closing).catch(() => undefined)
    ignoreLoss(() => channel.nack(source, false, true))
  }
}

/** Settling on a channel that has ended throws; the message comes again. */
function ignoreLoss(settle: () => void): void {
  try {
    settle()
  } catch {
    // Another channel gets it.
  }
}

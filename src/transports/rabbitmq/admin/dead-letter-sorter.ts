import type { Channel, ConsumeMessage } from 'amqplib'
import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { closeQuietly } from '../connection/amqp.ts'
import { brokersDeadLetter } from './death-notes.ts'
import type { Names } from '../topology/names.ts'
import type { RabbitMqPublisher } from '../publish/publisher.ts'
import type { Session } from '../connection/link.ts'

const PREFETCH = 32
const RETRY_MS = 1_000

export interface SorterParts {
  readonly names: Names
  readonly clock: Clock
  readonly publisher: RabbitMqPublisher
  readonly closing: AbortSignal
  readonly failed: (error: unknown, doing: string) => void
}

/**
 * Sorts the messages that the broker itself gave up into the dead-letter topics of their groups, whose queues exist only
 * from their first dead letter on. Every process that consumes does so, and the broker gives each message to one.
 */
export class DeadLetterSorter {
  readonly #parts: SorterParts

  constructor(parts: SorterParts) {
    this.#parts = parts
  }

  /** Starts on a new session, and ends with it. Never rejects. */
  async start(session: Session): Promise<void> {
    const { names, failed } = this.#parts
    try {
      const channel = await session.channel(() => undefined)
      await channel.prefetch(PREFETCH)
      await channel.consume(names.deadLetters, (message) => {
        if (message === null) void closeQuietly(channel)
        else
          this.#sort(channel, message).catch((error: unknown) => failed(error, 'storing a dead letter of the broker'))
      })
    } catch (error) {
      if (session.isOpen) failed(error, 'reading dead letters of the broker')
    }
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

import type { Clock } from '../../../core/clock.ts'
import type { BusEvents } from '../../../core/events.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import type { PublishOutcome } from '../../../core/transport.ts'
import { refused } from './router.ts'
import type { Router } from './router.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import type { ResolvedRabbitMqOptions } from '../options.ts'
import { Preparation } from './preparation.ts'
import type { Prerequisites } from './preparation.ts'
import { CONFIRMED } from './publish-job.ts'
import type { CopyNotes, PublishJob } from './publish-job.ts'
import { PublishLane } from './publish-lane.ts'
import type { LaneParts } from './publish-lane.ts'

export interface PublisherParts {
  readonly options: ResolvedRabbitMqOptions
  readonly router: Router
  readonly clock: Clock
  readonly events: BusEvents
  readonly transportName: string
  readonly prerequisites: Prerequisites
  /** A delayed message was confirmed. */
  readonly onDelayed: (message: OutgoingMessage) => void
}

/** A message that waits for longer than others of its call has a promise for its outcome. */
type Outcomes = readonly (PublishOutcome | Promise<PublishOutcome>)[]

/**
 * Publishes all messages. Delayed messages and dead letters need things on the broker that plain ones don't, and are
 * ordered only among themselves; so each of the three kinds has a lane, and none waits for another. Copies for one group
 * share the lane of dead letters.
 */
export class RabbitMqPublisher {
  readonly #parts: PublisherParts
  readonly #plain: PublishLane
  readonly #delayed: PublishLane
  readonly #prepared: PublishLane
  #blockedBy: string | undefined
  /** How long confirmations have recently taken, in ms. */
  confirmMs = 0

  constructor(parts: PublisherParts) {
    this.#parts = parts
    const { clock, router, options, prerequisites, events, transportName, onDelayed } = parts
    const laneParts: LaneParts = {
      clock,
      router,
      maxInFlight: options.maxInFlight,
      isBlocked: () => this.#blockedBy !== undefined,
      again: (live) => prerequisites.again(live),
      failed: (error) => events.emit('error', { transport: transportName, error, doing: 'publishing' }),
      took: (ms) => {
        this.confirmMs = this.confirmMs === 0 ? ms : 0.8 * this.confirmMs + 0.2 * ms
      },
    }
    const preparation = new Preparation(clock, router, prerequisites)
    const prepare = (job: PublishJob, live: LiveConnection): Promise<void> | undefined => preparation.prepare(job, live)
    const confirmed = (job: PublishJob, index: number): void => job.settle(index, CONFIRMED)
    const returned = (job: PublishJob, index: number, message: OutgoingMessage, live: LiveConnection): void =>
      this.#unroutable(job, index, message, live)
    this.#plain = new PublishLane(laneParts, { confirmed, returned })
    this.#prepared = new PublishLane(laneParts, { prepare, confirmed, returned })
    this.#delayed = new PublishLane(laneParts, {
      prepare,
      confirmed: (job, index, message) => {
        onDelayed(message)
        confirmed(job, index)
      },
      returned,
    })
  }

  /** Why the broker blocks publishers, or undefined. */
  get blockedBy(): string | undefined {
    return this.#blockedBy
  }

  /**
   * `notes` has an entry for each message, at the same index: what the copy of a delivery passes on. Resolves when the
   * outcomes of plain messages are known; those of delayed messages and dead letters are promises if there are any.
   * Nothing rejects.
   */
  async publish(
    messages: readonly OutgoingMessage[],
    signal?: AbortSignal,
    notes?: readonly (CopyNotes | undefined)[],
  ): Promise<Outcomes> {
    // Nearly always, all messages are plain.
    const apart = messages.findIndex((message) => this.#laneOf(message) !== this.#plain)
    return apart < 0
      ? this.#plain.publish(messages, signal, notes)
      : this.#publishApart(
          messages,
          messages.map((message) => this.#laneOf(message)),
          signal,
          notes,
        )
  }

  async #publishApart(
    messages: readonly OutgoingMessage[],
    laneOf: readonly PublishLane[],
    signal: AbortSignal | undefined,
    notes: readonly (CopyNotes | undefined)[] | undefined,
  ): Promise<Outcomes> {
    const outcomes: (PublishOutcome | Promise<PublishOutcome>)[] = []
    for (const lane of [this.#delayed, this.#prepared, this.#plain]) {
      const indexes = [...messages.keys()].filter((index) => laneOf[index] === lane)
      const publishing = lane.publish(
        indexes.map((index) => messages[index] as OutgoingMessage),
        signal,
        notes && indexes.map((index) => notes[index]),
      )
      const known = lane === this.#plain ? await publishing : undefined
      for (const [at, index] of indexes.entries())
        outcomes[index] = known?.[at] ?? publishing.then((later) => later[at] as PublishOutcome)
    }
    return outcomes
  }

  #laneOf({ deliverAt, topic, group }: OutgoingMessage): PublishLane {
    if (deliverAt !== undefined && deliverAt > this.#parts.clock.now()) return this.#delayed
    return group !== undefined || isDeadLetterTopic(topic) ? this.#prepared : this.#plain
  }

  // --- the connection ------------------------------------------------------------------------------------------------

  get #lanes(): readonly PublishLane[] {
    return [this.#plain, this.#delayed, this.#prepared]
  }

  /** Opens the channel for plain messages on a new connection. Call `resume` to continue sending. */
  async attach(live: LiveConnection): Promise<void> {
    this.#blockedBy = undefined
    for (const lane of this.#lanes) lane.attach(live)
    await this.#plain.open(live)
  }

  resume(): void {
    for (const lane of this.#lanes) lane.pump()
  }

  detach(live: LiveConnection, error: Error): void {
    for (const lane of this.#lanes) lane.detach(live, error)
  }

  /** The broker blocks publishers for that reason (memory, disk), or no longer does. */
  block(reason: string | undefined): void {
    this.#blockedBy = reason
    if (reason === undefined) this.resume()
  }

  close(): void {
    for (const lane of this.#lanes) lane.close()
  }

  // --- answers -------------------------------------------------------------------------------------------------------

  #unroutable(job: PublishJob, index: number, message: OutgoingMessage, live: LiveConnection): void {
    const { topic, group } = message
    if (group !== undefined) this.#parts.prerequisites.groupGone(live, message, job.notes?.[index]?.queue)
    // The queue of a dead letter was deleted, and is declared for the next attempt.
    if (this.#parts.options.unroutable === 'drop' && group === undefined && !isDeadLetterTopic(topic)) {
      this.#parts.events.emit('loss', {
        transport: this.#parts.transportName,
        topic,
        group: undefined,
        count: 1,
        position: undefined,
        reason: 'no queue is bound for the topic, and the transport was told to drop such messages (unroutable)',
      })
      job.settle(index, CONFIRMED)
      return
    }
    if (isDeadLetterTopic(topic) && group === undefined) this.#parts.prerequisites.storageGone(live, topic)
    const why =
      group === undefined
        ? `reached no queue: no group consumes the topic yet. Start a consumer first, declare its group (option groups of rabbitmq()), or set unroutable to 'drop'`
        : `reached no queue: there is no group "${group}" of that topic`
    job.settle(index, { error: refused(topic, why) })
  }
}

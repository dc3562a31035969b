import type { Clock } from '../../../core/clock.ts'
import { BusbarError, TimeoutError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { refused } from './router.ts'
import type { Router } from './router.ts'
import { reasonOf } from '../errors.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import type { PublishJob } from './publish-job.ts'

/**
 * What must exist on the broker before certain messages can be sent. Each part remembers what it has done for a
 * connection.
 */
export interface Prerequisites {
  /** The queue of a dead-letter topic; undefined when it exists. */
  storage(live: LiveConnection, topic: string): Promise<void> | undefined
  /** How many queues the group of a copy has; undefined when that is known. */
  copyGroup(live: LiveConnection, message: OutgoingMessage): Promise<void> | undefined
  /** A copy reached no queue. `queue`: where it was sent to, if it was given. */
  groupGone(live: LiveConnection, message: OutgoingMessage, queue: string | undefined): void
  /** The way for copies to that queue; undefined when it exists. */
  way(live: LiveConnection, queue: string): Promise<void> | undefined
  /** What delays need up to that rung of the ladder; undefined when it exists. */
  delay(live: LiveConnection, rung: number): Promise<void> | undefined
  /** Declarations in progress on that connection take too long. The next message that needs them starts over. */
  giveUp(live: LiveConnection): void
  /** The broker reports that an exchange was deleted. Declares the base topology again. */
  again(live: LiveConnection): Promise<void>
  /** No queue took a dead letter: the existing one was deleted. */
  storageGone(live: LiveConnection, topic: string): void
}

const MAX_MS = 10_000

/** Ensures, in bounded time, that everything a job's messages need exists on the broker before they are sent. */
export class Preparation {
  readonly #clock: Clock
  readonly #router: Router
  readonly #prerequisites: Prerequisites

  constructor(clock: Clock, router: Router, prerequisites: Prerequisites) {
    this.#clock = clock
    this.#router = router
    this.#prerequisites = prerequisites
  }

  /**
   * Undefined when everything exists. Otherwise resolves when it does, or when the messages that lack something were
   * refused; never rejects.
   */
  prepare(job: PublishJob, live: LiveConnection): Promise<void> | undefined {
    const pending: Promise<void>[] = []
    let topRung = -1
    let topic: string | undefined
    let copies: Promise<void>[] | undefined
    for (let index = job.next; index < job.messages.length; index++) {
      const message = job.messages[index] as OutgoingMessage
      const rung = this.#router.rungFor(message)
      if (rung !== undefined && rung > topRung) topRung = rung
      if (message.group !== undefined) {
        const copy = this.#prepareCopy(live, message, job.notes?.[index]?.queue)
        if (copy !== undefined) (copies ??= []).push(copy)
        continue
      }
      if (message.topic === topic) continue
      topic = message.topic
      const storage = isDeadLetterTopic(topic) ? this.#prerequisites.storage(live, topic) : undefined
      if (storage !== undefined)
        pending.push(
          this.#orRefuse(job, live, (other) => other.topic === message.topic && other.group === undefined, storage),
        )
    }
    const delay = topRung < 0 ? undefined : this.#prerequisites.delay(live, topRung)
    if (copies !== undefined)
      pending.push(
        this.#orRefuse(
          job,
          live,
          (other) => other.group !== undefined,
          Promise.all(copies).then(() => undefined),
        ),
      )
    if (delay !== undefined) pending.push(this.#orRefuse(job, live, (other) => other.deliverAt !== undefined, delay))
    return pending.length === 0 ? undefined : Promise.all(pending).then(() => undefined)
  }

  #prepareCopy(live: LiveConnection, message: OutgoingMessage, queue: string | undefined): Promise<void> | undefined {
    const known = queue === undefined ? this.#prerequisites.copyGroup(live, message) : undefined
    const way = (): Promise<void> | undefined => this.#prerequisites.way(live, queue ?? this.#router.queueOf(message))
    return known === undefined ? way() : known.then(way)
  }

  /**
   * Messages that lack a prerequisite can't be sent; the rest of the job can. After a lost connection it is tried again on
   * the next.
   */
  async #orRefuse(
    job: PublishJob,
    live: LiveConnection,
    needs: (message: OutgoingMessage) => boolean,
    doing: Promise<void>,
  ): Promise<void> {
    try {
      await this.#inTime(live, doing)
    } catch (error) {
      if (!live.isOpen) return
      for (let index = job.next; index < job.messages.length; index++) {
        const message = job.messages[index] as OutgoingMessage
        if (!needs(message)) continue
        const why = `could not be prepared for: ${BusbarError.is(error) ? error.message : reasonOf(error)}`
        job.settle(index, { error: refused(message.topic, why, error) })
      }
    }
  }

  async #inTime(live: LiveConnection, doing: Promise<void>): Promise<void> {
    if (await settledWithin(this.#clock, MAX_MS, doing)) return
    this.#prerequisites.giveUp(live)
    throw new TimeoutError(`the broker did not answer the declarations within ${MAX_MS} ms`)
  }
}

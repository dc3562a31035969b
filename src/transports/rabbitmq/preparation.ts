import { sleep } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import { BusbarError, TimeoutError } from '../../core/errors.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import { isDeadLetterTopic } from '../../core/topic.ts'
import { refused } from './addressing.ts'
import type { Addressing } from './addressing.ts'
import { reasonOf } from './errors.ts'
import type { Session } from './link.ts'
import type { PublishJob } from './publish-job.ts'

/** What has to be on the broker before certain messages can be sent. Each remembers what it has done for a session. */
export interface Prerequisites {
  /** The queue of a dead-letter topic; undefined when it is there. */
  storage(session: Session, topic: string): Promise<void> | undefined
  /** What delays need up to that rung of the ladder; undefined when it is there. */
  delay(session: Session, rung: number): Promise<void> | undefined
  /** What is under way on that session takes too long. The next message that needs it begins again. */
  giveUp(session: Session): void
  /** The broker says that an exchange is gone: somebody deleted it. Declares again what everything else stands on. */
  again(session: Session): Promise<void>
  /** For so long a confirmed delayed message is not safe yet: what it waits in was just made. */
  youngForMs(): number
  /** No queue took a dead letter: somebody deleted the one that was there. */
  storageGone(session: Session, topic: string): void
}

const MAX_MS = 10_000

/** Sees to it that what the messages of a job need is on the broker before they are sent, in bounded time. */
export class Preparation {
  readonly #clock: Clock
  readonly #addressing: Addressing
  readonly #prerequisites: Prerequisites

  constructor(clock: Clock, addressing: Addressing, prerequisites: Prerequisites) {
    this.#clock = clock
    this.#addressing = addressing
    this.#prerequisites = prerequisites
  }

  /**
   * Undefined when everything is there. Otherwise resolves when it is, or when those messages are refused for which it is not; never
   * rejects.
   */
  prepare(job: PublishJob, session: Session): Promise<void> | undefined {
    const pending: Promise<void>[] = []
    let topRung = -1
    let topic: string | undefined
    for (let index = job.next; index < job.messages.length; index++) {
      const message = job.messages[index] as OutgoingMessage
      const rung = this.#addressing.rungFor(message)
      if (rung !== undefined && rung > topRung) topRung = rung
      if (message.topic === topic) continue
      topic = message.topic
      const storage =
        isDeadLetterTopic(topic) && message.group === undefined
          ? this.#prerequisites.storage(session, topic)
          : undefined
      if (storage !== undefined)
        pending.push(this.#orRefuse(job, session, (other) => other.topic === message.topic, storage))
    }
    const delay = topRung < 0 ? undefined : this.#prerequisites.delay(session, topRung)
    if (delay !== undefined) pending.push(this.#orRefuse(job, session, (other) => other.deliverAt !== undefined, delay))
    return pending.length === 0 ? undefined : Promise.all(pending).then(() => undefined)
  }

  /** What a prerequisite is missing for can't be sent; the rest of the job can. A lost session means: again, on the next. */
  async #orRefuse(
    job: PublishJob,
    session: Session,
    needs: (message: OutgoingMessage) => boolean,
    doing: Promise<void>,
  ): Promise<void> {
    try {
      await this.#inTime(session, doing)
    } catch (error) {
      if (!session.isOpen) return
      for (let index = job.next; index < job.messages.length; index++) {
        const message = job.messages[index] as OutgoingMessage
        if (!needs(message)) continue
        const why = `could not be prepared for: ${BusbarError.is(error) ? error.message : reasonOf(error)}`
        job.settle(index, { error: refused(message.topic, why, error) })
      }
    }
  }

  async #inTime(session: Session, doing: Promise<void>): Promise<void> {
    const done = new AbortController()
    const late = sleep(this.#clock, MAX_MS, done.signal).then(
      () => true,
      () => false,
    )
    const isLate = await Promise.race([doing.then(() => false), late]).finally(() => done.abort())
    if (!isLate) return
    this.#prerequisites.giveUp(session)
    throw new TimeoutError(`the broker did not answer the declarations within ${MAX_MS} ms`)
  }
}

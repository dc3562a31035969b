import type { Clock, Timer } from '../../../core/clock.ts'
import { makeDeadLetter } from '../../../core/dead-letters/dead-letter.ts'
import { RejectError } from '../../../core/errors.ts'
import { deadLetterTopic } from '../../../core/topic.ts'
import type { Settlement, SettlementFailure } from '../../../core/transport.ts'
import type { RabbitMqDelivery } from './delivery.ts'
import type { QueueConsumer } from './queue-consumer.ts'

/** First look: the consumers of a process start one after another. */
const LOOK_MS = 1_000
const LOOK_AGAIN_MS = 5_000
/** No member handles the topic for so long: longer than a member takes to start, or to connect again. */
const NOBODY_MS = 60_000
/** Dead letters that are stored at a time. */
const PORTION = 64

export interface StrayReports {
  readonly group: string
  /** Another member handles the topic, and this one has the queue. Once for each topic. */
  elsewhere(topic: string): void
  /** No member handles it: its messages are dead letters from now on. Once for each topic. */
  nobody(topic: string): void
  deadLettered(delivery: RabbitMqDelivery, error: unknown, deadLetterTopic: string): void
  failed(error: unknown, doing: string): void
}

export interface StrayMessagesHost extends StrayReports {
  isConsumed(topic: string): boolean
  /** Another member handles what waits here, and should have the queue. */
  foundElsewhere(): void
  /** Whether another member handles the topic. Rejects when that is not known. */
  find(topic: string): Promise<boolean>
  readers(): readonly QueueConsumer[]
  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]>
}

interface Stray {
  /** Since when no member is known to handle it, in monotonic ms. */
  since: number
  /** How often nobody was found in that time. */
  looks: number
  /** Its messages go to the dead letters. */
  isDead: boolean
  /** When nobody was found last, in monotonic ms. */
  lookedAt: number
  /** That another member handles it, was reported. */
  isReported: boolean
  /** That nobody handles it, was reported. */
  isReportedDead: boolean
  hasFailed: boolean
}

/**
 * Messages in the group's queues whose topic this member does not consume. They wait, in their places: the members that handle the
 * most topics get the queues (`sharing`), and with them these messages. What no member handles for a minute is dead-lettered: it would
 * fill the queues, and hold up all other topics.
 */
export class StrayMessages {
  readonly #clock: Clock
  readonly #host: StrayMessagesHost
  readonly #topics = new Map<string, Stray>()
  #timer: Timer | undefined
  #isLooking = false
  #isClosed = false

  constructor(clock: Clock, host: StrayMessagesHost) {
    this.#clock = clock
    this.#host = host
  }

  /** A message of that topic is here, and nobody here takes it. */
  saw(topic: string): void {
    if (this.#isClosed) return
    let stray = this.#topics.get(topic)
    if (stray === undefined) {
      stray = {
        since: this.#clock.monotonic(),
        looks: 0,
        isDead: false,
        lookedAt: 0,
        isReported: false,
        isReportedDead: false,
        hasFailed: false,
      }
      this.#topics.set(topic, stray)
      this.#lookIn(LOOK_MS)
    } else {
      if (!this.#isHeld(topic)) this.#rested(stray)
      this.#lookIn(stray.isDead ? LOOK_MS : LOOK_AGAIN_MS)
    }
  }

  /**
   * None of its messages waited here for some time, and nobody looked who handles them: what was found before says nothing now.
   * That they go to the dead letters stays for a while, as those leave nothing to wait.
   */
  #rested(stray: Stray): void {
    const now = this.#clock.monotonic()
    if (stray.isDead && now - stray.lookedAt < NOBODY_MS) return
    stray.since = now
    stray.looks = 0
    stray.isDead = false
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #lookIn(ms: number): void {
    if (this.#isLooking || this.#isClosed) return
    this.#timer ??= this.#clock.setTimer(ms, () => {
      this.#timer = undefined
      void this.#look()
    })
  }

  async #look(): Promise<void> {
    this.#isLooking = true
    for (const [topic, stray] of this.#topics)
      try {
        await this.#lookAt(topic, stray)
      } catch (error) {
        // Not known, so it waits. Said once: it may last.
        if (!stray.hasFailed && !this.#isClosed) this.#host.failed(error, `asking who handles "${topic}"`)
        stray.hasFailed = true
      }
    this.#isLooking = false
    const wait = [...this.#topics].filter(([topic]) => this.#isHeld(topic))
    if (wait.length > 0) this.#lookIn(LOOK_AGAIN_MS)
  }

  async #lookAt(topic: string, stray: Stray): Promise<void> {
    if (this.#host.isConsumed(topic)) {
      this.#topics.delete(topic)
      return
    }
    if (!this.#isHeld(topic)) {
      this.#rested(stray)
      return
    }
    if (await this.#host.find(topic)) {
      stray.since = this.#clock.monotonic()
      stray.looks = 0
      stray.isDead = false
      if (!stray.isReported) this.#host.elsewhere(topic)
      stray.isReported = true
      this.#host.foundElsewhere()
      return
    }
    stray.lookedAt = this.#clock.monotonic()
    stray.looks++
    if (!stray.isDead && (stray.lookedAt - stray.since < NOBODY_MS || stray.looks < 3)) return
    if (!stray.isReportedDead) this.#host.nobody(topic)
    stray.isReportedDead = true
    stray.isDead = true
    while (!this.#isClosed && !this.#host.isConsumed(topic) && (await this.#deadLetter(topic)));
  }

  #isHeld(topic: string): boolean {
    return this.#host.readers().some(({ held }) => {
      for (const { message } of held) if (message.topic === topic) return true
      return false
    })
  }

  /** False when there was nothing to do, or it failed: the next look tries again. */
  async #deadLetter(topic: string): Promise<boolean> {
    const { group } = this.#host
    const taken: RabbitMqDelivery[] = []
    for (const reader of this.#host.readers())
      reader.takeSome(
        PORTION - taken.length,
        ({ message }) => message.topic === topic,
        (delivery) => taken.push(delivery),
      )
    if (taken.length === 0) return false
    const error = new RejectError(`No member of the group "${group}" consumes "${topic}"`)
    const now = this.#clock.now()
    const failures = await this.#host.settle(
      taken.map((delivery) => {
        const attempts = delivery.attempt - 1
        const firstAt = delivery.firstDeliveredAt ?? now
        const failure = { group, reason: 'rejected', error, attempts, firstAt, lastAt: now } as const
        return { delivery, outcome: { type: 'reject', deadLetter: makeDeadLetter(delivery, failure) } as const }
      }),
    )
    const failed = new Set(failures.map(({ index }) => index))
    for (const [index, delivery] of taken.entries())
      if (!failed.has(index)) this.#host.deadLettered(delivery, error, deadLetterTopic(topic, group))
    const kept = failures.flatMap(({ index }) => {
      const delivery = taken[index] as RabbitMqDelivery
      return delivery.lost ? [] : [{ delivery, outcome: { type: 'release', delayMs: 0 } as const }]
    })
    if (kept.length > 0) await this.#host.settle(kept)
    const [first] = failures
    if (first !== undefined) this.#host.failed(first.error, `storing a dead letter of "${topic}"`)
    return failures.length === 0
  }
}

import type { Clock, Timer } from '../../../core/clock.ts'
import { PublishError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { Queue } from '../../../core/util/queue.ts'
import type { PublishOutcome } from '../../../core/transport.ts'
import { refused } from './router.ts'
import type { Router } from './router.ts'
import { ChannelRenewal } from './channel-renewal.ts'
import { REPLY, reasonOf, replyCode } from '../errors.ts'
import type { Session } from '../connection/link.ts'
import { OutgoingFrame } from './outgoing-frame.ts'
import { PublishChannel } from './publish-channel.ts'
import { PublishJob } from './publish-job.ts'
import type { CopyNotes } from './publish-job.ts'

export interface LaneParts {
  readonly clock: Clock
  readonly addressing: Router
  readonly maxInFlight: number
  readonly isBlocked: () => boolean
  /** An exchange is missing. Resolves when it exists again. */
  readonly again: (session: Session) => Promise<void>
  /** A channel ended, or could not be opened, and another one will be. */
  readonly failed: (error: unknown) => void
  /** The broker has confirmed a message this long after the last one of its call was sent. */
  readonly took: (ms: number) => void
}

/** What differs between lanes. */
export interface LaneWork {
  /** Prepares what the messages of a job need on the broker; undefined when it exists. Never rejects. */
  readonly prepare?: (job: PublishJob, session: Session) => Promise<void> | undefined
  /** The broker has that message. */
  readonly confirmed: (job: PublishJob, index: number, message: OutgoingMessage) => void
  /** No queue takes that message. */
  readonly returned: (job: PublishJob, index: number, message: OutgoingMessage, session: Session) => void
}

const REOPEN_DELAY_MS = 200
/** Pause after a channel could not be opened: the connection may have reached its limit. */
const RETRY_DELAY_MS = 1_000

/**
 * Publishes messages in the order of the calls, on a channel that is opened when first needed, with many unconfirmed at
 * once. Unsent messages wait for the connection, for what they need on the broker, for room in the window, or for a
 * blocked broker; those sent but not confirmed when the channel ends are settled as `unknown`.
 */
export class PublishLane {
  readonly #parts: LaneParts
  readonly #work: LaneWork
  readonly #queue = new Queue<PublishJob>()
  readonly #parcel = new OutgoingFrame()
  readonly #renewal: ChannelRenewal
  #session: Session | undefined
  #channel: PublishChannel | undefined
  /** The session on which a channel is being opened, or will be in a moment. */
  #opening: Session | undefined
  #timer: Timer | undefined
  #waitsForDrain = false
  /** The session on which something is being prepared. */
  #preparing: Session | undefined
  #isClosed = false
  #answered: PublishJob | undefined

  constructor(parts: LaneParts, work: LaneWork) {
    this.#parts = parts
    this.#work = work
    this.#renewal = new ChannelRenewal(parts.clock, {
      isAnswered: () => this.#channel?.unanswered === 0,
      replace: () => this.#replaceChannel(),
      resume: () => this.pump(),
    })
  }

  /** `notes` has an entry for each message, at the same index. Never rejects. */
  publish(
    messages: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
    notes: readonly (CopyNotes | undefined)[] | undefined,
  ): Promise<readonly PublishOutcome[]> {
    return new Promise((resolve) => {
      const job = new PublishJob(messages, notes, signal, resolve)
      if (this.#isClosed) job.fail('The transport is closed', undefined)
      if (job.isSettled) return
      this.#queue.push(job)
      this.pump()
    })
  }

  // --- the connection ------------------------------------------------------------------------------------------------

  /** There is a new session. Call `pump` to continue sending. */
  attach(session: Session): void {
    this.#session = session
  }

  detach(session: Session, error: Error): void {
    if (this.#session !== session) return
    this.#session = undefined
    this.#dropChannel(error)
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    for (const job of this.#queue.drain()) job.fail('The transport was closed', undefined)
    this.#dropChannel(new Error('The transport was closed'))
  }

  /** Opens the channel of a new session. Rejects when that fails. */
  async open(session: Session): Promise<void> {
    this.#opening = session
    const channel: PublishChannel = await PublishChannel.open(session, this.#parts.clock, this.#hostFor(session))
    if (this.#session !== session || this.#isClosed) {
      channel.close()
      return
    }
    this.#opening = undefined
    this.#channel = channel
    this.#waitsForDrain = false
  }

  #hostFor(session: Session): Parameters<typeof PublishChannel.open>[2] {
    const { isBlocked } = this.#parts
    return {
      get isBlocked() {
        return isBlocked()
      },
      answered: (job, index, isAck) => this.#answer(job, index, isAck, session),
      settled: () => this.#settled(),
      ended: (error) => this.#channelEnded(session, error),
    }
  }

  #reopen(session: Session, isSomethingGone: boolean): void {
    this.#opening = session
    const ready = isSomethingGone ? this.#parts.again(session) : Promise.resolve()
    ready
      .then(() => this.open(session))
      .then(
        () => this.pump(),
        (error: unknown) => {
          if (session.isOpen && !this.#isClosed) this.#parts.failed(error)
          this.#reopenLater(session, isSomethingGone, RETRY_DELAY_MS)
        },
      )
  }

  #reopenLater(session: Session, isSomethingGone: boolean, delayMs = REOPEN_DELAY_MS): void {
    if (this.#session !== session || !session.isOpen || this.#isClosed) return
    this.#opening = session
    this.#timer?.cancel()
    this.#timer = this.#parts.clock.setTimer(delayMs, () => {
      this.#timer = undefined
      if (this.#session === session && session.isOpen) this.#reopen(session, isSomethingGone)
    })
  }

  #channelEnded(session: Session, error: Error | undefined): void {
    this.#leaveChannel()
    if (this.#session !== session || !session.isOpen || this.#isClosed || error === undefined) return
    // The broker closes a channel for one bad message: a deleted exchange, a missing permission, a body over its limit.
    this.#parts.failed(error)
    this.#reopenLater(session, replyCode(error) === REPLY.notFound)
  }

  #leaveChannel(): void {
    this.#channel = undefined
    this.#renewal.cancel()
  }

  #dropChannel(error: Error): void {
    const channel = this.#channel
    this.#leaveChannel()
    channel?.drop(error)
  }

  #replaceChannel(): void {
    const [channel, session] = [this.#channel, this.#session]
    if (channel === undefined || session === undefined) return
    this.#leaveChannel()
    channel.close()
    this.#reopen(session, false)
  }

  // --- sending -------------------------------------------------------------------------------------------------------

  /** Sends what can be sent. */
  pump(): void {
    // What was given up meanwhile would otherwise stay in memory until there is a connection.
    while (this.#queue.peek()?.isSettled === true) this.#queue.shift()
    const [session, channel] = [this.#session, this.#channel]
    if (session === undefined || this.#queue.size === 0) return
    if (channel === undefined) {
      if (this.#opening !== session) this.#reopen(session, false)
      return
    }
    if (this.#parts.isBlocked() || this.#waitsForDrain || this.#renewal.isHolding) return
    if (this.#preparing === session) return
    for (let job = this.#queue.peek(); job !== undefined; job = this.#queue.peek()) {
      if (!job.isSettled) {
        if (!this.#isPrepared(job, session)) break
        this.#send(job, channel)
        if (!job.isSettled && job.next < job.messages.length) break
        job.sentAt = this.#parts.clock.monotonic()
      }
      this.#queue.shift()
    }
    channel.flush()
  }

  /** True when prepared. Otherwise starts the preparation, then pumps again. */
  #isPrepared(job: PublishJob, session: Session): boolean {
    const { prepare } = this.#work
    if (prepare === undefined || job.preparedFor === session) return true
    const preparing = prepare(job, session)
    if (preparing === undefined) {
      job.preparedFor = session
      return true
    }
    this.#preparing = session
    void preparing.then(() => {
      if (this.#preparing !== session) return
      this.#preparing = undefined
      // Nothing could be prepared on a session that has ended.
      if (!session.isOpen) return
      job.preparedFor = session
      this.pump()
    })
    return false
  }

  #send(job: PublishJob, channel: PublishChannel): void {
    const { addressing, maxInFlight } = this.#parts
    const { messages } = job
    const parcel = this.#parcel
    while (job.next < messages.length && channel.unanswered < maxInFlight) {
      if (channel.isFull) {
        this.#waitForDrain(channel)
        return
      }
      const index = job.next++
      if (job.isDone(index)) continue
      const message = messages[index] as OutgoingMessage
      try {
        const error = addressing.address(parcel, message, job.notes?.[index])
        if (error === undefined) channel.publish(parcel, job, index)
        else job.settle(index, { error })
      } catch (error) {
        job.settle(index, { error: refused(message.topic, reasonOf(error), error) })
      }
    }
  }

  #waitForDrain(channel: PublishChannel): void {
    this.#waitsForDrain = true
    channel.flush()
    channel.onceDrained(() => {
      this.#waitsForDrain = false
      this.pump()
    })
  }

  // --- answers -------------------------------------------------------------------------------------------------------

  #answer(job: PublishJob, index: number, isAck: boolean, session: Session): void {
    this.#answered = job
    const message = job.messages[index] as OutgoingMessage
    if (!isAck) {
      this.#renewal.refused()
      const error = new PublishError(
        `The broker did not take the message for "${message.topic}": one of its queues refused it (full, or failing)`,
        { outcome: 'unknown', retryable: true },
      )
      job.settle(index, { error })
    } else if (job.wasReturned(index)) this.#work.returned(job, index, message, session)
    else this.#work.confirmed(job, index, message)
  }

  #settled(): void {
    const sentAt = this.#answered?.sentAt ?? 0
    this.#answered = undefined
    if (sentAt > 0) this.#parts.took(this.#parts.clock.monotonic() - sentAt)
    this.#renewal.answered()
    this.pump()
  }
}

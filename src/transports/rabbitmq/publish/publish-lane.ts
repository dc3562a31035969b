import type { Clock, Timer } from '../../../core/clock.ts'
import { PublishError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { Queue } from '../../../core/util/queue.ts'
import type { PublishOutcome } from '../../../core/transport.ts'
import { refused } from './router.ts'
import type { Router } from './router.ts'
import { ChannelRenewal } from './channel-renewal.ts'
import { REPLY, reasonOf, replyCode } from '../errors.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { OutgoingFrame } from './outgoing-frame.ts'
import { PublishChannel } from './publish-channel.ts'
import { PublishJob } from './publish-job.ts'
import type { CopyNotes } from './publish-job.ts'

export interface LaneParts {
  readonly clock: Clock
  readonly router: Router
  readonly maxInFlight: number
  readonly isBlocked: () => boolean
  /** An exchange is missing. Resolves when it exists again. */
  readonly again: (live: LiveConnection) => Promise<void>
  /** A channel ended, or could not be opened, and another one will be. */
  readonly failed: (error: unknown) => void
  /** The broker has confirmed a message this long after the last one of its call was sent. */
  readonly took: (ms: number) => void
}

/** What differs between lanes. */
export interface LaneWork {
  /** Prepares what the messages of a job need on the broker; undefined when it exists. Never rejects. */
  readonly prepare?: (job: PublishJob, live: LiveConnection) => Promise<void> | undefined
  /** The broker has that message. */
  readonly confirmed: (job: PublishJob, index: number, message: OutgoingMessage) => void
  /** No queue takes that message. */
  readonly returned: (job: PublishJob, index: number, message: OutgoingMessage, live: LiveConnection) => void
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
  readonly #frame = new OutgoingFrame()
  readonly #renewal: ChannelRenewal
  #live: LiveConnection | undefined
  #channel: PublishChannel | undefined
  /** The connection on which a channel is being opened, or will be in a moment. */
  #opening: LiveConnection | undefined
  #timer: Timer | undefined
  #waitsForDrain = false
  /** The connection on which something is being prepared. */
  #preparing: LiveConnection | undefined
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

  /** There is a new connection. Call `pump` to continue sending. */
  attach(live: LiveConnection): void {
    this.#live = live
  }

  detach(live: LiveConnection, error: Error): void {
    if (this.#live !== live) return
    this.#live = undefined
    this.#dropChannel(error)
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    for (const job of this.#queue.drain()) job.fail('The transport was closed', undefined)
    this.#dropChannel(new Error('The transport was closed'))
  }

  /** Opens the channel of a new connection. Rejects when that fails. */
  async open(live: LiveConnection): Promise<void> {
    this.#opening = live
    const channel: PublishChannel = await PublishChannel.open(live, this.#parts.clock, this.#hostFor(live))
    if (this.#live !== live || this.#isClosed) {
      channel.close()
      return
    }
    this.#opening = undefined
    this.#channel = channel
    this.#waitsForDrain = false
  }

  #hostFor(live: LiveConnection): Parameters<typeof PublishChannel.open>[2] {
    const { isBlocked } = this.#parts
    return {
      get isBlocked() {
        return isBlocked()
      },
      answered: (job, index, isAck) => this.#answer(job, index, isAck, live),
      settled: () => this.#settled(),
      ended: (error) => this.#channelEnded(live, error),
    }
  }

  #reopen(live: LiveConnection, isSomethingGone: boolean): void {
    this.#opening = live
    const ready = isSomethingGone ? this.#parts.again(live) : Promise.resolve()
    ready
      .then(() => this.open(live))
      .then(
        () => this.pump(),
        (error: unknown) => {
          if (live.isOpen && !this.#isClosed) this.#parts.failed(error)
          this.#reopenLater(live, isSomethingGone, RETRY_DELAY_MS)
        },
      )
  }

  #reopenLater(live: LiveConnection, isSomethingGone: boolean, delayMs = REOPEN_DELAY_MS): void {
    if (this.#live !== live || !live.isOpen || this.#isClosed) return
    this.#opening = live
    this.#timer?.cancel()
    this.#timer = this.#parts.clock.setTimer(delayMs, () => {
      this.#timer = undefined
      if (this.#live === live && live.isOpen) this.#reopen(live, isSomethingGone)
    })
  }

  #channelEnded(live: LiveConnection, error: Error | undefined): void {
    this.#leaveChannel()
    if (this.#live !== live || !live.isOpen || this.#isClosed || error === undefined) return
    // The broker closes a channel for one bad message: a deleted exchange, a missing permission, a body over its limit.
    this.#parts.failed(error)
    this.#reopenLater(live, replyCode(error) === REPLY.notFound)
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
    const [channel, live] = [this.#channel, this.#live]
    if (channel === undefined || live === undefined) return
    this.#leaveChannel()
    channel.close()
    this.#reopen(live, false)
  }

  // --- sending -------------------------------------------------------------------------------------------------------

  /** Sends what can be sent. */
  pump(): void {
    // What was given up meanwhile would otherwise stay in memory until there is a connection.
    while (this.#queue.peek()?.isSettled === true) this.#queue.shift()
    const [live, channel] = [this.#live, this.#channel]
    if (live === undefined || this.#queue.size === 0) return
    if (channel === undefined) {
      if (this.#opening !== live) this.#reopen(live, false)
      return
    }
    if (this.#parts.isBlocked() || this.#waitsForDrain || this.#renewal.isHolding) return
    if (this.#preparing === live) return
    for (let job = this.#queue.peek(); job !== undefined; job = this.#queue.peek()) {
      if (!job.isSettled) {
        if (!this.#isPrepared(job, live)) break
        this.#send(job, channel)
        if (!job.isSettled && job.next < job.messages.length) break
        job.sentAt = this.#parts.clock.monotonic()
      }
      this.#queue.shift()
    }
    channel.flush()
  }

  /** True when prepared. Otherwise starts the preparation, then pumps again. */
  #isPrepared(job: PublishJob, live: LiveConnection): boolean {
    const { prepare } = this.#work
    if (prepare === undefined || job.preparedFor === live) return true
    const preparing = prepare(job, live)
    if (preparing === undefined) {
      job.preparedFor = live
      return true
    }
    this.#preparing = live
    void preparing.then(() => {
      if (this.#preparing !== live) return
      this.#preparing = undefined
      // Nothing could be prepared on a connection that has ended.
      if (!live.isOpen) return
      job.preparedFor = live
      this.pump()
    })
    return false
  }

  #send(job: PublishJob, channel: PublishChannel): void {
    const { router, maxInFlight } = this.#parts
    const { messages } = job
    const frame = this.#frame
    while (job.next < messages.length && channel.unanswered < maxInFlight) {
      if (channel.isFull) {
        this.#waitForDrain(channel)
        return
      }
      const index = job.next++
      if (job.isDone(index)) continue
      const message = messages[index] as OutgoingMessage
      try {
        const error = router.address(frame, message, job.notes?.[index])
        if (error === undefined) channel.publish(frame, job, index)
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

  #answer(job: PublishJob, index: number, isAck: boolean, live: LiveConnection): void {
    this.#answered = job
    const message = job.messages[index] as OutgoingMessage
    if (!isAck) {
      this.#renewal.refused()
      const error = new PublishError(
        `The broker did not take the message for "${message.topic}": one of its queues refused it (full, or failing)`,
        { outcome: 'unknown', retryable: true },
      )
      job.settle(index, { error })
    } else if (job.wasReturned(index)) this.#work.returned(job, index, message, live)
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

import type { ConfirmChannel, GetMessage, Message } from 'amqplib'
import type { Clock, Timer } from '../../core/clock.ts'
import { BusbarError, PublishError } from '../../core/errors.ts'
import type { BusEvents } from '../../core/events.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import { Queue } from '../../core/queue.ts'
import { isDeadLetterTopic } from '../../core/topic.ts'
import type { PublishOutcome } from '../../core/transport.ts'
import { refused } from './addressing.ts'
import type { Addressing } from './addressing.ts'
import { closeQuietly } from './amqp.ts'
import { Arrival } from './arrival.ts'
import { ChannelRenewal } from './channel-renewal.ts'
import { channelWriter } from './channel-writer.ts'
import type { ChannelWriter } from './channel-writer.ts'
import { Confirms } from './confirms.ts'
import { REPLY, reasonOf, replyCode } from './errors.ts'
import type { Session } from './link.ts'
import { fillArrival, topicOf } from './mapping.ts'
import type { ResolvedRabbitMqOptions } from './options.ts'
import { Parcel } from './parcel.ts'
import { CONFIRMED, PublishJob } from './publish-job.ts'
import type { CopyNotes } from './publish-job.ts'

/** What has to be on the broker before certain messages can be sent. Each remembers what it has done for a session. */
export interface Prerequisites {
  /** The queue of a dead-letter topic; undefined when it is there. */
  storage(session: Session, topic: string): Promise<void> | undefined
  /** What delays need up to that rung of the ladder; undefined when it is there. */
  delay(session: Session, rung: number): Promise<void> | undefined
  /** The broker says that an exchange is gone: somebody deleted it. Declares again what everything else stands on. */
  again(session: Session): Promise<void>
  /** For so long a confirmed delayed message is not safe yet: what it waits in was just made. */
  youngForMs(): number
  /** No queue took a dead letter: somebody deleted the one that was there. */
  storageGone(session: Session, topic: string): void
}

export interface PublisherParts {
  readonly options: ResolvedRabbitMqOptions
  readonly addressing: Addressing
  readonly clock: Clock
  readonly events: BusEvents
  readonly transportName: string
  readonly prerequisites: Prerequisites
  /** A delayed message was confirmed. */
  readonly onDelayed: (message: OutgoingMessage) => void
}

const REOPEN_DELAY_MS = 200
/** How long messages may be held back for a channel to be answered in full, so that a new one can follow it. */
const HOLD_MS = 1_000

/**
 * The way of all messages to the broker: one confirm channel, messages in the order of the calls, many unconfirmed at
 * once. What is not sent yet waits for the connection, for room in the window, or for a blocked broker; what is sent and
 * not confirmed when the channel ends is settled as `unknown`.
 */
export class RabbitMqPublisher {
  readonly #parts: PublisherParts
  readonly #queue = new Queue<PublishJob>()
  readonly #confirms = new Confirms()
  readonly #parcel = new Parcel()
  #session: Session | undefined
  #channel: ConfirmChannel | undefined
  #writer: ChannelWriter | undefined
  #blockedBy: string | undefined
  #waitsForDrain = false
  #isPreparing = false
  readonly #renewal: ChannelRenewal
  /** While it runs, nothing more is sent on this channel. */
  #hold: Timer | undefined
  #isClosed = false
  /** How long a confirmation takes of late, in ms. */
  confirmMs = 0
  #timer: Timer | undefined
  /** Confirmed, and not to be relied on yet. */
  readonly #early = new Set<{ readonly job: PublishJob; readonly index: number }>()
  #earlyTimer: Timer | undefined
  /** Of the answer that is being worked on. */
  #isAck = true
  #answered: PublishJob | undefined
  readonly #onAnswer = (job: PublishJob, index: number): void => this.#answer(job, index)

  constructor(parts: PublisherParts) {
    this.#parts = parts
    this.#renewal = new ChannelRenewal(parts.clock, () => this.#holdBack())
  }

  /** Why the broker takes nothing, or undefined. */
  get blockedBy(): string | undefined {
    return this.#blockedBy
  }

  /** `notes` stand beside the messages at the same index: what the copy of a delivery carries on. Never rejects. */
  publish(
    messages: readonly OutgoingMessage[],
    signal?: AbortSignal,
    notes?: readonly (CopyNotes | undefined)[],
  ): Promise<readonly PublishOutcome[]> {
    return new Promise((resolve) => {
      const job = new PublishJob(messages, notes, signal, resolve)
      if (this.#isClosed) job.fail('The transport is closed', undefined)
      if (job.isSettled) return
      this.#queue.push(job)
      this.#pump()
    })
  }

  // --- the connection ------------------------------------------------------------------------------------------------

  /** Opens the channel on a new session. Sending goes on with `resume`. */
  async attach(session: Session): Promise<void> {
    this.#session = session
    this.#blockedBy = undefined
    await this.#openChannel(session)
  }

  resume(): void {
    this.#pump()
  }

  detach(session: Session, error: Error): void {
    if (this.#session !== session) return
    this.#session = undefined
    this.#dropChannel(error)
  }

  /** The broker takes nothing from publishers for that reason (memory, disk), or does again. */
  block(reason: string | undefined): void {
    this.#blockedBy = reason
    if (reason === undefined) this.#pump()
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    for (const job of this.#queue.drain()) job.fail('The transport was closed', undefined)
    this.#dropChannel(new Error('The transport was closed'))
  }

  async #openChannel(session: Session): Promise<void> {
    const channel = await session.confirmChannel((error) => this.#channelEnded(session, channel, error))
    if (this.#session !== session) return
    // The client library's own books are for publishes through it. Ours keep a whole batch in one line.
    channel.removeAllListeners('ack')
    channel.removeAllListeners('nack')
    channel.on('ack', ({ deliveryTag, multiple }) => this.#onConfirm(channel, deliveryTag, multiple, true))
    channel.on('nack', ({ deliveryTag, multiple }) => this.#onConfirm(channel, deliveryTag, multiple, false))
    channel.on('return', (message) => this.#onReturn(channel, message))
    this.#channel = channel
    this.#writer = channelWriter(channel)
    this.#waitsForDrain = false
  }

  #channelEnded(session: Session, channel: ConfirmChannel, error: Error | undefined): void {
    if (this.#channel !== channel) return
    this.#dropChannel(error)
    if (!session.isOpen || this.#isClosed || error === undefined) return
    // The broker closes a channel for one bad message: a deleted exchange, a missing permission, a body over its limit.
    this.#parts.events.emit('error', { transport: this.#parts.transportName, error, doing: 'publishing' })
    this.#reopen(session, replyCode(error) === REPLY.notFound)
  }

  #reopen(session: Session, isSomethingGone: boolean): void {
    this.#timer?.cancel()
    this.#timer = this.#parts.clock.setTimer(REOPEN_DELAY_MS, () => {
      this.#timer = undefined
      if (this.#session !== session || !session.isOpen || this.#isClosed) return
      const ready = isSomethingGone ? this.#parts.prerequisites.again(session) : Promise.resolve()
      ready
        .then(() => this.#openChannel(session))
        .then(
          () => this.#pump(),
          () => {
            if (session.isOpen) this.#reopen(session, isSomethingGone)
          },
        )
    })
  }

  /** Has the channel answered in full: messages of a new one must not overtake those that are still on their way. */
  #holdBack(): void {
    if (this.#channel === undefined) return
    this.#hold = this.#parts.clock.setTimer(HOLD_MS, () => {
      // Some queue does not answer. It must not keep the others from their messages; the next refusal brings us back here.
      this.#hold = undefined
      this.#pump()
    })
    this.#renewIfAnswered()
  }

  #renewIfAnswered(): void {
    const [channel, session] = [this.#channel, this.#session]
    if (this.#hold === undefined || this.#confirms.size > 0 || channel === undefined || session === undefined) return
    this.#leaveChannel()
    // All are answered. On the next channel tags count from 1 again.
    this.#confirms.drain(() => undefined)
    void closeQuietly(channel)
    this.#openChannel(session).then(
      () => this.#pump(),
      () => {
        if (session.isOpen) this.#reopen(session, false)
      },
    )
  }

  #stopHolding(): void {
    this.#hold?.cancel()
    this.#hold = undefined
  }

  #leaveChannel(): void {
    this.#channel = undefined
    this.#writer = undefined
    this.#renewal.cancel()
    this.#stopHolding()
  }

  #dropChannel(error: Error | undefined): void {
    this.#leaveChannel()
    const lost = new PublishError(
      `The channel was lost before the broker confirmed; it may have the message: ${reasonOf(error ?? '')}`,
      { outcome: 'unknown', retryable: true, cause: error },
    )
    this.#confirms.drain((job, index) => job.settle(index, { error: lost }))
    this.#earlyTimer?.cancel()
    this.#earlyTimer = undefined
    for (const { job, index } of this.#early) job.settle(index, { error: lost })
    this.#early.clear()
  }

  // --- sending -------------------------------------------------------------------------------------------------------

  #pump(): void {
    const writer = this.#writer
    if (writer === undefined || this.#blockedBy !== undefined || this.#waitsForDrain) return
    if (this.#isPreparing || this.#hold !== undefined) return
    for (let job = this.#queue.peek(); job !== undefined; job = this.#queue.peek()) {
      if (!job.isSettled) {
        if (job.preparedFor !== this.#session && !this.#prepare(job)) break
        this.#send(job, writer)
        if (!job.isSettled && job.next < job.messages.length) break
        job.sentAt = this.#parts.clock.monotonic()
      }
      this.#queue.shift()
    }
    writer.flush()
  }

  #send(job: PublishJob, writer: ChannelWriter): void {
    const { addressing, options } = this.#parts
    const { messages } = job
    const parcel = this.#parcel
    while (job.next < messages.length && this.#confirms.size < options.maxUnconfirmed) {
      if (writer.isFull) {
        this.#waitForDrain(writer)
        return
      }
      const index = job.next++
      if (job.isDone(index)) continue
      const message = messages[index] as OutgoingMessage
      try {
        const error = addressing.address(parcel, message, job.notes?.[index])
        if (error !== undefined) {
          job.settle(index, { error })
          continue
        }
        writer.publish(parcel)
      } catch (error) {
        job.settle(index, { error: refused(message.topic, reasonOf(error), error) })
        continue
      }
      this.#confirms.sent(job, index)
    }
  }

  #waitForDrain(writer: ChannelWriter): void {
    this.#waitsForDrain = true
    writer.flush()
    writer.onceDrained(() => {
      if (this.#writer !== writer) return
      this.#waitsForDrain = false
      this.#pump()
    })
  }

  /** True when everything is there that the messages of the job need; else sees to it, and pumps again. */
  #prepare(job: PublishJob): boolean {
    const session = this.#session as Session
    const { addressing, prerequisites } = this.#parts
    const pending: Promise<void>[] = []
    let topRung = -1
    let topic: string | undefined
    for (let index = job.next; index < job.messages.length; index++) {
      const message = job.messages[index] as OutgoingMessage
      const rung = addressing.rungFor(message)
      if (rung !== undefined && rung > topRung) topRung = rung
      if (message.topic === topic) continue
      topic = message.topic
      const storage =
        isDeadLetterTopic(topic) && message.group === undefined ? prerequisites.storage(session, topic) : undefined
      if (storage !== undefined) pending.push(this.#failingOnly(job, (other) => other.topic === message.topic, storage))
    }
    const delay = topRung < 0 ? undefined : prerequisites.delay(session, topRung)
    if (delay !== undefined) pending.push(this.#failingOnly(job, (other) => other.deliverAt !== undefined, delay))
    if (pending.length === 0) {
      job.preparedFor = session
      return true
    }
    this.#isPreparing = true
    Promise.all(pending).then(
      () => {
        this.#isPreparing = false
        if (session.isOpen) job.preparedFor = session
        this.#pump()
      },
      // Each of them has handled its own failure.
      () => undefined,
    )
    return false
  }

  /** What a prerequisite is missing for can't be sent; the rest of the job can. A lost session means: again, on the next. */
  async #failingOnly(
    job: PublishJob,
    needs: (message: OutgoingMessage) => boolean,
    doing: Promise<void>,
  ): Promise<void> {
    const session = this.#session
    try {
      await doing
    } catch (error) {
      if (session?.isOpen !== true) return
      for (let index = job.next; index < job.messages.length; index++) {
        const message = job.messages[index] as OutgoingMessage
        if (!needs(message)) continue
        const why = `could not be prepared for: ${BusbarError.is(error) ? error.message : reasonOf(error)}`
        job.settle(index, { error: refused(message.topic, why, error) })
      }
    }
  }

  // --- answers -------------------------------------------------------------------------------------------------------

  #onConfirm(channel: ConfirmChannel, tag: number, multiple: boolean, isAck: boolean): void {
    if (this.#channel !== channel) return
    this.#isAck = isAck
    this.#confirms.confirm(tag, multiple, this.#onAnswer)
    if (this.#answered !== undefined) this.#measure(this.#answered)
    this.#renewIfAnswered()
    if (this.#queue.size > 0) this.#pump()
  }

  #measure({ sentAt }: PublishJob): void {
    this.#answered = undefined
    if (sentAt === 0) return
    const took = this.#parts.clock.monotonic() - sentAt
    this.confirmMs = this.confirmMs === 0 ? took : 0.8 * this.confirmMs + 0.2 * took
  }

  #answer(job: PublishJob, index: number): void {
    this.#answered = job
    const message = job.messages[index] as OutgoingMessage
    if (!this.#isAck) {
      this.#renewal.refused()
      const error = new PublishError(
        `The broker did not take the message for "${message.topic}": one of its queues refused it (full, or failing)`,
        { outcome: 'unknown', retryable: true },
      )
      job.settle(index, { error })
    } else if (job.wasReturned(index)) this.#unroutable(job, index, message)
    else {
      if (message.deliverAt === undefined) job.settle(index, CONFIRMED)
      else this.#delayedConfirmed(job, index, message)
    }
  }

  #delayedConfirmed(job: PublishJob, index: number, message: OutgoingMessage): void {
    this.#parts.onDelayed(message)
    const youngMs = this.#parts.prerequisites.youngForMs()
    if (youngMs === 0) {
      job.settle(index, CONFIRMED)
      return
    }
    const early = { job, index }
    this.#early.add(early)
    this.#earlyTimer ??= this.#parts.clock.setTimer(youngMs, () => {
      this.#earlyTimer = undefined
      for (const each of this.#early) each.job.settle(each.index, CONFIRMED)
      this.#early.clear()
    })
  }

  #unroutable(job: PublishJob, index: number, { topic, group }: OutgoingMessage): void {
    if (this.#parts.options.unroutable === 'drop' && group === undefined) {
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
    if (isDeadLetterTopic(topic) && group === undefined && this.#session !== undefined)
      this.#parts.prerequisites.storageGone(this.#session, topic)
    const why =
      group === undefined
        ? `reached no queue: no group consumes the topic yet. Start a consumer first, declare its group (option groups of rabbitmq()), or set unroutable to 'drop'`
        : `reached no queue: there is no group "${group}" of that topic`
    job.settle(index, { error: refused(topic, why) })
  }

  /** A return comes right before the confirmation of its message, and names it by its properties alone. */
  #onReturn(channel: ConfirmChannel, returned: Message): void {
    if (this.#channel !== channel) return
    const arrival = fillArrival(new Arrival(), returned as unknown as GetMessage)
    // Dead letters and copies for one group have the id of their source.
    const topic = topicOf(arrival)
    const found = this.#confirms.find((job, index) => {
      const message = job.messages[index] as OutgoingMessage
      if (message.id !== arrival.id || job.wasReturned(index)) return false
      return message.topic === topic && (message.group !== undefined) === arrival.targeted
    })
    found?.job.markReturned(found.index)
  }
}

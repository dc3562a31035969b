import type { ConfirmChannel, GetMessage, Message } from 'amqplib'
import type { Clock } from '../../../core/clock.ts'
import { PublishError, TimeoutError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { closeQuietly } from '../connection/amqp.ts'
import { IncomingMessage } from '../wire/incoming-message.ts'
import { channelWriter } from '../wire/channel-writer.ts'
import type { ChannelWriter } from '../wire/writer.ts'
import { Confirms } from './confirms.ts'
import { reasonOf } from '../errors.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { readMessage, topicOf } from '../wire/read-message.ts'
import type { OutgoingFrame } from './outgoing-frame.ts'
import type { PublishJob } from './publish-job.ts'
import { SilenceWatch } from '../connection/silence-watch.ts'

export interface PublishChannelHost {
  /** True while the broker blocks publishers. */
  readonly isBlocked: boolean
  /** The broker confirmed or refused that message. */
  answered(job: PublishJob, index: number, isAck: boolean): void
  /** One answer of the broker was processed completely. */
  settled(): void
  /** The channel ended other than by `close` or `drop`; its unanswered messages are settled as `unknown`. */
  ended(error: Error | undefined): void
}

/** One confirm channel, from opening to end: the messages sent on it and the broker's answers. */
export class PublishChannel {
  readonly #channel: ConfirmChannel
  readonly #writer: ChannelWriter
  readonly #host: PublishChannelHost
  readonly #confirms = new Confirms()
  readonly #watch: SilenceWatch
  #isEnded = false
  /** Whether the answer being processed is an ack. */
  #isAck = true
  readonly #onAnswer = (job: PublishJob, index: number): void => this.#host.answered(job, index, this.#isAck)

  static async open(live: LiveConnection, clock: Clock, host: PublishChannelHost): Promise<PublishChannel> {
    const channel = await live.confirmChannel((error) => opened.#end(error))
    const opened = new PublishChannel(channel, clock, host)
    return opened
  }

  private constructor(channel: ConfirmChannel, clock: Clock, host: PublishChannelHost) {
    this.#channel = channel
    this.#writer = channelWriter(channel)
    this.#host = host
    this.#watch = new SilenceWatch(clock, {
      isOwed: () => this.#confirms.size > 0,
      isExcused: () => host.isBlocked,
      // Without a consumer this changes nothing.
      ask: () => channel.prefetch(0),
      giveUp: (silentMs) => this.#giveUp(silentMs),
    })
    // The client library only tracks publishes made through it. Our own records keep a whole batch in one entry.
    channel.removeAllListeners('ack')
    channel.removeAllListeners('nack')
    channel.on('ack', ({ deliveryTag, multiple }) => this.#onConfirm(deliveryTag, multiple, true))
    channel.on('nack', ({ deliveryTag, multiple }) => this.#onConfirm(deliveryTag, multiple, false))
    channel.on('return', (message) => this.#onReturn(message))
  }

  /** Number of messages that were sent but not answered. */
  get unanswered(): number {
    return this.#confirms.size
  }

  /** The socket buffers more than it should. */
  get isFull(): boolean {
    return this.#writer.isFull
  }

  /** Throws a RangeError when the message does not fit into AMQP; nothing is written then. */
  publish(frame: OutgoingFrame, job: PublishJob, index: number): void {
    this.#writer.publish(frame)
    this.#confirms.sent(job, index)
  }

  flush(): void {
    this.#writer.flush()
    if (this.#confirms.size > 0) this.#watch.sent()
  }

  /** Calls `listener` once when there is room again. */
  onceDrained(listener: () => void): void {
    this.#writer.onceDrained(() => {
      if (!this.#isEnded) listener()
    })
  }

  /** Closes a channel that has no unanswered messages. */
  close(): void {
    this.#isEnded = true
    this.#watch.cancel()
    void closeQuietly(this.#channel)
  }

  /** The channel is lost, with all unanswered messages. */
  drop(error: Error | undefined): void {
    this.#isEnded = true
    this.#watch.cancel()
    const lost = channelLost(error)
    this.#confirms.drain((job, index) => job.settle(index, { error: lost }))
  }

  #end(error: Error | undefined): void {
    if (this.#isEnded) return
    this.drop(error)
    this.#host.ended(error)
  }

  #giveUp(silentMs: number): void {
    this.#end(
      new TimeoutError(
        `The broker answered nothing on a channel for publishing for ${silentMs / 1_000} s, and another one is opened. A quorum queue that has no leader blocks the channel that publishes to it: see that each has a majority of its members`,
      ),
    )
    // A stuck channel does not answer that either until it continues.
    void closeQuietly(this.#channel)
  }

  #onConfirm(tag: number, multiple: boolean, isAck: boolean): void {
    if (this.#isEnded) return
    this.#watch.heard()
    this.#isAck = isAck
    this.#confirms.confirm(tag, multiple, this.#onAnswer)
    this.#host.settled()
  }

  /** A return comes right before the confirmation of its message, and identifies it only by its properties. */
  #onReturn(returned: Message): void {
    if (this.#isEnded) return
    const arrival = readMessage(new IncomingMessage(), returned as unknown as GetMessage)
    // Dead letters and copies for one group have the id of their source.
    const topic = topicOf(arrival)
    const found = this.#confirms.find((job, index) => {
      const message = job.messages[index] as OutgoingMessage
      if (message.id !== arrival.id || job.wasReturned(index)) return false
      return message.topic === topic && (message.group !== undefined) === arrival.isCopy
    })
    found?.job.markReturned(found.index)
  }
}

function channelLost(error: Error | undefined): PublishError {
  return new PublishError(
    `The channel was lost before the broker confirmed; it may have the message: ${reasonOf(error ?? '')}`,
    { outcome: 'unknown', retryable: true, cause: error },
  )
}

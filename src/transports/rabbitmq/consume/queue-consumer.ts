// Longer than most files: the life of one channel and of what is out on it; its parts (window, consumer, acks) are files of their own.
import type { Channel, ConsumeMessage } from 'amqplib'
import type { Clock } from '../../../core/clock.ts'
import { AckConfirmations } from './ack-confirmations.ts'
import type { BodyBudget } from './body-budget.ts'
import { ChannelConsumer } from './channel-consumer.ts'
import { closeQuietly } from '../connection/amqp.ts'
import { IncomingMessage } from '../wire/incoming-message.ts'
import { channelWriter } from '../wire/channel-writer.ts'
import type { ChannelWriter } from '../wire/writer.ts'
import type { ResolvedConsumerOptions } from './consumer-options.ts'
import { RabbitMqDelivery } from './delivery.ts'
import type { DeliveryReader } from './delivery.ts'
import { DeliveryWindow } from './delivery-window.ts'
import { FrameReader } from '../wire/frame-reader.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { readMessage } from '../wire/read-message.ts'

export interface QueueConsumerHost {
  /** Turns an arrival into a delivery; undefined for a message that does not concern the group and is acked. */
  admit(reader: QueueConsumer, arrival: IncomingMessage): RabbitMqDelivery | undefined
  /** The first message of a channel has arrived. */
  activated(reader: QueueConsumer): void
  /** A message waits in `held`. */
  arrived(): void
  /** The channel ended, with all outstanding messages. */
  lost(reader: QueueConsumer, what: LostDeliveries, end: ConsumerEnd): void
  /** The body of a message that waits here can't be read: it has to come again. */
  unreadable(reader: QueueConsumer, error: unknown): void
  /** Resolves when the broker has had time to process acks that were just sent. */
  ackTime(): Promise<void>
  /** Called at each start. */
  consumeArguments(): Readonly<Record<string, unknown>> | undefined
}

export interface LostDeliveries {
  /** With the runtime. */
  readonly handed: readonly RabbitMqDelivery[]
  /** Not with the runtime. */
  readonly held: readonly RabbitMqDelivery[]
  /** Done, but nothing shows that the broker has read the ack. */
  readonly unheard: readonly RabbitMqDelivery[]
}

export interface ConsumerEnd {
  readonly error: Error
  /**
   * - `lost`: the connection or the channel ended.
   * - `cancelled`: the broker ended the consumer: its queue was deleted, or it held a message for too long.
   * - `turn-over`: ended by us, to start again.
   */
  readonly cause: 'lost' | 'cancelled' | 'turn-over'
  /** Nothing was unacked, so the broker had no reason of time to end it. */
  readonly wasIdle?: boolean
}

export interface QueueConsumerParts {
  readonly clock: Clock
  readonly queue: string
  /** Number of unacked messages that the broker may send ahead. */
  readonly prefetch: number
  /** With `noAck`: stop consuming when this many are held. */
  readonly maxHeld: number
  readonly bodies: BodyBudget
  /** Each message of the queue waits for the one before it. */
  readonly isStrict: boolean
  /** It is a queue of several topics, each with a consumer of its own. */
  readonly isPerGroup: boolean
  readonly options: Pick<ResolvedConsumerOptions, 'noAck' | 'exclusive' | 'priority' | 'consumerTag' | 'metadata'>
  readonly host: QueueConsumerHost
}

const YES: Promise<boolean> = Promise.resolve(true)
const NO: Promise<boolean> = Promise.resolve(false)

/**
 * Consumes one queue on a separate channel, and tracks its delivery tags. A tag is valid only on its channel, so
 * everything here is dropped with the channel; except with `noAck`, where the broker no longer has what it sent.
 */
export class QueueConsumer implements DeliveryReader {
  readonly queue: string
  /** Arrived but not with the runtime, by delivery tag. */
  readonly held: RabbitMqDelivery[] = []
  /** Number of deliveries with the runtime or on their way to an outcome. */
  handed = 0
  /** Size of everything unsettled that is here, in bytes. */
  bytes = 0
  epoch = 0
  /** Number of channels opened so far. */
  opened = 0
  /** Nothing more is handed out: the channel is about to be replaced. */
  isTurning = false
  /** A message has arrived on this channel. */
  hasReceived = false
  readonly #parts: QueueConsumerParts
  #prefetch: number
  /** What the broker was told on this channel. */
  #toldPrefetch = 0
  #maxHanded = Infinity
  readonly #noAck: boolean
  #consumer: ChannelConsumer | undefined
  #writer: ChannelWriter | undefined
  #opening: Promise<void> | undefined
  #closing: Promise<void> | undefined
  /** What is known about the acks on the channel. */
  #acks: AckConfirmations | undefined
  readonly #window = new DeliveryWindow()
  #lastTag = 0
  readonly #arrival = new IncomingMessage()

  constructor(parts: QueueConsumerParts) {
    this.queue = parts.queue
    this.#parts = parts
    this.#prefetch = parts.prefetch
    this.#noAck = parts.options.noAck
  }

  get #channel(): Channel | undefined {
    return this.#consumer?.channel
  }

  get isOpen(): boolean {
    return this.#channel !== undefined && this.#closing === undefined
  }

  get isIdle(): boolean {
    return this.#channel === undefined && this.#opening === undefined && this.#closing === undefined
  }

  get prefetch(): number {
    return this.#prefetch
  }

  /**
   * Applies to the next consumer, where order does not matter: messages sent ahead wait for too long. Elsewhere the
   * number stays: a quorum queue puts messages that come back twice behind those that came back once, so a consumer
   * must take all that came back at once.
   */
  lowerPrefetch(): void {
    this.#prefetch = Math.max(1, Math.floor(this.#prefetch / 4))
  }

  /** Applies to the next consumer. */
  raisePrefetch(prefetch: number): void {
    this.#prefetch = Math.max(this.#prefetch, Math.min(65_535, prefetch))
  }

  /** Everything that the broker may send ahead is here. */
  get isFull(): boolean {
    return this.handed + this.held.length >= this.#toldPrefetch && this.#toldPrefetch > 0
  }

  /**
   * Limits what the runtime may have: what runs, and as much again. What is held here instead can be given back at any
   * time.
   */
  lowerHanded(): void {
    let running = 0
    for (const { state, noted } of this.#window.latest()) if (state === 'handed' && noted?.running === true) running++
    this.#maxHanded = Math.max(2, 2 * running)
  }

  raiseHanded(): void {
    this.#maxHanded *= 2
  }

  /** Tag of the newest message on this channel; tags count up from 1. */
  get lastTag(): number {
    return this.#lastTag
  }

  /** The oldest unsettled delivery. */
  get oldest(): RabbitMqDelivery | undefined {
    return this.#window.oldest
  }

  /**
   * True when none of the runtime's deliveries runs or is about to: they wait for their next attempt, or behind one
   * that does.
   */
  isAllWaiting(now: number): boolean {
    if (this.handed === 0) return true
    const keys = new Set<string | undefined>()
    for (const delivery of this.#window.latest()) {
      if (delivery.state !== 'handed' && delivery.state !== 'settling') continue
      const key = this.#keyOf(delivery)
      if (delivery.isWaitingAt(now)) keys.add(key)
      else if (!(this.#parts.isStrict ? keys.size > 0 : key !== undefined && keys.has(key))) return false
    }
    return true
  }

  /** Where topics share the queue, each has its own keys. */
  #keyOf({ message: { key, topic } }: RabbitMqDelivery): string | undefined {
    return key === undefined || !this.#parts.isPerGroup ? key : `${topic}/${key}`
  }

  /** Starts to consume. Rejects when the broker refuses. */
  open(live: LiveConnection): Promise<void> {
    this.#opening ??= this.#start(live).finally(() => {
      this.#opening = undefined
    })
    return this.#opening
  }

  async #start(live: LiveConnection): Promise<void> {
    await this.#closing
    if (this.#consumer !== undefined) return
    const channel = await live.channel((error) =>
      this.#ended(channel, { error: error ?? new Error('the connection was lost'), cause: 'lost' }),
    )
    const consumer = new ChannelConsumer(channel, () => this.#consume(channel))
    this.#consumer = consumer
    this.#writer = channelWriter(channel)
    // Changes nothing for a consumer that exists.
    this.#acks = new AckConfirmations(this.#parts.clock, () => channel.prefetch(this.#prefetch))
    this.epoch = live.epoch
    this.opened++
    this.#lastTag = 0
    this.hasReceived = false
    this.isTurning = false
    // Consumers that want AMQP's own fields get what the library reads.
    if (this.#parts.options.metadata.length === 0) FrameReader.on(channel, (arrival) => this.#arrived(channel, arrival))
    try {
      this.#toldPrefetch = 0
      this.#bound()
      consumer.isWanted = true
      await consumer.adjust()
    } catch (error) {
      await this.#closeChannel(channel)
      throw error
    }
  }

  async #consume(channel: Channel): Promise<string> {
    const { options, host } = this.#parts
    const prefetch = this.#prefetch
    if (!this.#noAck && prefetch !== this.#toldPrefetch) {
      await channel.prefetch(prefetch)
      this.#toldPrefetch = prefetch
    }
    const { consumerTag } = await channel.consume(this.queue, (message) => this.#receive(channel, message), {
      consumerTag: options.consumerTag,
      noAck: options.noAck,
      exclusive: options.exclusive,
      priority: options.priority,
      arguments: host.consumeArguments(),
    })
    return consumerTag
  }

  #receive(channel: Channel, message: ConsumeMessage | null): void {
    if (this.#channel !== channel) return
    if (message === null) {
      // What we hold of the queue is no longer ours.
      const wasIdle = this.handed + this.held.length === 0
      this.#ended(channel, { error: new Error('the broker cancelled the consumer'), cause: 'cancelled', wasIdle })
      void closeQuietly(channel)
      return
    }
    this.#arrived(channel, readMessage(this.#arrival, message))
  }

  #arrived(channel: Channel, arrival: IncomingMessage): void {
    if (this.#channel !== channel) return
    this.#lastTag = arrival.deliveryTag
    if (!this.hasReceived) {
      this.hasReceived = true
      this.#parts.host.activated(this)
    }
    const delivery = this.#parts.host.admit(this, arrival)
    if (delivery === undefined) {
      if (this.#noAck) return
      const skipped = this.#skip(arrival.deliveryTag)
      this.#window.add(skipped)
      this.#window.ack(skipped)
      this.flush()
      return
    }
    if (!this.#noAck) this.#window.add(delivery)
    this.held.push(delivery)
    this.bytes += delivery.bytes
    this.#parts.bodies.arrived(delivery)
    this.#bound()
    this.#parts.host.arrived()
  }

  /** Without acks the broker sends without limit: only cancelling the consumer stops it. */
  #bound(): void {
    if (!this.#noAck) return
    const consumer = this.#consumer
    if (consumer === undefined) return
    const { maxHeld, bodies } = this.#parts
    const isFull =
      this.held.length >= (consumer.isFull ? Math.ceil(maxHeld / 2) : maxHeld) || !bodies.mayCome(consumer.isFull)
    if (isFull === consumer.isFull) return
    consumer.isFull = isFull
    // A refusal closes the channel, whose close handler reports it.
    consumer.adjust().catch(() => undefined)
  }

  /** There is room again for what all queues of the consumer have here. */
  hasRoom(): void {
    this.#bound()
  }

  #skip(deliveryTag: number): RabbitMqDelivery {
    const skipped = new RabbitMqDelivery({
      message: undefined as never,
      reader: this,
      exchange: '',
      routingKey: '',
      deliveryTag,
      offset: undefined,
      base: 0,
      isRedelivered: false,
      count: undefined,
      firstDeliveredAt: undefined,
      bytes: 0,
      carried: undefined,
    })
    // There is nothing to know about it.
    skipped.isKnown = false
    return skipped
  }

  // --- with the runtime ----------------------------------------------------------------------------------------------

  /** Hands out the oldest held delivery, or nothing while its attempt number is being looked up, or it is to go back. */
  take(): RabbitMqDelivery | undefined {
    const [delivery] = this.held
    if (delivery === undefined || !delivery.isKnown || this.handed >= this.#maxHanded) return undefined
    // Without acks, what is held exists nowhere else.
    if (this.isTurning || !(this.#consumer?.isWanted === true || this.#noAck)) return undefined
    if (!this.#load(delivery)) return undefined
    this.held.shift()
    delivery.state = 'handed'
    this.handed++
    this.#bound()
    return delivery
  }

  /**
   * Like `take`, where messages of several topics wait, and not all of them may be handed out now: at most that many, oldest
   * first, of those that may. What may not waits here, and so do all later ones of its topic.
   */
  takeSome(
    most: number,
    mayTake: (delivery: RabbitMqDelivery) => boolean,
    take: (delivery: RabbitMqDelivery) => void,
  ): number {
    if (this.isTurning || this.#consumer?.isWanted !== true) return 0
    const blocked = new Set<string>()
    let taken = 0
    let kept = 0
    let at = 0
    for (; at < this.held.length && taken < most && this.handed < this.#maxHanded; at++) {
      const delivery = this.held[at] as RabbitMqDelivery
      const { topic } = delivery.message
      if (!delivery.isKnown) blocked.add(topic)
      if (blocked.has(topic) || !mayTake(delivery)) {
        blocked.add(topic)
        this.held[kept++] = delivery
        continue
      }
      if (!this.#load(delivery)) break
      delivery.state = 'handed'
      this.handed++
      take(delivery)
      taken++
    }
    this.held.splice(kept, at - kept)
    return taken
  }

  #load(delivery: RabbitMqDelivery): boolean {
    try {
      return this.#parts.bodies.load(delivery)
    } catch (error) {
      this.#parts.host.unreadable(this, error)
      return false
    }
  }

  #left(delivery: RabbitMqDelivery): void {
    this.bytes -= delivery.bytes
    this.#parts.bodies.left(delivery)
  }

  /** Takes a delivery back from the runtime: it waits again, in its old place, for its next turn. */
  hold(delivery: RabbitMqDelivery, attempt: number, notBefore: number | undefined): RabbitMqDelivery {
    this.handed--
    const next = delivery.again(attempt, notBefore)
    let at = 0
    while (at < this.held.length && (this.held[at] as RabbitMqDelivery).deliveryTag < next.deliveryTag) at++
    this.held.splice(at, 0, next)
    return next
  }

  /** Everything that goes back with the channel. */
  unsettled(): readonly RabbitMqDelivery[] {
    return this.#window.unsettled()
  }

  // --- with the broker -----------------------------------------------------------------------------------------------

  /** Takes effect with the next `flush`. */
  ack(delivery: RabbitMqDelivery): void {
    this.handed--
    this.#left(delivery)
    if (this.#noAck) {
      delivery.state = 'gone'
      this.#bound()
      return
    }
    this.#window.ack(delivery)
  }

  /** Returns it to the queue, for any consumer. Takes effect with the next `flush`. */
  requeue(delivery: RabbitMqDelivery): void {
    this.#refuse(delivery, true)
  }

  /** Rejects it to wherever the queue puts rejected messages, if anywhere. Takes effect with the next `flush`. */
  reject(delivery: RabbitMqDelivery): void {
    this.#refuse(delivery, false)
  }

  #refuse(delivery: RabbitMqDelivery, requeue: boolean): void {
    if (delivery.state === 'held') this.held.splice(this.held.indexOf(delivery), 1)
    else this.handed--
    this.#left(delivery)
    delivery.state = 'gone'
    if (!this.#noAck) this.#writer?.nack(delivery.deliveryTag, requeue)
  }

  /** Sends all acks since the last flush. */
  flush(): void {
    if (this.#writer !== undefined) this.#window.flush(this.#writer, (acked) => this.#acks?.sent(acked))
  }

  heard(): Promise<boolean> {
    return this.#noAck ? YES : (this.#acks?.heard() ?? NO)
  }

  /** Stops consuming and keeps what is outstanding. Only for queues that others may consume at the same time. */
  async cancel(): Promise<void> {
    await this.#want(false)
  }

  /** Consumes again after `cancel`. */
  async resume(): Promise<void> {
    await this.#want(true)
  }

  async #want(isWanted: boolean): Promise<void> {
    const consumer = this.#consumer
    if (consumer === undefined) return
    consumer.isWanted = isWanted
    await consumer.adjust()
  }

  /**
   * Closes the channel: for the queue, in one step the consumer is gone and everything unacked is back in its old
   * order. What the runtime still has is lost.
   */
  close(): Promise<void> {
    this.#closing ??= this.#stop().finally(() => {
      this.#closing = undefined
    })
    return this.#closing
  }

  async #stop(): Promise<void> {
    await this.#opening?.catch(() => undefined)
    const channel = this.#channel
    if (channel === undefined) return
    this.flush()
    if (this.#acks?.hasAcked === true) await Promise.all([this.heard(), this.#parts.host.ackTime()])
    if (this.#channel === channel) await this.#closeChannel(channel)
  }

  /**
   * Gives everything back to the queue and closes the channel, to start again: otherwise the broker would do so, less
   * gently, because of a message unacked for too long. What the runtime has is lost to it.
   */
  turnOver(reason: string): Promise<void> {
    this.#closing ??= this.#turnOver(reason).finally(() => {
      this.#closing = undefined
    })
    return this.#closing
  }

  async #turnOver(reason: string): Promise<void> {
    const channel = this.#channel
    if (channel === undefined) return
    this.flush()
    if (this.#acks?.hasAcked === true) await Promise.all([this.heard(), this.#parts.host.ackTime()])
    if (this.#channel !== channel) return
    this.#ended(channel, { error: new Error(reason), cause: 'turn-over' })
    await closeQuietly(channel)
  }

  async #closeChannel(channel: Channel): Promise<void> {
    if (this.#channel === channel) this.#forget()
    await closeQuietly(channel)
  }

  #ended(channel: Channel, end: ConsumerEnd): void {
    if (this.#channel !== channel) return
    const held = this.#noAck ? [] : [...this.held]
    const unheard = this.#acks?.end() ?? []
    this.#parts.host.lost(this, { handed: this.#forget(), held, unheard }, end)
  }

  /** Returns what was with the runtime. */
  #forget(): RabbitMqDelivery[] {
    this.#consumer?.end()
    this.#consumer = undefined
    this.#writer = undefined
    this.#acks?.end()
    this.#acks = undefined
    const lost: RabbitMqDelivery[] = []
    if (this.#noAck) return lost
    for (const delivery of this.#window.drain()) {
      if (delivery.state === 'handed' || delivery.state === 'settling') lost.push(delivery)
      if (delivery.state !== 'gone' && delivery.state !== 'acked') this.#left(delivery)
      // Without its ack it is not done for the broker, but it is for everything in this process.
      delivery.lost = delivery.state !== 'gone' && delivery.state !== 'acked'
      delivery.state = 'gone'
    }
    this.held.length = 0
    this.handed = 0
    return lost
  }
}

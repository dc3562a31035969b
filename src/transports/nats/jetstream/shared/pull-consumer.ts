import type { Subscription } from '@nats-io/transport-node'
import { LinkedList } from '../../../../core/util/linked-list.ts'
import { AckReply } from '../consume/ack-reply.ts'
import { NatsDelivery } from './delivery.ts'
import type { DeliveringConsumer } from './delivery.ts'
import { FormerRequests } from './former-requests.ts'
import { HistoryLookups } from './history-lookups.ts'
import type { Incoming } from '../../connection/incoming.ts'
import type { ConsumerInfo } from '../server/jetstream-types.ts'
import type { AttemptNotes } from './attempt-notes.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { Mapping, Unsaid } from '../../wire/mapping.ts'
import type { Session } from '../../connection/session.ts'
import { PullStatus } from '../consume/pull-status.ts'
import { PullRequests } from '../consume/pull-requests.ts'
import { RecentAcks } from './recent-acks.ts'
import { clearStalePulls } from './stale-pulls.ts'
import type { SharedPlan, Subjects } from '../../wire/subjects.ts'

/** The state of a consumer as of its last delivery. */
export interface LastDelivery {
  /** Total number of deliveries until then. */
  readonly deliveries: number
  /** Number of messages that were still to be delivered. */
  readonly unread: number
}

/** What a consumer needs from its subscription. */
export interface PullConsumerHost {
  readonly session: Session
  readonly api: JetStreamApi
  readonly subjects: Subjects
  readonly mapping: Mapping
  readonly notes: AttemptNotes
  readonly group: string
  readonly ackWaitMs: number
  /** Something may be handed over or requested. Runs once per turn, however often it is called. */
  wake(): void
  lost(deliveries: readonly NatsDelivery[], reason: string): void
  /** Acks a message that no handler should see. */
  acknowledge(reply: string): void
  /** Like `acknowledge`, after checking that the consumer on the server is still the one that we know. */
  acknowledgeIfSame(consumer: PullConsumer, reply: string): void
  /** True while the ack of that message is in progress. */
  isAcking(consumer: PullConsumer, seq: number): boolean
  /** Hands back a delivery that came before its time. `noted`: its note must be written again. */
  delay(delivery: NatsDelivery, delayMs: number, noted: boolean): void
  consumerMissing(consumer: PullConsumer): void
}

/**
 * A durable consumer that all members of the group read, as seen by one of them: requests messages, receives them, and
 * keeps those that the subscription has no room for yet.
 */
export class PullConsumer implements DeliveringConsumer {
  readonly plan: SharedPlan
  readonly stream: string
  readonly name: string
  /** As deliveries name it. */
  readonly partition: string
  readonly pulls: PullRequests
  /** Delivered by the server but not handed over yet. */
  buffer: NatsDelivery[] = []
  /** Size of the buffer, in bytes. */
  bufferBytes = 0
  /** Handed over but not settled. */
  readonly outstanding: LinkedList<NatsDelivery> = new LinkedList()
  readonly acked: RecentAcks = new RecentAcks()
  /** It is being read. */
  active = false
  /** Increments each time that what we had of it was taken away. */
  leaseGeneration = 0
  /** Nobody knows whether its consumer is still the same: nothing is requested from it. */
  unchecked = false
  /** Changes when the consumer is replaced by another one of the same name. */
  identity = ''
  ackWaitMs: number
  /** The group has settled everything up to here, as of the last check. */
  floor: number | undefined
  /** Identity of its stream, when the consumer was looked up. */
  streamIdentity: string | undefined
  /** The consumer's state when the session was restored. */
  restored: ConsumerInfo | undefined
  /** Used while a batch is settled: index of the last delivery of this consumer. */
  lastIndex = -1
  readonly #host: PullConsumerHost
  readonly #reply = new AckReply()
  readonly #unsaid: Unsaid = { id: () => `${this.stream}-${this.#reply.seq}`, time: () => this.#reply.time }
  readonly #status: PullStatus
  #subject = ''
  #topic = ''
  #subscription: Subscription | undefined
  readonly #former: FormerRequests
  /** Whether it should be read, with or without a connection. */
  #open = false
  readonly #lookups: HistoryLookups
  #unsorted = false
  /** The highest sequence seen; messages at or below it are redeliveries. */
  #seen = 0
  /** Consumer sequence of the last delivery, and how many messages were undelivered then. */
  #deliveries = 0
  #unread = 0
  /** Until then a server that was killed may show gaps in its memory (monotonic ms). */
  #forgetfulUntil = 0

  constructor(host: PullConsumerHost, plan: SharedPlan, stream: string, name: string) {
    this.#host = host
    this.plan = plan
    this.stream = stream
    this.name = name
    this.partition = plan.label.replace(/-base$/, '')
    this.ackWaitMs = host.ackWaitMs
    this.pulls = new PullRequests(host, this)
    this.#status = new PullStatus(
      {
        session: host.session,
        wake: () => host.wake(),
        consumerMissing: () => host.consumerMissing(this),
      },
      this,
    )
    this.#lookups = new HistoryLookups(
      ({ seq }) => host.notes.read(name, seq),
      (delivery) => {
        if (!this.#isTooEarly(delivery)) this.#keep(delivery)
      },
    )
    this.#former = new FormerRequests(
      host.session,
      (message) => this.#receive(message),
      (error) => host.session.error(error, `receiving from consumer "${name}"`),
    )
  }

  // --- life --------------------------------------------------------------------------------------------------------

  /** Starts reading. */
  activate(): void {
    this.#open = true
    this.#listen()
    this.#former.listen()
    this.active = true
    this.#host.wake()
  }

  #listen(): void {
    if (this.#subscription !== undefined) return
    this.pulls.inbox = this.#host.session.inbox()
    this.#subscription = this.#host.session.subscribe(
      this.pulls.inbox,
      (message) => this.#receive(message),
      (error) => this.#host.session.error(error, `receiving from consumer "${this.name}"`),
    )
  }

  /** Stops requesting; resolves when nothing more can come. What has arrived stays in the buffer. */
  async quiet(): Promise<void> {
    this.active = false
    this.#open = false
    const subscription = this.#subscription
    const isAsking = this.pulls.asked > 0
    this.#former.silence()
    this.#subscription = undefined
    if (subscription !== undefined && !this.#host.session.connection.isClosed()) {
      if (this.#host.session.ready) await this.#drain(subscription)
      else subscription.unsubscribe()
      if (isAsking) await this.#clearStalePulls()
    }
    // Unless it was lost meanwhile, and is read again.
    if (!this.#open) this.pulls.reset()
  }

  /** Without interest the server drops our requests; what it sent before still arrives. */
  async #drain(subscription: Subscription): Promise<void> {
    const { session } = this.#host
    const { inbox, until } = this.pulls
    // A request that is still in the buffer must not come after the end of the subscription.
    session.writeBuffer.flush()
    // Draining also ends when the connection is cut; the server may not know of it then.
    const [, isHeard] = await Promise.all([
      subscription.drain(),
      session.flush().then(
        () => true,
        () => false,
      ),
    ])
    if (!isHeard) this.#former.add(inbox, until)
  }

  /** The connection is lost. The server may not know, and continue to answer the requests made there. */
  down(): void {
    this.#former.silence()
    if (this.#subscription !== undefined && this.pulls.until > this.#now())
      this.#former.add(this.pulls.inbox, this.pulls.until)
    this.#cut()
    this.#forgetfulUntil = Infinity
  }

  /** Stops receiving what is still in transit to us. */
  #cut(): void {
    if (!this.#host.session.connection.isClosed()) this.#subscription?.unsubscribe()
    this.#subscription = undefined
    this.pulls.reset()
  }

  /** The connection is back, and `restored` is the state at the server. */
  async up(): Promise<void> {
    if (this.#forgetfulUntil === Infinity) this.#forgetfulUntil = this.#now() + 2 * this.ackWaitMs
    const info = this.restored
    this.restored = undefined
    if (!this.#open) return
    this.#listen()
    if (info?.num_waiting === 0) this.#former.clear()
    else this.#former.listen()
    await this.#clearStalePulls()
  }

  /** The consumer is a different one: nothing we remember applies to it. */
  adopt(info: ConsumerInfo, identity: string, streamIdentity: string | undefined): void {
    this.identity = identity
    this.streamIdentity = streamIdentity
    this.floor = info.ack_floor.stream_seq
    const nanos = info.config.ack_wait
    if (nanos !== undefined && nanos > 0) this.ackWaitMs = nanos / 1_000_000
    this.#seen = 0
    this.acked.clear()
    this.#deliveries = 0
    // Requests to the other one are never answered.
    this.pulls.reset()
  }

  get lastDelivery(): LastDelivery {
    return { deliveries: this.#deliveries, unread: this.#unread }
  }

  /**
   * Everything that we hold belongs to the server again: what is outstanding is reported, what is here is dropped.
   * Returns all of it.
   */
  lose(reason: string): NatsDelivery[] {
    this.leaseGeneration++
    this.#cut()
    this.#former.clear()
    const lost = this.#letGo()
    const dropped = this.dropBuffer()
    this.#seen = 0
    if (lost.length > 0) this.#host.lost(lost, reason)
    return [...lost, ...dropped]
  }

  /** Empties it in order to hand everything back: untouched messages, and outstanding ones, which are now lost. */
  giveUp(): { readonly untouched: readonly NatsDelivery[]; readonly begun: readonly NatsDelivery[] } {
    return { untouched: this.dropBuffer(), begun: this.#letGo() }
  }

  #letGo(): NatsDelivery[] {
    const all = this.outstanding.toArray()
    for (const delivery of all) {
      delivery.lost = true
      this.outstanding.remove(delivery)
    }
    return all
  }

  /** Drops everything that was not handed over yet, and returns it. */
  dropBuffer(): NatsDelivery[] {
    const dropped = [...this.buffer, ...this.#lookups.drop()]
    this.buffer = []
    this.bufferBytes = 0
    return dropped
  }

  /** Sequences of all messages that we hold. */
  #held(): Set<number> {
    const held = new Set<number>()
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next) held.add(delivery.seq)
    for (const { seq } of this.buffer) held.add(seq)
    for (const { seq } of this.#lookups.deliveries) held.add(seq)
    return held
  }

  // --- in ----------------------------------------------------------------------------------------------------------

  #receive(native: Incoming): void {
    if (!this.#reply.readFrom(native)) {
      this.#status.read(native)
      return
    }
    const { delivered, seq, consumerSeq, pending } = this.#reply
    const now = this.#now()
    this.pulls.arrived(pending, now)
    this.#deliveries = consumerSeq
    this.#unread = pending
    const isNew = seq > this.#seen
    if (isNew) this.#seen = seq
    if ((!isNew && this.#isHere(seq)) || this.#isAcked(seq, native, now, isNew)) return this.#host.wake()
    // Most messages have the same subject, and the reader returns the same string for it.
    const { subject } = native
    const topic = subject === this.#subject ? this.#topic : this.#topicOf(subject)
    const { message, group, deliverAt } = this.#host.mapping.decode(native, topic, this.#unsaid)
    if (group !== undefined && group !== this.#host.group) {
      // A redrive for another group.
      this.#host.acknowledge(native.reply)
      return this.#host.wake()
    }
    // A server that was killed may count a message as new although it delivered it before.
    const known = delivered === 1 && isNew
    const delivery = new NatsDelivery(
      this,
      message,
      subject,
      native,
      seq,
      delivered,
      deliverAt !== undefined,
      known,
      now,
    )
    const early = deliverAt === undefined ? 0 : deliverAt - this.#host.session.host.clock.now()
    if (early > 0) {
      // It can't have been started, so there is nothing to note.
      this.#host.delay(delivery, early, false)
      return this.#host.wake()
    }
    if (known && this.#lookups.isEmpty) this.#keep(delivery)
    else this.#lookups.add(delivery)
  }

  #topicOf(subject: string): string {
    this.#subject = subject
    this.#topic = this.#host.subjects.topicOf(subject)
    return this.#topic
  }

  #keep(delivery: NatsDelivery): void {
    // A redelivered message goes before those stored after it.
    if (delivery.seq < (this.buffer.at(-1)?.seq ?? 0)) this.#unsorted = true
    this.buffer.push(delivery)
    this.bufferBytes += delivery.bytes
    this.#host.wake()
  }

  /** A message that comes again while we hold it: its ack wait expired at the server, or the server was killed. */
  #isHere(seq: number): boolean {
    return this.#held().has(seq)
  }

  /**
   * We acked it, but the server does not know: not yet, or no longer. It is acked again if the consumer is still the
   * same.
   */
  #isAcked(seq: number, native: Incoming, now: number, isNew: boolean): boolean {
    const isAcked = (!isNew && this.#host.isAcking(this, seq)) || (now <= this.#forgetfulUntil && this.acked.has(seq))
    if (isAcked) this.#host.acknowledgeIfSame(this, native.reply)
    return isAcked
  }

  /** It was handed back for a while, and came before its time: after a disconnect, or from another member. */
  #isTooEarly(delivery: NatsDelivery): boolean {
    const { note, notBefore } = delivery
    if (notBefore === undefined || note?.inOrder === true) return false
    const early = notBefore - this.#host.session.host.clock.now()
    if (early > 0) this.#host.delay(delivery, early, true)
    else delivery.notBefore = undefined
    return early > 0
  }

  // --- out ---------------------------------------------------------------------------------------------------------

  /** Hands out up to `count` deliveries, in order. */
  take(count: number): NatsDelivery[] {
    if (this.#unsorted) {
      this.buffer.sort((a, b) => a.seq - b.seq)
      this.#unsorted = false
    }
    let taken = this.buffer
    if (count >= taken.length) this.buffer = []
    else taken = taken.splice(0, count)
    for (const { bytes } of taken) this.bufferBytes -= bytes
    return taken
  }

  /** Puts deliveries that were taken but found no room back in front. */
  putBack(deliveries: readonly NatsDelivery[]): void {
    this.buffer.unshift(...deliveries)
    for (const { bytes } of deliveries) this.bufferBytes += bytes
  }

  #clearStalePulls(): Promise<void> {
    return clearStalePulls(this.#host.session, this.pulls, (message) => this.#receive(message))
  }

  #now(): number {
    return this.#host.session.host.clock.monotonic()
  }
}

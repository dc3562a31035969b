// Longer than most files: what arrives, what is held and what must be fetched back share one state, and the order of
// keys depends on all three agreeing.
import type { Subscription } from '@nats-io/transport-node'
import { sleep } from '../../core/clock.ts'
import type { Timer } from '../../core/clock.ts'
import { LinkedList } from '../../core/util/linked-list.ts'
import { AckReply } from './ack-reply.ts'
import { NatsDelivery } from './delivery.ts'
import { FormerRequests } from './former-requests.ts'
import type { Incoming } from './incoming.ts'
import type { ConsumerInfo } from './jetstream-types.ts'
import type { LaneHost } from './lane-host.ts'
import type { Unsaid } from './mapping.ts'
import { PullStatus } from './pull-status.ts'
import { Pulls } from './pulls.ts'
import { RecentAcks } from './recent-acks.ts'
import { reclaim } from './reclaim.ts'
import type { LanePlan } from './subjects.ts'

/** Number of messages that fetching back requests at once. */
const FETCH_AT_ONCE = 500
/** Number of consecutive fetches without messages, and the pause after them, which increases. */
const IDLE_FETCHES = 5
const IDLE_FETCH_MS = 20
/** A fetch continues after this time, whatever the server answers. */
const FETCH_TIMEOUT_MS = 1_000
/** And after this time since its last message. */
const FETCH_GAP_MS = 50
/** The server checks pending messages with a small delay. */
const RUN_OUT_GRACE_MS = 150

/** The state of the consumer as of the last delivery of a lane. */
export interface LastDelivery {
  /** Total number of deliveries until then. */
  readonly deliveries: number
  /** Number of messages that were still to be delivered. */
  readonly unread: number
}

interface Arrived {
  readonly delivery: NatsDelivery
  /** Undefined when there is nothing to wait for. */
  learning: Promise<void> | undefined
}

/**
 * One durable consumer, as seen by one member: requests messages, receives them, and keeps those in order that the
 * subscription has no room for yet.
 */
export class Lane {
  readonly plan: LanePlan
  readonly stream: string
  readonly consumer: string
  /** Every member of the group reads it. Otherwise only one at a time, and the order of keys holds in it. */
  readonly shared: boolean
  readonly pulls: Pulls
  /** Delivered by the server but not handed over yet. */
  stash: NatsDelivery[] = []
  /** Size of the stash, in bytes. */
  stashBytes = 0
  /** Handed over but not settled. */
  readonly outstanding: LinkedList<NatsDelivery> = new LinkedList()
  /** Number of deliveries whose hand-back the server has not confirmed. */
  handingBack = 0
  readonly acked: RecentAcks = new RecentAcks()
  /** It is ours and being read. */
  active = false
  /**
   * Some of what was delivered may be elsewhere: lost with a connection, or not handed back. The next owner must have it
   * redelivered.
   */
  scattered = false
  /** Increments each time that what we had of it was taken away. */
  tenure = 0
  /** Above zero while the state of the consumer is being checked. */
  suspended = 0
  /** Changes when the consumer is replaced by another one of the same name. */
  identity = ''
  ackWaitMs: number
  /** The group has settled everything up to here, as of the last check. */
  floor: number | undefined
  /** Identity of its stream, when the consumer was looked up. */
  streamIdentity: string | undefined
  /** The consumer's state when the session was restored. */
  restored: ConsumerInfo | undefined
  /** Used while a batch is settled: index of the last delivery of this lane. */
  lastIndex = -1
  readonly #host: LaneHost
  readonly #reply = new AckReply()
  readonly #unsaid: Unsaid = { id: () => `${this.stream}-${this.#reply.seq}`, time: () => this.#reply.time }
  readonly #status: PullStatus
  #subject = ''
  #topic = ''
  #subscription: Subscription | undefined
  readonly #former: FormerRequests
  /** Whether it should be read, with or without a connection. */
  #open = false
  /** Arrived, and waiting for their notes about attempts; later arrivals wait too. */
  #intake: Arrived[] = []
  #unsorted = false
  /** The highest sequence seen; messages at or below it are redeliveries. */
  #seen = 0
  /** Consumer sequence of the last delivery. A gap before the next one means that a delivery went elsewhere. */
  #consumerSeq = 0
  /** The same, but kept until the consumer is another one; and how many messages were undelivered then. */
  #deliveries = 0
  #unread = 0
  /** Messages with a higher sequence were never delivered to another member. */
  #ownFrom = Infinity
  /** Handed back to the server for a while, and expected again. */
  readonly #returned = new Set<number>()
  /** While deliveries are fetched back, all arrivals are collected here. */
  #fetched: NatsDelivery[] | undefined
  #mends = 0
  /** Something is missing that has not been fetched back yet: nothing is handed out. */
  #unmended = false
  #mending: Promise<void> | undefined
  #fetchLeft = 0
  #fetchStep: (() => void) | undefined
  #pausing: AbortController | undefined
  #fetchTimer: Timer | undefined
  /** Until then a server that was killed may show gaps in its memory (monotonic ms). */
  #forgetfulUntil = 0

  constructor(host: LaneHost, plan: LanePlan, stream: string, consumer: string) {
    this.#host = host
    this.plan = plan
    this.stream = stream
    this.consumer = consumer
    this.#reply.prefix = `$JS.ACK.${stream}.${consumer}.`
    this.shared = plan.unit === undefined
    this.ackWaitMs = host.ackWaitMs
    this.pulls = new Pulls(host, this)
    this.#status = new PullStatus(host, this)
    this.#former = new FormerRequests(
      host.session,
      (message) => this.#receive(message),
      (error) => host.session.error(error, `receiving from consumer "${consumer}"`),
    )
  }

  // --- life --------------------------------------------------------------------------------------------------------

  /**
   * Starts reading. With `left` of the last owner, those messages come first and in order: the server would mix up
   * messages that expire at different times. `expired`: the lane was not handed over, so they must be fetched back.
   */
  async activate(left: ConsumerInfo | undefined, expired: boolean): Promise<void> {
    // The owner in between may have settled or started things that we know nothing of.
    if (!this.#open) this.#forget()
    this.#open = true
    this.#listen()
    this.#former.listen()
    if (left !== undefined) {
      this.#consumerSeq = left.delivered.consumer_seq
      this.#ownFrom = left.delivered.stream_seq
      if (left.num_ack_pending > 0 || this.#unmended) await this.#mend(expired)
    }
    // Interrupted, or started again meanwhile: whichever fetch ends last lets it continue.
    this.active = this.#open && this.#fetched === undefined
    this.#host.wake()
  }

  #listen(): void {
    if (this.#subscription !== undefined) return
    this.pulls.inbox = this.#host.session.inbox()
    this.#subscription = this.#host.session.subscribe(
      this.pulls.inbox,
      (message) => this.#receive(message),
      (error) => this.#host.session.error(error, `receiving from consumer "${this.consumer}"`),
    )
  }

  /** Stops requesting; resolves when nothing more can come. What has arrived stays in the stash. */
  async quiet(): Promise<void> {
    this.active = false
    this.#open = false
    const subscription = this.#subscription
    const isAsking = this.pulls.asked > 0
    this.#former.silence()
    this.#subscription = undefined
    this.#endWaits()
    if (subscription !== undefined && !this.#host.session.connection.isClosed()) {
      if (this.#host.session.ready) await this.#drain(subscription)
      else subscription.unsubscribe()
      if (isAsking) await this.#sweep()
    }
    // Unless it was lost meanwhile, and is read again.
    if (!this.#open) this.pulls.reset()
  }

  /** Without interest the server drops our requests; what it sent before still arrives. */
  async #drain(subscription: Subscription): Promise<void> {
    const { session } = this.#host
    const { inbox, until } = this.pulls
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

  /** How long requests of a lost connection may continue to take messages of this consumer, in ms. */
  get formerMs(): number {
    return this.#former.leftMs
  }

  /** The connection is lost. The server may not know, and continue to answer the requests made there. */
  down(): void {
    this.#former.silence()
    if (this.#subscription !== undefined && this.pulls.until > this.#now())
      this.#former.add(this.pulls.inbox, this.pulls.until)
    this.#cut()
    this.scattered = true
    this.#forgetfulUntil = Infinity
  }

  /** Stops receiving what is still in transit to us. */
  #cut(): void {
    if (!this.#host.session.connection.isClosed()) this.#subscription?.unsubscribe()
    this.#subscription = undefined
    this.pulls.reset()
    this.#endWaits()
  }

  /** A fetch in progress looks at the consumer again at once. */
  #endWaits(): void {
    this.#fetchStep?.()
    this.#pausing?.abort()
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
    if (this.shared || info === undefined) return this.#sweep()
    const isMissing = info.delivered.consumer_seq > this.#consumerSeq && info.num_ack_pending > 0
    this.#consumerSeq = info.delivered.consumer_seq
    if (isMissing || this.#unmended || this.#former.leftMs > 0) return this.#mend(true)
    this.scattered = false
    await this.#sweep()
  }

  /** The consumer is a different one: nothing we remember applies to it. */
  adopt(info: ConsumerInfo, identity: string, streamIdentity: string | undefined): void {
    this.identity = identity
    this.streamIdentity = streamIdentity
    this.floor = info.ack_floor.stream_seq
    const nanos = info.config.ack_wait
    if (nanos !== undefined && nanos > 0) this.ackWaitMs = nanos / 1_000_000
    this.#forget()
    this.acked.clear()
    this.#deliveries = 0
    // Requests to the other one are never answered.
    this.pulls.reset()
  }

  get lastDelivery(): LastDelivery {
    return { deliveries: this.#deliveries, unread: this.#unread }
  }

  /** Forgets what we know of deliveries. What we acked stays acked, whichever member had the lane meanwhile. */
  #forget(): void {
    this.#seen = 0
    this.#consumerSeq = 0
    this.#ownFrom = Infinity
    this.#returned.clear()
    this.scattered = false
  }

  /**
   * Everything that we hold belongs to the server again: what is outstanding is reported, what is here is dropped.
   * Returns all of it.
   */
  lose(reason: string): NatsDelivery[] {
    this.tenure++
    this.#cut()
    this.#former.clear()
    const lost = this.#letGo()
    const dropped = this.dropStash()
    this.#forget()
    if (lost.length > 0) this.#host.lost(lost, reason)
    return [...lost, ...dropped]
  }

  /** Empties the lane in order to hand everything back: untouched messages, and outstanding ones, which are now lost. */
  giveUp(): { readonly untouched: readonly NatsDelivery[]; readonly begun: readonly NatsDelivery[] } {
    return { untouched: this.dropStash(), begun: this.#letGo() }
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
  dropStash(): NatsDelivery[] {
    const dropped = [...this.stash, ...this.#intake.map(({ delivery }) => delivery), ...(this.#fetched ?? [])]
    this.stash = []
    this.stashBytes = 0
    this.#intake = []
    if (this.#fetched !== undefined) this.#fetched = []
    return dropped
  }

  /** The lowest sequence that must come again if the consumer is created again. */
  get resumeAt(): number {
    return Math.min(this.#seen + 1, ...this.#held(), ...this.#returned)
  }

  /** Sequences that are pending at the server but need not be fetched. */
  #accountedFor({ ack_floor, delivered }: ConsumerInfo): Set<number> {
    const known = this.#held()
    for (const seq of this.#returned) known.add(seq)
    // A server that was killed knows less than we do.
    for (const seq of known) if (seq <= ack_floor.stream_seq || seq > delivered.stream_seq) known.delete(seq)
    return known
  }

  /** Sequences of all messages that we hold. */
  #held(): Set<number> {
    const held = new Set<number>()
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next) held.add(delivery.seq)
    for (const { seq } of this.stash) held.add(seq)
    for (const { delivery } of this.#intake) held.add(delivery.seq)
    for (const { seq } of this.#fetched ?? []) held.add(seq)
    return held
  }

  // --- in ----------------------------------------------------------------------------------------------------------

  #receive(native: Incoming): void {
    const { reply } = native
    if (!this.#reply.read(reply)) {
      if (this.#status.read(native) && this.#fetched !== undefined) this.#fetchStep?.()
      return
    }
    const { delivered, seq, consumerSeq, pending } = this.#reply
    const now = this.#now()
    this.pulls.arrived(pending, now)
    this.#deliveries = consumerSeq
    this.#unread = pending
    const isGap = !this.shared && consumerSeq > this.#consumerSeq + 1
    this.#consumerSeq = consumerSeq
    if (isGap && this.#fetched === undefined) this.#mendGap()
    const isNew = seq > this.#seen
    if (isNew) this.#seen = seq
    // What we have handed back for a while is accepted; anything else may still be here, or be acked.
    const isReturned = this.#returned.size > 0 && this.#returned.delete(seq)
    if (!isReturned && ((!isNew && this.#isHere(seq)) || this.#isAcked(seq, reply, now, isNew))) return this.#skipped()
    // Most messages of a lane have the same subject, and the reader returns the same string for it.
    const topic = native.subject === this.#subject ? this.#topic : this.#topicOf(native.subject)
    const { message, group, deliverAt } = this.#host.mapping.decode(native, topic, this.#unsaid)
    if (group !== undefined && group !== this.#host.group) {
      // A redrive for another group.
      this.#host.acknowledge(reply)
      return this.#skipped()
    }
    const bytes = native.size
    // A server that was killed may count a message as new although it delivered it before.
    const known = delivered === 1 && isNew
    const delivery = new NatsDelivery(
      this,
      message,
      native.subject,
      reply,
      seq,
      delivered,
      bytes,
      deliverAt !== undefined,
      known,
      now,
    )
    const early = deliverAt === undefined ? 0 : deliverAt - this.#host.session.host.clock.now()
    if (early > 0) {
      // It can't have been started, so there is nothing to note.
      this.#host.putOff(delivery, early, false)
      return this.#skipped()
    }
    if (this.#fetched !== undefined) {
      this.#fetched.push(delivery)
      this.#fetchCame()
    } else if (!known || this.#intake.length > 0) this.#lookUp(delivery)
    else this.#keep(delivery)
  }

  #topicOf(subject: string): string {
    this.#subject = subject
    this.#topic = this.#host.subjects.topicOf(subject)
    return this.#topic
  }

  #skipped(): void {
    if (this.#fetched === undefined) this.#host.wake()
    else this.#fetchCame()
  }

  #keep(delivery: NatsDelivery): void {
    // A redelivered message goes before those stored after it.
    if (delivery.seq < (this.stash.at(-1)?.seq ?? 0)) this.#unsorted = true
    this.stash.push(delivery)
    this.stashBytes += delivery.bytes
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
  #isAcked(seq: number, reply: string, now: number, isNew: boolean): boolean {
    const isAcked = (!isNew && this.#host.isAcking(this, seq)) || (now <= this.#forgetfulUntil && this.acked.has(seq))
    if (isAcked) this.#host.acknowledgeIfSame(this, reply)
    return isAcked
  }

  #lookUp(delivery: NatsDelivery): void {
    const entry: Arrived = { delivery, learning: undefined }
    this.#intake.push(entry)
    if (delivery.known) return
    entry.learning = this.#learn(delivery).then(() => {
      entry.learning = undefined
      while (this.#intake.length > 0 && this.#intake[0]?.learning === undefined) {
        const { delivery: first } = this.#intake.shift() as Arrived
        if (!this.#isTooEarly(first)) this.#keep(first)
      }
    })
  }

  async #learn(delivery: NatsDelivery): Promise<void> {
    if (delivery.known) return
    const note = await this.#host.notes.read(this.consumer, delivery.seq)
    delivery.learn(note, delivery.seq > this.#ownFrom && delivery.tenure === this.tenure)
  }

  /** It was handed back for a while, and came before its time: after a disconnect, or when the lane changed owners. */
  #isTooEarly(delivery: NatsDelivery): boolean {
    const { note, notBefore } = delivery
    if (notBefore === undefined || note?.inOrder === true) return false
    const early = notBefore - this.#host.session.host.clock.now()
    if (early > 0) this.#host.putOff(delivery, early, true)
    else delivery.notBefore = undefined
    return early > 0
  }

  // --- out ---------------------------------------------------------------------------------------------------------

  /** Hands out up to `count` deliveries, in order. */
  take(count: number): NatsDelivery[] {
    if (this.#unsorted) {
      this.stash.sort((a, b) => a.seq - b.seq)
      this.#unsorted = false
    }
    let taken = this.stash
    if (count >= taken.length) this.stash = []
    else taken = taken.splice(0, count)
    for (const { bytes } of taken) this.stashBytes -= bytes
    return taken
  }

  /** Puts deliveries that were taken but found no room back in front. */
  putBack(deliveries: readonly NatsDelivery[]): void {
    this.stash.unshift(...deliveries)
    for (const { bytes } of deliveries) this.stashBytes += bytes
  }

  /** A delivery goes back to the server, which will send it again. */
  returning(delivery: NatsDelivery): void {
    // In a shared lane any member may get it.
    if (!this.shared) this.#returned.add(delivery.seq)
  }

  /** Puts a delivery that was handed back in its place here: no other member may have it anyway. */
  takeBack(delivery: NatsDelivery, used: number, notBefore: number | undefined): void {
    this.stash.push(delivery.again(used, notBefore))
    this.stashBytes += delivery.bytes
    this.#unsorted = true
    this.#host.wake()
  }

  // --- fetching back -----------------------------------------------------------------------------------------------

  /** A delivery was lost with a connection. Nothing may continue before it is here. */
  #mendGap(): void {
    this.#mend(true).catch((error: unknown) =>
      this.#host.session.error(error, `fetching back messages of consumer "${this.consumer}"`),
    )
  }

  /**
   * Fetches back what is missing before anything else is handed out. One at a time: they would take each other's
   * answers.
   */
  async #mend(expired: boolean): Promise<void> {
    this.active = false
    this.#fetched ??= []
    this.#unmended = true
    this.scattered = true
    this.#mends++
    const before = this.#mending
    const mending = (async () => {
      await before
      return this.#fetchBack(expired)
    })()
    this.#mending = mending.then(
      () => undefined,
      () => undefined,
    )
    let isDone = false
    try {
      isDone = await mending
    } finally {
      // If interrupted it continues with the next connection, and everything waits for it, unless the lane is given up.
      if (--this.#mends === 0 && (isDone || !this.#open)) {
        this.#unmended = false
        if (isDone) this.scattered = false
        await this.#endFetch()
      }
    }
  }

  /** Called periodically: retries a fetch that failed without the connection being lost. */
  mendAgain(): void {
    if (this.#unmended && this.#mends === 0 && this.#open) this.#mendGap()
  }

  /** Ends early when the lane is given up or lost, so that no timer outlives it. */
  async #pause(ms: number): Promise<void> {
    if (this.#subscription === undefined) return
    const pausing = new AbortController()
    this.#pausing = pausing
    await sleep(this.#host.session.host.clock, ms, pausing.signal).catch(() => undefined)
    if (this.#pausing === pausing) this.#pausing = undefined
  }

  /** Has everything redelivered that is pending and not here, and collects it. False when interrupted. */
  async #fetchBack(expired: boolean): Promise<boolean> {
    const { session, api } = this.#host
    await this.#sweep()
    let mustReclaim = expired
    // It is complete when all that is pending is here, except messages that were handed back for a while or deleted.
    for (let idle = 0; idle < IDLE_FETCHES && this.#subscription !== undefined;) {
      const info = await api.consumerInfo(this.stream, this.consumer)
      const known = this.#accountedFor(info)
      const missing = info.num_ack_pending - known.size
      if (missing <= 0) break
      if (mustReclaim) {
        mustReclaim = false
        if (!(await reclaim(session, info, this.#reply.prefix, known))) {
          expired = false
          await this.#pause(this.ackWaitMs + RUN_OUT_GRACE_MS)
          continue
        }
      }
      this.#fetchLeft = Math.min(missing, FETCH_AT_ONCE)
      await this.#fetch(this.#fetchLeft)
      if (this.#accountedFor(info).size > known.size) {
        idle = 0
        continue
      }
      // Some of it may have been in transit on a lost connection when it was reclaimed.
      mustReclaim = expired
      await this.#pause(++idle * IDLE_FETCH_MS)
    }
    this.pulls.reset()
    return this.#subscription !== undefined
  }

  #fetch(count: number): Promise<void> {
    return new Promise((resolve) => {
      this.#fetchStep = () => {
        this.#fetchStep = undefined
        this.#fetchTimer?.cancel()
        resolve()
      }
      this.#endFetchAfter(FETCH_TIMEOUT_MS)
      this.pulls.askWithoutWaiting(count)
    })
  }

  #fetchCame(): void {
    if (--this.#fetchLeft <= 0) this.#fetchStep?.()
    // A server that has fewer than requested sends those, and may not report the end.
    else if (this.#fetchStep !== undefined) this.#endFetchAfter(FETCH_GAP_MS)
  }

  #endFetchAfter(delayMs: number): void {
    this.#fetchTimer?.cancel()
    this.#fetchTimer = this.#host.session.host.clock.setTimer(delayMs, () => this.#fetchStep?.())
  }

  /**
   * Puts what was collected in its place, in order, and lets the lane continue; but not before the history of it, and
   * of earlier messages waiting in the intake, is known. If another fetch begins meanwhile, the end of that one ends
   * both.
   */
  async #endFetch(): Promise<void> {
    while (this.#mends === 0 && this.#fetched !== undefined) {
      const fetched = this.#fetched
      const unknown = fetched.filter(({ known }) => !known)
      const arrived = this.#intake.map(({ learning }) => learning)
      if (unknown.length > 0 || arrived.length > 0) {
        // More may come meanwhile.
        await Promise.all([...arrived, ...unknown.map((delivery) => this.#learn(delivery))])
        continue
      }
      this.#fetched = undefined
      for (const delivery of fetched) {
        if (this.#isTooEarly(delivery)) continue
        this.stash.push(delivery)
        this.stashBytes += delivery.bytes
      }
      this.#unsorted = true
      this.active = this.#open
      this.#host.wake()
    }
  }

  /**
   * Servers before 2.10 forget a redelivery (until its ack wait is over) when they find abandoned requests, and repeat
   * another message instead. So abandoned requests are cleared before anything is handed back: the server does that
   * when it serves a later request.
   */
  async #sweep(): Promise<void> {
    const { session } = this.#host
    if (!session.ready || !session.isOlderThan(2, 10)) return
    const done = Promise.withResolvers<void>()
    const inbox = session.inbox()
    const subscription = session.subscribe(
      inbox,
      (message) => {
        if (message.reply !== '') this.#receive(message)
        done.resolve()
      },
      () => done.resolve(),
    )
    this.pulls.sweep(inbox)
    const timer = session.host.clock.setTimer(FETCH_TIMEOUT_MS, () => done.resolve())
    await done.promise
    timer.cancel()
    if (!session.connection.isClosed()) subscription.unsubscribe()
  }

  #now(): number {
    return this.#host.session.host.clock.monotonic()
  }
}

import type { Msg, Subscription } from '@nats-io/transport-node'
import { sleep } from '../../core/clock.ts'
import type { Timer } from '../../core/clock.ts'
import { LinkedList } from '../../core/linked-list.ts'
import { AckReply } from './ack-reply.ts'
import { attemptOf, NatsDelivery } from './delivery.ts'
import type { ConsumerInfo } from './jetstream-types.ts'
import type { LaneHost } from './lane-host.ts'
import { Pulls } from './pulls.ts'
import { reclaim } from './reclaim.ts'
import type { LanePlan } from './subjects.ts'

/** A recovery asks for so many at once. */
const RECOVER_AT_ONCE = 500
/** Whatever the server says or does not say, a recovery goes on after that. */
const RECOVER_TIMEOUT_MS = 3_000
/** The server looks at what is pending a little late. */
const RUN_OUT_GRACE_MS = 150

const STATUS = {
  heartbeat: 100,
  badRequest: 400,
  notFound: 404,
  timeout: 408,
  conflict: 409,
  noResponders: 503,
} as const

/**
 * One durable consumer, as seen by one member: asks for messages, receives them, and keeps those in order that the
 * subscription has no room for yet.
 */
export class Lane {
  readonly plan: LanePlan
  readonly stream: string
  readonly consumer: string
  /** Every member of the group reads it. Otherwise one at a time does, and the order of keys holds in it. */
  readonly shared: boolean
  readonly pulls: Pulls
  /** Delivered by the server and not yet handed over. */
  stash: NatsDelivery[] = []
  /** Handed over and not settled. */
  readonly outstanding: LinkedList<NatsDelivery> = new LinkedList()
  /** Ours to read, and being read. */
  active = false
  /** Above zero while it is found out what became of the consumer. */
  suspended = 0
  /** Another one means another consumer of the same name. */
  identity = ''
  ackWaitMs: number
  /** The group has settled everything up to here, when we last asked. */
  floor: number | undefined
  /** Of its stream, when the consumer was looked up. */
  streamIdentity: string | undefined
  /** What the server said of the consumer when the session was restored. */
  restored: ConsumerInfo | undefined
  /** Start of the subjects that deliveries are acked on. */
  replyPrefix: string
  /** Used while a batch is settled: index of the last one of this lane. */
  lastIndex = -1
  /** An order of its own was asked for what lies in the stash. */
  unsorted = false
  readonly #host: LaneHost
  readonly #reply = new AckReply()
  #subscription: Subscription | undefined
  /** Arrived and waiting for what is noted of their attempts; whoever comes after them waits too. */
  #intake: { readonly delivery: NatsDelivery; ready: boolean }[] = []
  #recovered: NatsDelivery[] | undefined
  #recoveryLeft = 0
  #recoveryStep: (() => void) | undefined
  /** The highest sequence that was seen; what comes at or below it comes again. */
  #seen = 0
  /** What of that a server may have forgotten to be settled that was killed, and until when that can show. */
  #forgotten = 0
  #forgottenUntil = 0
  /** Handed back to the server on purpose, and expected again. */
  readonly #returned = new Set<number>()

  constructor(host: LaneHost, plan: LanePlan, stream: string, consumer: string) {
    this.#host = host
    this.plan = plan
    this.stream = stream
    this.consumer = consumer
    this.replyPrefix = `$JS.ACK.${stream}.${consumer}`
    this.shared = plan.unit === undefined
    this.ackWaitMs = host.ackWaitMs
    this.pulls = new Pulls(host, this)
  }

  // --- life --------------------------------------------------------------------------------------------------------

  /**
   * Begins to read. With `left` of whoever had it before, that comes first, in its order: the server would mix up what runs
   * out at different times. `expired`: it was not handed back, so it has to be fetched back.
   */
  async activate(left: ConsumerInfo | undefined, expired: boolean): Promise<void> {
    this.#open()
    if (left !== undefined && left.num_ack_pending > 0) {
      await this.#sweep()
      if (expired && !(await reclaim(this.#host.session, left, this.replyPrefix, 0)))
        await sleep(this.#host.session.host.clock, this.ackWaitMs + RUN_OUT_GRACE_MS)
      await this.#recover(left.num_ack_pending)
    }
    this.active = this.#subscription !== undefined
    this.#host.wake()
  }

  #open(): void {
    if (this.#subscription !== undefined) return
    // Whoever had the lane meanwhile has handed things back that we know nothing of.
    this.#forget()
    const inbox = this.#host.session.inbox()
    this.pulls.inbox = inbox
    this.#subscription = this.#host.session.subscribe(inbox, (error, message) => {
      if (error === null) this.#receive(message)
      else this.#host.session.error(error, `receiving from consumer "${this.consumer}"`)
    })
  }

  /** Asks for nothing more; resolves when nothing more can come. What has come stays in the stash. */
  async quiet(): Promise<void> {
    this.active = false
    const subscription = this.#subscription
    const isAsking = this.pulls.asked > 0
    this.#subscription = undefined
    this.#endRecovery()
    if (subscription !== undefined && !this.#host.session.connection.isClosed()) {
      // Without interest the server drops our requests; what it sent before it knew still comes through.
      if (this.#host.session.ready) await subscription.drain()
      else subscription.unsubscribe()
      if (isAsking) await this.#sweep()
    }
    this.pulls.reset()
  }

  /** The connection is gone, and our requests with it. */
  down(): void {
    this.pulls.reset()
    this.#endRecovery()
    if (this.shared) return
    this.#forgotten = this.#seen
    this.#forgottenUntil = Infinity
  }

  /** The connection is back, and `restored` says what the server has. */
  async up(): Promise<void> {
    if (this.#forgottenUntil === Infinity) this.#forgottenUntil = this.#now() + 2 * this.ackWaitMs
    const info = this.restored
    this.restored = undefined
    if (!this.active || this.shared || info === undefined) return
    const held = this.outstanding.size + this.stash.length + this.#intake.length
    if (info.delivered.stream_seq <= this.#seen || info.num_ack_pending === 0) return
    // Delivered into the cut: it must come before anything newer.
    this.active = false
    try {
      await this.#sweep()
      if (await reclaim(this.#host.session, info, this.replyPrefix, this.#seen))
        await this.#recover(Math.max(1, info.num_ack_pending - held))
    } finally {
      this.active = this.#subscription !== undefined
    }
  }

  #forget(): void {
    this.#seen = 0
    this.#forgotten = 0
    this.#returned.clear()
  }

  /** Another consumer has our name, or none has: nothing of what we hold means anything to it. */
  adopt(info: ConsumerInfo, identity: string, streamIdentity: string | undefined): void {
    this.identity = identity
    this.streamIdentity = streamIdentity
    this.floor = info.ack_floor.stream_seq
    const nanos = info.config.ack_wait
    if (nanos !== undefined && nanos > 0) this.ackWaitMs = nanos / 1_000_000
    this.#forget()
  }

  /** Everything that we hold is the server's again: what is outstanding is reported, what is here is dropped. Returns all. */
  lose(reason: string): NatsDelivery[] {
    const lost = this.#letGo()
    const dropped = this.dropStash()
    this.#forget()
    if (lost.length > 0) this.#host.lost(lost, reason)
    return [...lost, ...dropped]
  }

  /** Empties the lane in order to hand everything back: what nobody has begun, and what was outstanding and is lost now. */
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

  /** Everything that was not handed over yet. */
  dropStash(): NatsDelivery[] {
    const dropped = [...this.stash, ...this.#intake.map(({ delivery }) => delivery)]
    this.stash = []
    this.#intake = []
    return dropped
  }

  /** The lowest sequence that must come again if the consumer is made anew. */
  get resumeAt(): number {
    let lowest = this.#seen + 1
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next)
      if (delivery.seq < lowest) lowest = delivery.seq
    for (const { seq } of this.stash) if (seq < lowest) lowest = seq
    for (const { delivery } of this.#intake) if (delivery.seq < lowest) lowest = delivery.seq
    for (const seq of this.#returned) if (seq < lowest) lowest = seq
    return lowest
  }

  // --- in ----------------------------------------------------------------------------------------------------------

  #receive(native: Msg): void {
    const { reply } = native
    if (reply === undefined || reply === '' || !this.#reply.read(reply)) {
      this.#status(native)
      return
    }
    const { delivered, seq, time, pending } = this.#reply
    const now = this.#now()
    if (this.replyPrefix.length !== this.#reply.prefixEnd) this.replyPrefix = reply.slice(0, this.#reply.prefixEnd)
    this.pulls.arrived(pending, now)
    if (seq > this.#seen) this.#seen = seq
    else if (this.#isHere(seq) || this.#isDone(seq, reply)) return this.#skipped()
    const topic = this.#host.subjects.topicOf(native.subject)
    const { message, group, deliverAt } = this.#host.mapping.decode(native, topic, `${this.stream}-${seq}`, time)
    if (group !== undefined && group !== this.#host.group) {
      // A redrive for another group.
      this.#host.acknowledge(reply)
      return this.#skipped()
    }
    const bytes = native.data.byteLength + this.pulls.headerBytes(native)
    const delivery = new NatsDelivery(this, message, reply, seq, delivered, bytes, deliverAt !== undefined, now)
    const early = deliverAt === undefined ? 0 : deliverAt - this.#host.session.host.clock.now()
    if (early > 0) {
      this.#host.putOff(delivery, early)
      return this.#skipped()
    }
    if (this.#recovered !== undefined) {
      this.#recovered.push(delivery)
      this.#recoveryCame()
    } else if (delivered > 1 || this.#intake.length > 0) this.#lookUp(delivery)
    else this.#keep(delivery)
  }

  #skipped(): void {
    if (this.#recovered === undefined) this.#host.wake()
    else this.#recoveryCame()
  }

  /** We settled it, and the server does not know (yet, or any more: it was killed before it had that on its disk). */
  #isDone(seq: number, reply: string): boolean {
    if (this.#returned.delete(seq)) return false
    const isForgotten = seq <= this.#forgotten && this.#now() <= this.#forgottenUntil
    if (!isForgotten && !this.#host.isAcking(this, seq)) return false
    this.#host.acknowledge(reply)
    return true
  }

  #keep(delivery: NatsDelivery): void {
    this.stash.push(delivery)
    this.#host.wake()
  }

  /** A message that comes again while we hold it: its ack wait ran out at the server, or the server was killed. */
  #isHere(seq: number): boolean {
    for (let delivery = this.outstanding.first; delivery !== undefined; delivery = delivery.next)
      if (delivery.seq === seq) return true
    return (
      this.stash.some((delivery) => delivery.seq === seq) ||
      this.#intake.some(({ delivery }) => delivery.seq === seq) ||
      (this.#recovered?.some((delivery) => delivery.seq === seq) ?? false)
    )
  }

  #lookUp(delivery: NatsDelivery): void {
    const entry = { delivery, ready: delivery.delivered === 1 }
    this.#intake.push(entry)
    if (entry.ready) return
    void this.#number(delivery).then(() => {
      entry.ready = true
      while (this.#intake[0]?.ready === true) this.#keep((this.#intake.shift() as typeof entry).delivery)
    })
  }

  async #number(delivery: NatsDelivery): Promise<void> {
    if (delivery.delivered > 1) delivery.note = await this.#host.notes.read(this.consumer, delivery.seq)
    delivery.attempt = attemptOf(delivery.delivered, delivery.early, delivery.note)
  }

  /** A delivery goes back to the server, which is to send it again. */
  returning(delivery: NatsDelivery): void {
    // In a shared lane it may come to anybody.
    if (!this.shared) this.#returned.add(delivery.seq)
  }

  /** A delivery that was released goes back to its place here: nobody else may have it anyway. */
  takeBack(delivery: NatsDelivery): void {
    this.stash.push(delivery.again())
    this.unsorted = true
    this.#host.wake()
  }

  /** Hands out up to so many, in order. */
  take(count: number): NatsDelivery[] {
    if (this.unsorted) {
      this.stash.sort((a, b) => a.seq - b.seq)
      this.unsorted = false
    }
    if (count >= this.stash.length) {
      const all = this.stash
      this.stash = []
      return all
    }
    return this.stash.splice(0, count)
  }

  /**
   * Servers before 2.10 forget a redelivery (until its ack wait is over) when they find requests that nobody waits for any
   * more, and repeat another message instead. So dead requests are cleared away before anything is handed back: the server
   * does that when it serves a request that came after them.
   */
  async #sweep(): Promise<void> {
    const { session } = this.#host
    if (!session.ready || !session.isOlderThan(2, 10)) return
    const inbox = session.inbox()
    const done = Promise.withResolvers<void>()
    const subscription = session.subscribe(inbox, (error, message) => {
      if (error === null && message.reply !== undefined && message.reply !== '') this.#receive(message)
      done.resolve()
    })
    this.pulls.sweep(inbox)
    const timer = session.host.clock.setTimer(RECOVER_TIMEOUT_MS, () => done.resolve())
    await done.promise
    timer.cancel()
    if (!session.connection.isClosed()) subscription.unsubscribe()
  }

  // --- recovery ----------------------------------------------------------------------------------------------------

  async #recover(pending: number): Promise<void> {
    const found: NatsDelivery[] = []
    this.#recovered = found
    for (let left = pending; left > 0;) {
      const before = found.length
      const count = Math.min(left, RECOVER_AT_ONCE)
      this.#recoveryLeft = count
      const done = this.#recoveryDone()
      this.pulls.askWithoutWaiting(count)
      await done
      if (found.length - before < count) break
      left -= count
    }
    this.#recovered = undefined
    this.pulls.reset()
    await Promise.all(found.map((delivery) => this.#number(delivery)))
    found.sort((a, b) => a.seq - b.seq)
    if (this.#subscription === undefined) return
    this.stash = [...found, ...this.stash]
    this.unsorted = true
  }

  #recoveryDone(): Promise<void> {
    return new Promise((resolve) => {
      let timer: Timer | undefined
      this.#recoveryStep = () => {
        this.#recoveryStep = undefined
        timer?.cancel()
        resolve()
      }
      timer = this.#host.session.host.clock.setTimer(RECOVER_TIMEOUT_MS, () => this.#recoveryStep?.())
    })
  }

  #recoveryCame(): void {
    if (--this.#recoveryLeft <= 0) this.#recoveryStep?.()
  }

  #endRecovery(): void {
    this.#recoveryLeft = 0
    this.#recoveryStep?.()
  }

  // --- what the server says instead of a message -------------------------------------------------------------------

  #status(native: Msg): void {
    const { headers } = native
    if (headers === undefined) return
    this.pulls.heard()
    const { code, description } = headers
    if (code === STATUS.heartbeat) return
    const unanswered = Number(headers.get('Nats-Pending-Messages') || Number.NaN)
    if (this.#recovered !== undefined && (code === STATUS.notFound || code === STATUS.timeout))
      return this.#endRecovery()
    switch (code) {
      case STATUS.notFound:
      case STATUS.timeout:
        this.pulls.ended(unanswered)
        break
      case STATUS.noResponders:
        this.pulls.reset()
        this.#host.consumerMissing(this)
        return
      case STATUS.conflict:
        this.#conflict(description, unanswered)
        break
      default:
        this.pulls.refused()
        this.#host.session.error(
          new Error(`JetStream answered ${code} ${description}`),
          `asking consumer "${this.consumer}" for messages`,
        )
    }
    this.#host.wake()
  }

  #now(): number {
    return this.#host.session.host.clock.monotonic()
  }

  #conflict(description: string, unanswered: number): void {
    const text = description.toLowerCase()
    if (text.includes('consumer deleted')) {
      this.pulls.reset()
      this.#host.consumerMissing(this)
    } else if (text.includes('maxbytes') || text.includes('batch completed')) {
      if (text.includes('exceeds maxbytes')) this.pulls.tooLarge()
      this.pulls.ended(unanswered)
    } else if (text.includes('leadership') || text.includes('shutdown')) this.pulls.reset()
    else {
      this.pulls.refused()
      this.#host.session.warning('nats-pull-refused', `consumer "${this.consumer}": ${description}`)
    }
  }
}

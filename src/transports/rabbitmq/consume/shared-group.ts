import type { Clock, Timer } from '../../../core/clock.ts'
import { ConfigurationError, StateError } from '../../../core/errors.ts'
import type {
  AttemptNote,
  Delivery,
  DeliverySink,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  SubscriptionState,
} from '../../../core/transport.ts'
import { topicSet } from '../partitions/topic-set.ts'
import { hasBucket } from '../topology/names.ts'
import type { IncomingMessage } from '../wire/incoming-message.ts'
import { topicOf } from '../wire/read-message.ts'
import { StrayMessages } from './stray-messages.ts'
import type { StrayReports } from './stray-messages.ts'
import type { RabbitMqSubscription } from './subscription.ts'
import { TopicSubscription } from './topic-subscription.ts'
import type { SharedQueues } from './topic-subscription.ts'
import { TopicsTaker } from './topics-taker.ts'

/** Changes that come together are told to the other members together: a start adds hundreds of topics. */
const TELL_MS = 100
/** How long a queue may be full of messages that nobody here takes until that is reported. */
const FULL_MS = 10_000
/** Topics that are bound again in one go (`BindingRenewal`). */
const RENEWED_AT_ONCE = 20
/** The same question from the consumers of many topics is asked once. */
const READY_MS = 1_000

export interface SharedGroupHost extends StrayReports {
  /** Leads these topics to the queues, which are so many; resolves with the number of bindings (`Topology.topicsOfGroup`). */
  bind(topics: readonly string[], partitions: number, isDeleted: boolean): Promise<number>
  /** Whether the topic is known to be one of the group, consumed here or not (`Topology.isOfGroup`). */
  isOfGroup(topic: string): boolean
  /** The queue is full of messages of these topics, which take none at present: no other topic gets any from it. */
  full(queue: string, topics: readonly string[]): void
  /** No topic is left. */
  ended(): void
}

/**
 * The topics of one group in this process, where all of them share the group's queues: one subscription reads the queues, and each
 * message goes to the consumer of its topic. Order and attempts are those of the queues; credit is that of each topic.
 */
export class SharedGroup implements SharedQueues, DeliverySink {
  readonly #topics = new Map<string, TopicSubscription>()
  readonly #clock: Clock
  readonly #host: SharedGroupHost
  readonly #strays: StrayMessages
  readonly #since: number
  readonly taker: TopicsTaker = new TopicsTaker(this.#topics, () => this.#filled())
  #subscription: RabbitMqSubscription | undefined
  #unbound: { readonly topic: string; readonly bound: PromiseWithResolvers<void> }[] = []
  #isBinding = false
  #isWanted = true
  #set: string | undefined
  #telling: Timer | undefined
  #fullTimer: Timer | undefined
  #reportedFull = new Set<string>()
  /** Number of messages that have arrived. */
  #arrivals = 0
  #ready: { readonly at: number; readonly count: Promise<number | undefined> } | undefined
  #renewed = 0
  #isEnded = false

  constructor(clock: Clock, host: SharedGroupHost) {
    this.#clock = clock
    this.#host = host
    this.#since = clock.now()
    this.#strays = new StrayMessages(clock, {
      ...host,
      isConsumed: this.told.has,
      foundElsewhere: () => this.#subscription?.assignment.yieldKept(),
      find: async (topic) => this.#subscription?.assignment.find(topic) ?? false,
      readers: () => this.#subscription?.assignment.assignedQueues.map(({ reader }) => reader) ?? [],
      settle: (batch) => this.settle(batch),
    })
  }

  /** Called once, when the queues have been declared. */
  begin(subscription: RabbitMqSubscription): void {
    this.#subscription = subscription
  }

  get isEnded(): boolean {
    return this.#isEnded
  }

  /** Its topics, as their consumers asked for them. */
  get specs(): readonly SubscriptionSpec[] {
    return [...this.#topics.values()].map(({ spec }) => spec)
  }

  // --- topics come and go ----------------------------------------------------------------------------------------------

  /** Rejects with `ConfigurationError` for a topic that has queues of its own. */
  async add(spec: SubscriptionSpec, sink: DeliverySink): Promise<TopicSubscription> {
    const { topic, group } = spec
    if (this.#topics.has(topic))
      throw new ConfigurationError(`The group "${group}" of "${topic}"`, [
        { path: 'topic', message: "is consumed twice in this process, which queues: 'per-group' does not allow" },
      ])
    const added = new TopicSubscription(spec, sink, this)
    this.#topics.set(topic, added)
    const bound = Promise.withResolvers<void>()
    this.#unbound.push({ topic, bound })
    if (!this.#isBinding) void this.#bindAll()
    try {
      await bound.promise
    } catch (error) {
      await this.leave(added)
      throw error
    }
    this.#subscription?.raisePrefetch(spec.prefetch)
    this.#topicsChanged()
    return added
  }

  /** Binds together what has come in one turn, or while others were bound. Never rejects. */
  async #bindAll(): Promise<void> {
    this.#isBinding = true
    await nextTurn()
    while (this.#unbound.length > 0) {
      const batch = this.#unbound
      this.#unbound = []
      try {
        await this.#bind(batch.map(({ topic }) => topic))
        for (const { bound } of batch) bound.resolve()
      } catch {
        // One that is refused must not keep the others.
        for (const { topic, bound } of batch)
          await this.#bind([topic]).then(
            () => bound.resolve(),
            (error: unknown) => bound.reject(error),
          )
      }
    }
    this.#isBinding = false
  }

  /** Binds all topics again: on a new connection, or because a queue was deleted. */
  async bindAgain(isDeleted: boolean): Promise<void> {
    await this.#bind([...this.#topics.keys()], isDeleted)
  }

  /** Binds the next few topics again, in turn; resolves with the number of bindings. */
  async renew(): Promise<number> {
    const topics = [...this.#topics.keys()]
    const at = this.#renewed < topics.length ? this.#renewed : 0
    this.#renewed = at + RENEWED_AT_ONCE
    return this.#bind(topics.slice(at, this.#renewed))
  }

  async #bind(topics: readonly string[], isDeleted = false): Promise<number> {
    return topics.length === 0 ? 0 : this.#host.bind(topics, this.#running.nature.partitions, isDeleted)
  }

  #remove(topic: TopicSubscription): void {
    if (this.#topics.get(topic.topic) === topic) this.#topics.delete(topic.topic)
    this.#topicsChanged()
  }

  async leave(topic: TopicSubscription): Promise<void> {
    const subscription = this.#subscription
    this.#remove(topic)
    if (this.#topics.size === 0) {
      this.close()
      this.#host.ended()
      await subscription?.close()
      return
    }
    if (subscription === undefined) return
    // What its handlers have begun and not ended comes again, here or elsewhere, without an attempt used.
    const open = subscription.handed().filter(({ message }) => message.topic === topic.topic)
    if (open.length > 0)
      await subscription.settle(
        open.map((delivery) => ({ delivery, outcome: { type: 'release', delayMs: 0 } as const })),
      )
    if (subscription.waiting(topic.topic) > 0) this.#strays.saw(topic.topic)
  }

  /** The transport closes. */
  close(): void {
    this.#isEnded = true
    this.#telling?.cancel()
    this.#fullTimer?.cancel()
    this.#strays.close()
  }

  // --- what the other members know -------------------------------------------------------------------------------------

  /** For `Membership`. */
  readonly told = {
    set: (): string => {
      this.#set ??= topicSet(this.#open(), this.#since)
      return this.#set
    },
    has: (topic: string): boolean => this.#topics.get(topic)?.isOpen === true,
  }

  #open(): readonly string[] {
    return [...this.#topics.values()].filter(({ isOpen }) => isOpen).map(({ topic }) => topic)
  }

  #topicsChanged(): void {
    this.#set = undefined
    if (this.#isEnded) return
    this.#telling ??= this.#clock.setTimer(TELL_MS, () => {
      this.#telling = undefined
      this.#subscription?.assignment.topicsChanged()
    })
  }

  // --- for its topics ----------------------------------------------------------------------------------------------------

  requested(topic: TopicSubscription): void {
    if (this.#isEnded) return
    // Only the first one is news.
    if (!this.#isWanted && topic.isWanted) this.#want(true)
    this.#subscription?.begin()
    this.#subscription?.arrived()
  }

  changed(): void {
    if (this.#isEnded) return
    this.#topicsChanged()
    this.#want([...this.#topics.values()].some((topic) => topic.isWanted))
    if (this.#isWanted) this.#subscription?.arrived()
  }

  #want(isWanted: boolean): void {
    if (isWanted === this.#isWanted) return
    this.#isWanted = isWanted
    if (isWanted) this.#subscription?.resume()
    else this.#subscription?.pause()
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    return this.#running.settle(batch)
  }

  noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    return this.#running.noteAttempts(notes)
  }

  state(): SubscriptionState {
    return this.#running.state()
  }

  get #running(): RabbitMqSubscription {
    if (this.#subscription === undefined) throw new StateError('The queues of the group have not been declared')
    return this.#subscription
  }

  /**
   * What waits in the queues may be for any topic. It counts as one's own only if nothing at all has arrived since the last look,
   * although there is room: then the broker delivers nothing.
   */
  async readyHere(topic: TopicSubscription): Promise<number | undefined> {
    const before = topic.seen
    topic.seen = this.#arrivals
    const waiting = this.#running.waiting(topic.topic)
    if (waiting > 0 || before !== this.#arrivals) return waiting
    const now = this.#clock.monotonic()
    if (this.#ready === undefined || now - this.#ready.at >= READY_MS)
      this.#ready = { at: now, count: this.#running.readyHere?.() ?? Promise.resolve(undefined) }
    return this.#ready.count
  }

  // --- for the queues ------------------------------------------------------------------------------------------------

  /** For `RabbitMqSubscription`: undefined for a message that matched a binding and is of no topic of the group. */
  topicOf(arrival: IncomingMessage): string | undefined {
    this.#arrivals++
    const topic = topicOf(arrival)
    if (this.#topics.get(topic)?.isOpen !== true) {
      // A binding for a topic with any bucket matches another topic, two words longer, that was published without a bucket.
      const isByBinding =
        !arrival.isCopy && !hasBucket(arrival.routingKey) && this.#topics.has(topic.replace(/\.[^.]+\.[^.]+$/, ''))
      // It may be of the group all the same: drained here, or consumed by other members alone.
      if (isByBinding && !this.#host.isOfGroup(topic)) return undefined
      this.#strays.saw(topic)
    }
    return topic
  }

  /** A queue has sent all that it may, and nothing of it can be handed out now: whether that lasts is seen later. */
  #filled(): void {
    this.#fullTimer ??= this.#clock.setTimer(FULL_MS, () => {
      this.#fullTimer = undefined
      this.#lookAtFull()
    })
  }

  #lookAtFull(): void {
    for (const { reader } of this.#running.assignment.assignedQueues) {
      const topics = reader.isFull ? [...new Set(reader.held.map(({ message }) => message.topic))] : []
      if (reader.handed > 0 || topics.length === 0) {
        this.#reportedFull.delete(reader.queue)
        if (reader.isFull) this.#filled()
        continue
      }
      this.#filled()
      if (this.#reportedFull.has(reader.queue)) continue
      this.#reportedFull.add(reader.queue)
      this.#host.full(reader.queue, topics)
    }
  }

  /** Never called: `taker` hands out. */
  receive(): void {
    throw new StateError('Messages of shared queues go to the consumers of their topics')
  }

  lost(deliveries: readonly Delivery[], reason: string): void {
    for (const [topic, own] of this.#byTopic(deliveries)) topic.sink.lost(own, reason)
  }

  recall(deliveries: readonly Delivery[]): void {
    for (const [topic, own] of this.#byTopic(deliveries)) topic.sink.recall(own)
  }

  #byTopic(deliveries: readonly Delivery[]): Map<TopicSubscription, Delivery[]> {
    const found = new Map<TopicSubscription, Delivery[]>()
    for (const delivery of deliveries) {
      const topic = this.#topics.get(delivery.message.topic)
      if (topic === undefined) continue
      const own = found.get(topic)
      if (own === undefined) found.set(topic, [delivery])
      else own.push(delivery)
    }
    return found
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

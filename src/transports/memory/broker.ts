import { systemClock } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import type { PublishError } from '../../core/errors.ts'
import type { BusEvents } from '../../core/events.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../../core/message.ts'
import { OptionsReader } from '../../core/util/options-reader.ts'
import { messageBytes } from '../../core/message.ts'
import { compilePattern, isDeadLetterTopic, isPattern } from '../../core/topic.ts'
import type { DeliverySink, PublishOutcome, StartFrom, SubscriptionSpec, TransportHost } from '../../core/transport.ts'
import { MEMORY_DEFAULTS } from './defaults.ts'
import type { DeliveryQueue, MemoryDelivery } from './delivery.ts'
import { GroupQueue } from './group-queue.ts'
import { LogEntry } from './log.ts'
import { Responders } from './request-reply.ts'
import { MemorySubscription } from './subscription.ts'
import { TopicState } from './topic-state.ts'

/** Makes a broker that several `memory({ broker })` transports share, as several processes would share a real one. */
export function memoryBroker(
  options: { readonly retainMessages?: number; readonly maxBacklogBytes?: number; readonly clock?: Clock } = {},
): MemoryBroker {
  const reader = new OptionsReader('memoryBroker', options, 'memoryBroker()')
  const limits = {
    retainMessages: reader.integer('retainMessages', MEMORY_DEFAULTS.retainMessages),
    maxBacklogBytes: reader.integer('maxBacklogBytes', MEMORY_DEFAULTS.maxBacklogBytes, { min: 1024 }),
  }
  const clock = reader.withMethods<Clock>('clock', ['now', 'monotonic', 'setTimer'])
  reader.done()
  return new MemoryBroker(limits, clock)
}

type Stored = Extract<PublishOutcome, { readonly error?: undefined }>

interface Follower {
  readonly matches: (topic: string) => boolean
  readonly subscription: MemorySubscription
}

/**
 * Topics, groups and their messages in this process, made by `memoryBroker`. Pass it to `memory({ broker })`.
 */
// Every operation is one synchronous step, in the order of the calls.
export class MemoryBroker {
  /** @internal */
  clock: Clock
  /** @internal */
  readonly topics: Map<string, TopicState> = new Map()
  /** @internal */
  readonly responders: Responders = new Responders()
  readonly #limits: { readonly retainMessages: number; readonly maxBacklogBytes: number }
  /** Wildcard subscriptions: they join topics that appear later. */
  readonly #followers = new Set<Follower>()
  readonly #awake = new Set<GroupQueue>()
  readonly #listeners = new Set<(topic: string) => void>()
  /** By instance and name: the transport's name, and where it reports to. */
  readonly #events = new Map<string, readonly [string, BusEvents]>()
  #clockIsSet: boolean
  #scheduled = false
  /** Most messages have the topic of the one before. */
  #lastTopic: TopicState | undefined
  /** Has new messages, and its groups are not awake yet. */
  #grown: TopicState | undefined

  /** @internal */
  constructor(limits: { readonly retainMessages: number; readonly maxBacklogBytes: number }, clock: Clock | undefined) {
    this.#limits = limits
    this.clock = clock ?? systemClock
    this.#clockIsSet = clock !== undefined
  }

  /** @internal */
  topic(name: string): TopicState {
    if (this.#lastTopic?.name === name) return this.#lastTopic
    let state = this.topics.get(name)
    if (state !== undefined) return (this.#lastTopic = state)
    state = new TopicState(name, this.#limits)
    this.topics.set(name, state)
    for (const { matches, subscription } of this.#followers) {
      // No message of the topic can have been seen before it existed, so its first message counts for all groups.
      if (matches(name)) this.#join(subscription, state, 0)
    }
    return state
  }

  // --- in ----------------------------------------------------------------------------------------------------------

  /**
   * @internal Stores a message; undefined when it has to wait for room, among the waiters of its topic. Call `appended` after the
   * last one of a batch.
   */
  append(message: OutgoingMessage, now: number): PublishOutcome | undefined {
    const state = this.topic(message.topic)
    if (state.waiters.size === 0 && state.hasRoom) return this.#store(state, message, now)
    return isDeadLetterTopic(message.topic) ? { error: state.fullError() } : undefined
  }

  /** @internal Stores a message that waited for room. Call `appended` after the last one. */
  appendWaiter(message: OutgoingMessage): Stored {
    return this.#store(this.topic(message.topic), message, this.clock.now())
  }

  /**
   * @internal Stores all of them and returns their positions, or none and returns a topic that has no room for its own. `isNew`: it
   * has not waited, and must not overtake what waits.
   */
  appendAll(messages: readonly OutgoingMessage[], isNew: boolean): readonly (Position | undefined)[] | TopicState {
    const states = messages.map(({ topic }) => this.topic(topic))
    const full = states.find((state) => !state.hasRoom || (isNew && state.waiters.size > 0))
    if (full !== undefined) return full
    const now = this.clock.now()
    const positions = messages.map((message, index) => this.#store(states[index] as TopicState, message, now).position)
    this.appended()
    return positions
  }

  /**
   * @internal Stores what goes with the outcome of a delivery now: all of it, or nothing and returns the reason why not. The room
   * that the outcome makes counts: otherwise a full topic whose handlers publish to it could never be emptied.
   */
  appendNow(messages: readonly OutgoingMessage[], settled: MemoryDelivery): PublishError | undefined {
    const states = messages.map(({ topic }) => this.topic(topic))
    const full = states.find((state) => !state.hasRoomOnce(settled.queue, settled.bytes))
    if (full !== undefined) return full.fullError()
    const now = this.clock.now()
    for (const [index, message] of messages.entries()) this.#store(states[index] as TopicState, message, now)
    this.appended()
    return undefined
  }

  /** @internal Once for many messages: wakes the groups that have something to get, and drops what the topic need not keep. */
  appended(): void {
    const state = this.#grown
    if (state === undefined) return
    this.#grown = undefined
    for (const queue of state.queues) if (queue.started) this.wake(queue)
    const lost = state.trim()
    if (lost > 0) this.#reportLoss(state, lost)
  }

  #store(state: TopicState, message: OutgoingMessage, publishedAt: number): Stored {
    const bytes = messageBytes(message)
    if (message.group !== undefined) {
      const delayMs = message.deliverAt === undefined ? 0 : message.deliverAt - publishedAt
      this.#group(state, message.group).addTargeted(message, publishedAt, bytes, delayMs)
      return { position: undefined }
    }
    if (state !== this.#grown) {
      this.appended()
      this.#grown = state
    }
    const entry = new LogEntry(message, state.log.end, publishedAt, bytes)
    state.log.push(entry)
    for (const queue of state.queues) if (queue.started) queue.pendingBytes += bytes
    if (this.#listeners.size > 0) for (const listener of this.#listeners) listener(state.name)
    return entry
  }

  #reportLoss(state: TopicState, count: number): void {
    for (const [transport, events] of this.#events.values()) {
      if (!events.wants('loss')) continue
      const reason = 'no group consumes the topic, and it holds no more (retainMessages, maxBacklogBytes)'
      events.emit('loss', { transport, topic: state.name, group: undefined, count, position: undefined, reason })
    }
  }

  /** @internal Acks made room: waiting publishers continue, in order. */
  settled(queues: Iterable<DeliveryQueue>): void {
    for (const { topic } of queues) {
      const state = this.topics.get(topic)
      if (state === undefined) continue
      for (let waiter = state.waiters.first; waiter !== undefined && state.hasRoom; waiter = state.waiters.first) {
        state.waiters.remove(waiter)
        waiter.proceed()
      }
    }
    this.appended()
  }

  // --- out ---------------------------------------------------------------------------------------------------------

  /** @internal `maxMessageBytes` limits the dead letters that the subscription makes. */
  subscribe(spec: SubscriptionSpec, sink: DeliverySink, maxMessageBytes: number = Infinity): MemorySubscription {
    const subscription = new MemorySubscription(this, spec, sink, maxMessageBytes)
    if (!isPattern(spec.topic)) {
      const state = this.topic(spec.topic)
      this.#join(subscription, state, this.#startOf(state, spec.from))
      return subscription
    }
    const matches = compilePattern(spec.topic)
    for (const state of this.topics.values())
      if (matches(state.name)) this.#join(subscription, state, this.#startOf(state, spec.from))
    this.#followers.add({ matches, subscription })
    return subscription
  }

  /** @internal */
  leave(subscription: MemorySubscription): void {
    for (const follower of this.#followers) if (follower.subscription === subscription) this.#followers.delete(follower)
    for (const queue of subscription.queues) {
      queue.members.splice(queue.members.indexOf(subscription), 1)
      if (subscription.spec.ephemeral) this.deleteGroup(queue.topic, queue.group)
      else this.wake(queue)
    }
  }

  /** @internal Schedules the queue to distribute: once per turn of the event loop, however often it is called. */
  wake(queue: GroupQueue): void {
    if (queue.members.length === 0) return
    this.#awake.add(queue)
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(() => {
      this.#scheduled = false
      const awake = [...this.#awake]
      this.#awake.clear()
      for (const each of awake) each.distribute()
    })
  }

  #join(subscription: MemorySubscription, state: TopicState, cursor: number): void {
    const queue = this.#group(state, subscription.spec.group)
    queue.start(cursor)
    queue.members.push(subscription)
    subscription.queues.add(queue)
    this.wake(queue)
  }

  /** The group; a new one has no start position yet. */
  #group(state: TopicState, group: string): GroupQueue {
    let queue = state.groups.get(group)
    if (queue !== undefined) return queue
    queue = new GroupQueue({
      topic: state.name,
      group,
      cursor: state.log.end,
      started: false,
      log: state.log,
      clock: this.clock,
      onReady: (ready) => this.wake(ready),
    })
    state.addGroup(queue)
    return queue
  }

  #startOf(state: TopicState, from: StartFrom): number {
    if (from === 'earliest') return state.log.start
    if (from === 'latest') return state.log.end
    if ('timeMs' in from) return state.log.offsetAt(from.timeMs)
    const offset = Number(from.position['offset'])
    return Number.isInteger(offset) ? Math.min(Math.max(offset, state.log.start), state.log.end) : state.log.start
  }

  // --- looking after -----------------------------------------------------------------------------------------------

  /** @internal */
  seek(topic: string, group: string, to: StartFrom): void {
    const state = this.topic(topic)
    const queue = this.#group(state, group)
    queue.seek(this.#startOf(state, to), this.#revoke(queue, 'the group was moved'))
    this.settled([queue])
  }

  #revoke(queue: GroupQueue, reason: string): MemoryDelivery[] {
    return queue.members.flatMap((member) => member.revoke(queue, reason))
  }

  /** @internal A group with members continues from its current position, so that they are not cut off. */
  deleteGroup(topic: string, group: string): void {
    const state = this.topics.get(topic)
    const queue = state?.groups.get(group)
    if (state === undefined || queue === undefined) return
    if (queue.members.length === 0) {
      queue.close()
      state.removeGroup(queue)
    } else {
      this.#revoke(queue, 'the group was deleted')
      queue.reset(queue.cursor)
      this.wake(queue)
      const detail = `the group "${group}" of topic "${topic}" was deleted while it is consumed: it was made again where it had read to, and what was pending is forgotten. Close its consumers before you delete a group`
      for (const [transport, events] of this.#events.values())
        events.emit('warning', { transport, code: 'memory-group-deleted', detail })
    }
    this.settled([queue])
  }

  /** @internal */
  purge(topic: string): number {
    const state = this.topics.get(topic)
    if (state === undefined) return 0
    const purged = state.log.size
    state.log.trim(state.log.end)
    // A copy: listeners may delete groups meanwhile.
    const queues = [...state.queues]
    for (const queue of queues) {
      this.#revoke(queue, 'the topic was purged')
      queue.reset(state.log.end, queue.started)
    }
    this.settled(queues)
    return purged
  }

  /** @internal */
  remove(topic: string, positions: readonly Position[]): number {
    const state = this.topics.get(topic)
    if (state === undefined) return 0
    let removed = 0
    for (const position of positions) if (state.remove(Number(position['offset']))) removed++
    if (removed > 0) this.settled(state.queues)
    return removed
  }

  /** @internal Removes all messages. Groups and their members stay. */
  clear(): void {
    for (const topic of this.topics.keys()) this.purge(topic)
  }

  /** @internal Calls `listener` with the topic of each message that is stored. */
  onStored(listener: (topic: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** @internal A bus joins. All share one time: the clock that the broker was made with, or that of the first bus. */
  attach({ instanceId, name, events, clock }: TransportHost): void {
    this.#events.set(`${instanceId}/${name}`, [name, events])
    if (!this.#clockIsSet) {
      this.#clockIsSet = true
      this.clock = clock
    } else if (clock !== this.clock && clock !== systemClock) {
      const detail =
        'the bus has another clock than its broker, which uses that of the first bus it served: give the clock to memoryBroker({ clock })'
      events.emit('warning', { transport: name, code: 'memory-clock', detail })
    }
  }

  /** @internal */
  detach(instance: string, name: string): void {
    this.#events.delete(`${instance}/${name}`)
  }

  /** @internal */
  messages(topic: string): EncodedMessage[] {
    const log = this.topics.get(topic)?.log
    const messages: EncodedMessage[] = []
    if (log !== undefined)
      for (let offset = log.start; offset < log.end; offset++) {
        const entry = log.get(offset)
        if (entry !== undefined) messages.push(entry.message)
      }
    return messages
  }
}

import { systemClock } from '../../core/clock.ts'
import type { Clock } from '../../core/clock.ts'
import type { PublishError } from '../../core/errors.ts'
import type { BusEvents } from '../../core/events.ts'
import type { EncodedMessage, OutgoingMessage } from '../../core/message.ts'
import type { LinkedList } from '../../core/linked-list.ts'
import { OptionsReader } from '../../core/options.ts'
import { messageBytes } from '../../core/message.ts'
import { compilePattern, isDeadLetterTopic, isPattern } from '../../core/topic.ts'
import type { DeliverySink, PublishOutcome, StartFrom, SubscriptionSpec } from '../../core/transport.ts'
import { GroupQueue } from './group-queue.ts'
import { MEMORY_DEFAULTS } from './options.ts'
import { MemorySubscription } from './subscriber.ts'
import { TopicState } from './topic-state.ts'
import type { Waiter } from './topic-state.ts'

/** Makes a broker that several `memory({ broker })` transports share, as several processes would share a real one. */
export function memoryBroker(
  options: { readonly retainMessages?: number; readonly maxBacklogBytes?: number; readonly clock?: Clock } = {},
): MemoryBroker {
  const reader = new OptionsReader('memoryBroker', options)
  const limits = {
    retainMessages: reader.integer('retainMessages', MEMORY_DEFAULTS.retainMessages),
    maxBacklogBytes: reader.integer('maxBacklogBytes', MEMORY_DEFAULTS.maxBacklogBytes, { min: 1024 }),
  }
  const clock = reader.withMethods<Clock>('clock', ['now', 'monotonic', 'setTimer']) ?? systemClock
  reader.done()
  return new MemoryBroker(limits, clock)
}

interface Follower {
  readonly matches: (topic: string) => boolean
  readonly subscription: MemorySubscription
}

/** Topics, groups and their messages in this process. Everything it does is one synchronous step, in the order of the calls. */
export class MemoryBroker {
  clock: Clock
  readonly topics: Map<string, TopicState> = new Map()
  readonly #limits: { readonly retainMessages: number; readonly maxBacklogBytes: number }
  /** Wildcard subscriptions: they join topics that appear later. */
  readonly #followers = new Set<Follower>()
  readonly #awake = new Set<GroupQueue>()
  readonly #listeners = new Set<(topic: string) => void>()
  readonly #events = new Map<string, BusEvents>()
  #scheduled = false

  constructor(limits: { readonly retainMessages: number; readonly maxBacklogBytes: number }, clock: Clock) {
    this.#limits = limits
    this.clock = clock
  }

  topic(name: string): TopicState {
    let state = this.topics.get(name)
    if (state !== undefined) return state
    state = new TopicState(name, this.#limits)
    this.topics.set(name, state)
    for (const { matches, subscription } of this.#followers) {
      // Nothing of the topic can have been seen before it existed, so its first message counts for everybody.
      if (matches(name)) this.#join(subscription, state, 0)
    }
    return state
  }

  // --- in ----------------------------------------------------------------------------------------------------------

  /** Stores a message; undefined when it has to wait for room, and its waiter is told later. */
  append(
    message: OutgoingMessage,
    now: number,
    waiter: (waiters: LinkedList<Waiter>) => Waiter,
  ): PublishOutcome | undefined {
    const state = this.topic(message.topic)
    if (state.waiters.size === 0 && state.hasRoom) return this.#store(state, message, now)
    if (isDeadLetterTopic(message.topic)) return { error: state.fullError() }
    state.waiters.push(waiter(state.waiters))
    return undefined
  }

  /** Stores a dead letter now or says why not. */
  appendNow(message: OutgoingMessage): PublishError | undefined {
    const state = this.topic(message.topic)
    if (!state.hasRoom) return state.fullError()
    this.#store(state, message, this.clock.now())
    return undefined
  }

  #store(state: TopicState, message: OutgoingMessage, publishedAt: number): PublishOutcome {
    const bytes = messageBytes(message)
    if (message.group !== undefined) {
      const delayMs = message.deliverAt === undefined ? 0 : message.deliverAt - publishedAt
      this.#group(state, message.group, state.log.end).addTargeted(message, publishedAt, bytes, delayMs)
      return { position: undefined }
    }
    const offset = state.log.end
    state.log.push({ message, offset, publishedAt, deliverAt: message.deliverAt, bytes })
    for (const queue of state.groups.values()) {
      queue.pendingBytes += bytes
      this.wake(queue)
    }
    const lost = state.trim()
    if (lost > 0) this.#tellLoss(state, lost)
    for (const listener of this.#listeners) listener(state.name)
    return { position: { topic: state.name, offset } }
  }

  #tellLoss(state: TopicState, count: number): void {
    for (const [transport, events] of this.#events) {
      if (!events.wants('loss')) continue
      const reason = 'no group consumes the topic, and it holds no more (retainMessages, maxBacklogBytes)'
      events.emit('loss', { transport, topic: state.name, group: undefined, count, position: undefined, reason })
    }
  }

  /** Acks made room: publishers that wait go on, in order. */
  settled(queues: Iterable<GroupQueue>): void {
    for (const { topic } of queues) {
      const state = this.topics.get(topic)
      if (state === undefined) continue
      for (let waiter = state.waiters.first; waiter !== undefined && state.hasRoom; waiter = state.waiters.first) {
        state.waiters.remove(waiter)
        waiter.settle(this.#store(state, waiter.message, this.clock.now()))
      }
    }
  }

  // --- out ---------------------------------------------------------------------------------------------------------

  /** `maxMessageBytes` bounds the dead letters that the subscription makes. */
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

  leave(subscription: MemorySubscription): void {
    for (const follower of this.#followers) if (follower.subscription === subscription) this.#followers.delete(follower)
    for (const queue of subscription.queues) {
      queue.members.splice(queue.members.indexOf(subscription), 1)
      if (subscription.spec.ephemeral) this.deleteGroup(queue.topic, queue.group)
      else this.wake(queue)
    }
  }

  /** Have the queue distribute soon: once per turn of the event loop, however often it is asked for. */
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
    const queue = this.#group(state, subscription.spec.group, cursor)
    queue.members.push(subscription)
    subscription.queues.add(queue)
    this.wake(queue)
  }

  #group(state: TopicState, group: string, cursor: number): GroupQueue {
    let queue = state.groups.get(group)
    if (queue !== undefined) return queue
    queue = new GroupQueue({
      topic: state.name,
      group,
      cursor,
      log: state.log,
      clock: this.clock,
      onReady: (ready) => this.wake(ready),
    })
    queue.reset(cursor)
    state.groups.set(group, queue)
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

  seek(topic: string, group: string, to: StartFrom): void {
    const state = this.topic(topic)
    const cursor = this.#startOf(state, to)
    const queue = this.#group(state, group, cursor)
    for (const member of queue.members) member.revoke(queue, 'the group was moved')
    queue.reset(cursor)
    this.wake(queue)
    this.settled([queue])
  }

  deleteGroup(topic: string, group: string): void {
    const state = this.topics.get(topic)
    const queue = state?.groups.get(group)
    if (state === undefined || queue === undefined) return
    for (const member of queue.members) {
      member.revoke(queue, 'the group was deleted')
      member.queues.delete(queue)
    }
    queue.close()
    state.groups.delete(group)
    this.settled([queue])
  }

  purge(topic: string): number {
    const state = this.topics.get(topic)
    if (state === undefined) return 0
    const purged = state.log.size
    state.log.trim(state.log.end)
    for (const queue of state.groups.values()) this.seek(topic, queue.group, 'latest')
    return purged
  }

  /** Forgets every message. Groups and their members stay. */
  clear(): void {
    for (const topic of this.topics.keys()) this.purge(topic)
  }

  /** Calls `listener` with the topic of each message that is stored. */
  onStored(listener: (topic: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  attach(instance: string, name: string, events: BusEvents): void {
    this.#events.set(`${instance}/${name}`, events)
  }

  detach(instance: string, name: string): void {
    this.#events.delete(`${instance}/${name}`)
  }

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

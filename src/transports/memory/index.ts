import type { Clock } from '../../core/clock.ts'
import { CodecRegistry } from '../../core/codec.ts'
import type { AsyncCodec, Codec } from '../../core/codec.ts'
import { TimeoutError } from '../../core/errors.ts'
import { ConnectionState } from '../../core/util/connection-state.ts'
import { OpenedOnce } from '../../core/util/opened-once.ts'
import type { EncodedMessage } from '../../core/message.ts'
import { isDeadLetterTopic } from '../../core/topic.ts'
import type { Capabilities, Transport, TransportHost } from '../../core/transport.ts'
import { memoryAdmin } from './admin.ts'
import { memoryBroker } from './broker.ts'
import type { MemoryBroker } from './broker.ts'
import { resolveMemoryOptions } from './options.ts'
import type { MemoryOptions } from './options.ts'
import { publishToMemory, transactInMemory } from './publisher.ts'
import { MemoryRequestReply } from './request-reply.ts'
import type { MemorySubscription } from './subscription.ts'

export { memoryBroker } from './broker.ts'
export type { MemoryBroker } from './broker.ts'
export type { MemoryOptions } from './options.ts'

/** A stored message as a test looks at it. */
export interface MemoryMessage extends EncodedMessage {
  /**
   * Decodes the body: with the codec that you give, otherwise with the one for its content type (JSON, text or bytes). Applies
   * no schema. Throws `CodecError` when that fails.
   */
  data(codec?: Codec): unknown
}

/** The memory transport, with methods that let a test look inside. */
export interface MemoryTransport extends Transport {
  /**
   * The stored messages of all topics or of one, in order, without dead letters: the last `retainMessages` of each
   * topic.
   *
   *     assert.deepEqual(transport.messages('orders.placed')[0]?.data(), { orderId: 'ord-1' })
   */
  messages(topic?: string): readonly MemoryMessage[]
  /** All dead letters, or those of one dead-letter topic. */
  deadLetters(topic?: string): readonly MemoryMessage[]
  /** Removes all messages. Consumers continue with the messages published next. */
  clear(): void
  /** Resolves with the topic's messages once there are `count` of them; rejects with `TimeoutError` (default 5,000 ms). */
  waitForMessages(
    topic: string,
    count: number,
    options?: { readonly timeoutMs?: number },
  ): Promise<readonly MemoryMessage[]>
}

/** What a transport has while it is open. */
interface Open {
  readonly host: TransportHost
  readonly connection: ConnectionState
}

/**
 * A broker inside the process, for tests and for parts of one program that communicate by events. It is deterministic
 * and has every feature: groups, order by key, redelivery, delay, replay, dead letters. Messages pass through the
 * codec, as with a real broker. Nothing survives the process.
 *
 *     const transport = memory()
 *     const bus = createBus({ service: 'billing', transport })
 *     transport.messages('orders.created') // what was published
 *
 * Each call makes a separate broker; share one with `memory({ broker })`. Throws `ConfigurationError` for bad options.
 */
export function memory(options?: MemoryOptions): MemoryTransport {
  const resolved = resolveMemoryOptions(options)
  const broker: MemoryBroker =
    resolved.broker ??
    memoryBroker({ retainMessages: resolved.retainMessages, maxBacklogBytes: resolved.maxBacklogBytes })
  const subscriptions = new Set<MemorySubscription>()
  const once = new OpenedOnce<Open>('memory', 'make another one with the same broker, memory({ broker })')
  const stored = (topic: string | undefined, dead: boolean): MemoryMessage[] => {
    const names =
      topic === undefined ? [...broker.topics.keys()].filter((name) => isDeadLetterTopic(name) === dead) : [topic]
    return names.flatMap((name) => broker.messages(name).map(readable))
  }

  const requestReply = new MemoryRequestReply(broker.responders, () => once.get().host.clock, resolved.maxMessageBytes)

  return {
    system: 'memory',
    capabilities: capabilities(resolved.maxMessageBytes),
    admin: memoryAdmin(() => broker),
    requestReply,
    async open(host) {
      const { connection } = await once.open(
        () => ({ host, connection: new ConnectionState(host) }),
        async () => broker.attach(host),
      )
      connection.up()
    },
    async publish(batch, { signal } = {}) {
      once.get()
      return publishToMemory(broker, batch, resolved.maxMessageBytes, signal)
    },
    async transaction(batch, { signal } = {}) {
      once.get()
      return transactInMemory(broker, batch, signal)
    },
    async subscribe(spec, sink) {
      once.get()
      const subscription = broker.subscribe(spec, sink, resolved.maxMessageBytes)
      subscriptions.add(subscription)
      subscription.onClosed = () => subscriptions.delete(subscription)
      return subscription
    },
    health: () => ({ connected: once.isOpen }),
    async close({ deadlineMs = 5_000 } = {}) {
      const open = once.close()
      const responders = requestReply.close(deadlineMs)
      for (const subscription of subscriptions) await subscription.close()
      await responders
      if (open === undefined) return
      broker.detach(open.host.instanceId, open.host.name)
      open.connection.close()
    },
    messages: (topic) => stored(topic, false),
    deadLetters: (topic) => stored(topic, true),
    clear: () => broker.clear(),
    waitForMessages: (topic, count, { timeoutMs = 5_000 } = {}) =>
      waitForMessages(broker, broker.clock, topic, count, timeoutMs).then((messages) => messages.map(readable)),
  }
}

const BUILT_IN_CODECS = new CodecRegistry()

/** Not enumerable, so that a test may compare the message with one that it made. */
function readable(message: EncodedMessage): MemoryMessage {
  const data = (codec: Codec | AsyncCodec = BUILT_IN_CODECS.forContentType(message.contentType)): unknown =>
    message.body === null ? null : codec.decode(message.body)
  return Object.defineProperty({ ...message }, 'data', { value: data }) as EncodedMessage as MemoryMessage
}

function capabilities(maxMessageBytes: number): Capabilities {
  return Object.freeze({
    durable: false,
    groups: true,
    ordering: 'key',
    orderedRedelivery: true,
    delay: 'native',
    redelivery: true,
    attempts: true,
    patterns: true,
    replay: Object.freeze(['position', 'time'] as const),
    lag: true,
    publishDedup: false,
    failedPublishStopsKey: false,
    publishOnAck: true,
    atomicDeadLetters: true,
    transactions: true,
    tombstones: true,
    requestReply: true,
    maxMessageBytes,
  })
}

function waitForMessages(
  broker: MemoryBroker,
  clock: Clock,
  topic: string,
  count: number,
  timeoutMs: number,
): Promise<readonly EncodedMessage[]> {
  return new Promise((resolve, reject) => {
    const look = (): boolean => {
      const messages = broker.messages(topic)
      if (messages.length < count) return false
      stop()
      timer.cancel()
      resolve(messages)
      return true
    }
    const stop = broker.onStored((name) => {
      if (name === topic) look()
    })
    const timer = clock.setTimer(timeoutMs, () => {
      stop()
      reject(
        new TimeoutError(
          `"${topic}" has ${broker.messages(topic).length} messages after ${timeoutMs} ms, ${count} were expected`,
        ),
      )
    })
    look()
  })
}

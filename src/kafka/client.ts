import { createAdmin } from './admin/admin.ts'
import type { Admin } from './admin/admin.ts'
import type { AdminOptions } from './admin/admin-context.ts'
import { readHooks } from './client-hooks.ts'
import type { ClientHooks } from './client-hooks.ts'
import type { CloseOptions } from './close-deadline.ts'
import { Closing } from './closing.ts'
import { Cluster } from './cluster/cluster.ts'
import { closedError } from './cluster/cluster-errors.ts'
import type { ClusterOptions } from './cluster/cluster-options.ts'
import { Consumer } from './consumer/consumer.ts'
import type { ConsumerContext } from './consumer/consumer-context.ts'
import type { ConsumerOptions } from './consumer/consumer-options.ts'
import { ShareConsumer } from './consumer/share/share-consumer.ts'
import type { ShareConsumerOptions } from './consumer/share/share-options.ts'
import { systemClock } from './network/clock.ts'
import type { Clock } from './network/clock.ts'
import { Producer } from './producer/producer.ts'
import type { ProducerOptions } from './producer/producer-options.ts'

/** What {@link createClient} takes. Only `brokers` is required. */
export interface ClientOptions extends ClusterOptions {
  /** Functions that report what happens, for logs and metrics. @default none */
  readonly hooks?: ClientHooks | undefined
}

/**
 * A client of one Kafka cluster. It does not connect until it is used. Its producers and consumers share the metadata
 * of the cluster and nothing else: each has separate connections, so none waits for another. A process usually has
 * one client per cluster.
 */
export interface KafkaClient {
  /** Makes a producer. Throws an {@link InvalidOptionsError} if options can't be used. */
  producer(options?: ProducerOptions): Producer
  /**
   * Makes a consumer. It starts reading with the first `next` or `run`. Throws an {@link InvalidOptionsError} if
   * options can't be used.
   */
  consumer(options: ConsumerOptions): Consumer
  /** Makes a member of a share group (KIP-932, Kafka 4.2). Throws an {@link InvalidOptionsError} if options can't be used. */
  shareConsumer(options: ShareConsumerOptions): ShareConsumer
  /**
   * Makes an admin client, which manages the cluster and need not be closed. Throws an {@link InvalidOptionsError} if
   * options can't be used.
   */
  admin(options?: AdminOptions): Admin
  /**
   * Closes everything that this client made. Consumers let running handlers finish, commit, and leave their groups;
   * then producers send what they have left, for which a fifth of the time, at most 5 seconds, is reserved. Settles
   * within `deadlineMs` (default 30,000; `Infinity` for no limit) and leaves no socket or timer open; sends that are
   * not confirmed by then fail. Rejects with an {@link InvalidOptionsError} if options can't be used, and then closes
   * nothing. Safe to call again, also from handlers and hooks: the options of the first call apply.
   */
  close(options?: CloseOptions): Promise<void>
  /** Called at the end of an `await using`. */
  [Symbol.asyncDispose](): Promise<void>
}

/**
 * Makes a client, from which you get producers, consumers and admin clients. Throws an {@link InvalidOptionsError} that lists every option
 * that can't be used, with what to write instead.
 *
 * ```ts
 * const kafka = createClient({ brokers: ['localhost:9092'], clientId: 'shop' })
 * const producer = kafka.producer()
 * await producer.send({ topic: 'orders', key: 'ord-1', value: '{"total":42}' })
 * await kafka.close()
 * ```
 */
export function createClient(options: ClientOptions): KafkaClient {
  return new Client(options)
}

const CLOSE_MS = 30_000
/** For producers, after consumers that use up their time. */
const PRODUCERS_SHARE = 1 / 5
const MAX_PRODUCERS_MS = 5_000

interface Closable {
  close(options: CloseOptions): Promise<void>
}

class Client implements KafkaClient {
  readonly #cluster: Cluster
  readonly #clock: Clock
  readonly #random: () => number
  readonly #hooks: ClientHooks
  readonly #producers = new Set<Closable>()
  readonly #consumers = new Set<Closable>()
  readonly #closing: Closing

  constructor(options: ClientOptions) {
    this.#cluster = new Cluster(options, readHooks)
    const { clock = systemClock, random = Math.random, hooks = {} } = options
    this.#clock = clock
    this.#closing = new Closing(clock, 'close', CLOSE_MS)
    this.#random = random
    this.#hooks = hooks
  }

  producer(options: ProducerOptions = {}): Producer {
    this.#check()
    const { onBatch } = this.#hooks
    const context = { cluster: this.#cluster, clock: this.#clock, random: this.#random, onBatch }
    const producer: Producer = new Producer(options, { ...context, onClosed: () => this.#producers.delete(producer) })
    this.#producers.add(producer)
    return producer
  }

  consumer(options: ConsumerOptions): Consumer {
    const consumer: Consumer = new Consumer(
      this.#consumerContext(() => consumer),
      options,
    )
    this.#consumers.add(consumer)
    return consumer
  }

  shareConsumer(options: ShareConsumerOptions): ShareConsumer {
    const consumer: ShareConsumer = new ShareConsumer(
      this.#consumerContext(() => consumer),
      options,
    )
    this.#consumers.add(consumer)
    return consumer
  }

  admin(options: AdminOptions = {}): Admin {
    this.#check()
    return createAdmin(this.#cluster, options)
  }

  close(options: CloseOptions = {}): Promise<void> {
    return this.#closing.run(this.#closing.hasBegun ? undefined : options, () => this.#close())
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  /** Handlers of consumers may still send, so these are closed first. */
  async #close(): Promise<void> {
    const { deadline } = this.#closing
    try {
      const { leftMs } = deadline
      const reservedMs = this.#producers.size === 0 ? 0 : Math.min(MAX_PRODUCERS_MS, leftMs * PRODUCERS_SHARE)
      const closed = await closeAll(this.#consumers, leftMs - reservedMs)
      closed.push(...(await closeAll(this.#producers, deadline.leftMs)))
      for (const outcome of closed) if (outcome.status === 'rejected') throw outcome.reason
    } finally {
      deadline.end()
      this.#cluster.close()
    }
  }

  #consumerContext(made: () => Closable): ConsumerContext {
    this.#check()
    return {
      cluster: this.#cluster,
      clock: this.#clock,
      random: this.#random,
      hooks: this.#hooks,
      onClosed: () => void this.#consumers.delete(made()),
    }
  }

  #check(): void {
    if (this.#closing.hasBegun) throw closedError()
  }
}

/** One that fails keeps no other from being closed. */
function closeAll(all: ReadonlySet<Closable>, deadlineMs: number): Promise<PromiseSettledResult<void>[]> {
  return Promise.allSettled([...all].map((each) => each.close({ deadlineMs })))
}

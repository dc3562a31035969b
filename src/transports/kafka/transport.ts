import { ConfigurationError, UnsupportedError } from '../../core/errors.ts'
import type { OutgoingMessage, Position } from '../../core/message.ts'
import type {
  DeliverySink,
  PublishOutcome,
  ServerAddress,
  SubscriptionSpec,
  TransportHealth,
  TransportHost,
  TransportSubscription,
} from '../../core/transport.ts'
import { settledWithin } from '../../core/util/settled-within.ts'
import { createClient } from '../../kafka/index.ts'
import { Connectivity } from './connectivity.ts'
import { GroupReaders } from './consume/group-readers.ts'
import { checkStrictOrder } from './consume/strict-order.ts'
import { KafkaSubscription } from './consume/subscription.ts'
import type { KafkaContext } from './context.ts'
import { toBusbarError } from './errors.ts'
import type { ResolvedKafkaOptions } from './options.ts'
import { KafkaPublisher } from './publish/publisher.ts'
import { TransactionPool } from './publish/transaction-pool.ts'
import { Reports } from './reports.ts'
import { ShareGroups } from './share/share-groups.ts'
import { readShareOptions } from './share/share-options.ts'
import type { ResolvedShareOptions } from './share/share-options.ts'
import { Topics } from './topology/topics.ts'
import { Mapping } from './wire/mapping.ts'

/** Part of the time of a close that is kept for what is still to be published. */
const PUBLISH_SHARE = 1 / 5

/** The transport of one bus, from its opening on. */
export class KafkaTransport {
  readonly context: KafkaContext
  readonly #connectivity: Connectivity
  readonly #publisher: KafkaPublisher
  readonly #transactions: TransactionPool
  readonly #readers: GroupReaders
  readonly #shareGroups: ShareGroups
  readonly #subscriptions = new Set<KafkaSubscription>()
  readonly #isOwnClient: boolean

  constructor(options: ResolvedKafkaOptions, host: TransportHost) {
    const { service } = host
    this.#connectivity = new Connectivity(host)
    this.#isOwnClient = options.client === undefined
    const client =
      options.client ??
      createClient({
        brokers: [],
        ...options.connection,
        clientId: options.connectionName ?? service,
        hooks: this.#connectivity.hooks,
      })
    const reports = new Reports(host)
    const { group } = options
    this.context = {
      options,
      host,
      client,
      mapping: new Mapping(options.envelope),
      topics: new Topics(options, client, reports),
      reports,
      groupId: (name) => (group !== undefined && name === service ? group : name),
      groupOf: (groupId) => (groupId === group ? service : groupId),
    }
    this.#publisher = new KafkaPublisher(this.context)
    this.#transactions = new TransactionPool(this.context)
    this.#readers = new GroupReaders(this.context)
    this.#shareGroups = new ShareGroups(this.context, (batch) => this.#publisher.publish(batch, undefined))
  }

  async open(): Promise<void> {
    const { client } = this.context
    try {
      await client.admin().cluster.describe()
    } catch (error) {
      throw toBusbarError(error, 'Connecting to Kafka')
    }
    // Without connections of its own, nothing would show that the brokers are back.
    this.#connectivity.open(async () => client.admin().cluster.describe())
  }

  publish(batch: readonly OutgoingMessage[], signal: AbortSignal | undefined): Promise<readonly PublishOutcome[]> {
    return this.#publisher.publish(batch, signal)
  }

  transaction(
    batch: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
  ): Promise<readonly (Position | undefined)[]> {
    return this.#transactions.run(batch, signal)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription> {
    const share = readShareOptions(spec)
    if (share !== undefined) return this.#subscribeShared(spec, share, sink)
    const subscription = new KafkaSubscription({
      context: this.context,
      spec,
      sink,
      publish: (batch) => this.#publisher.publish(batch, undefined),
      onClosed: (closed) => void this.#subscriptions.delete(closed),
    })
    if (!subscription.isPattern) await this.#ensure(spec)
    this.#subscriptions.add(subscription)
    try {
      await this.#readers.join(subscription)
    } catch (error) {
      await subscription.close()
      if (UnsupportedError.is(error) || ConfigurationError.is(error)) throw error
      throw toBusbarError(error, `Subscribing to "${spec.topic}"`)
    }
    return subscription
  }

  async #subscribeShared(
    spec: SubscriptionSpec,
    options: ResolvedShareOptions,
    sink: DeliverySink,
  ): Promise<TransportSubscription> {
    try {
      return await this.#shareGroups.subscribe(spec, options, sink)
    } catch (error) {
      if (UnsupportedError.is(error) || ConfigurationError.is(error)) throw error
      throw toBusbarError(error, `Subscribing to "${spec.topic}"`)
    }
  }

  health(): TransportHealth {
    return this.#connectivity.health()
  }

  get server(): ServerAddress | undefined {
    return this.#connectivity.server
  }

  async close(deadlineMs: number): Promise<void> {
    const { clock } = this.context.host
    const forConsumers = deadlineMs * (1 - PUBLISH_SHARE)
    const end = clock.monotonic() + deadlineMs
    const consumers = [...this.#subscriptions].map((each) => each.close())
    await settledWithin(clock, forConsumers, Promise.all([...consumers, this.#shareGroups.close()]))
    this.#readers.abort()
    const leftMs = Math.max(0, end - clock.monotonic())
    const publishers = [this.#publisher.close(leftMs), this.#transactions.close(leftMs)]
    await Promise.all(publishers).catch((error: unknown) => {
      this.context.reports.error(error, 'closing producers')
    })
    this.#connectivity.closing()
    if (this.#isOwnClient) await this.context.client.close({ deadlineMs: Math.max(0, end - clock.monotonic()) })
    this.#connectivity.closed()
  }

  async #ensure({ topic, order }: SubscriptionSpec): Promise<void> {
    try {
      await this.context.topics.ensure(topic)
      if (order === 'strict') await checkStrictOrder(this.context, [topic])
    } catch (error) {
      if (UnsupportedError.is(error)) throw error
      throw toBusbarError(error, `Subscribing to "${topic}"`)
    }
  }
}

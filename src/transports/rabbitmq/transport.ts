// Longer than most files: everything that one connection reports, and the parts that it connects, meet here.
import { OpenedOnce } from '../../core/util/opened-once.ts'
import { settledWithin } from '../../core/util/settled-within.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import type {
  Capabilities,
  DeliverySink,
  PublishOutcome,
  ServerAddress,
  SubscriptionSpec,
  Transport,
  TransportAdmin,
  TransportHealth,
  TransportHost,
  TransportSubscription,
} from '../../core/transport.ts'
import { Router } from './publish/router.ts'
import { capabilities } from './capabilities.ts'
import { RabbitMqAdmin } from './admin/admin.ts'
import { channelMaxOf } from './connection/amqp.ts'
import { BrokerLocks } from './admin/broker-lock.ts'
import { BindingRenewal } from './topology/binding-renewal.ts'
import type { Renewable } from './topology/binding-renewal.ts'
import { createConnector } from './connection/connector.ts'
import { Topology } from './topology/topology.ts'
import { DeclareChannel } from './topology/declare-channel.ts'
import { DeadLetterSorter } from './admin/dead-letter-sorter.ts'
import { DelayedCount } from './delays/delayed-count.ts'
import { isLoss, REPLY, replyCode, toBrokerError } from './errors.ts'
import { GroupQueues } from './topology/group-queues.ts'
import { GroupRegistry } from './topology/group-registry.ts'
import { KnownGroups } from './topology/known-groups.ts'
import { Connection } from './connection/connection.ts'
import { Turns } from '../../core/util/turns.ts'
import { Outages } from './connection/outages.ts'
import type { LiveConnection } from './connection/live-connection.ts'
import { GROUP_KEY, Names } from './topology/names.ts'
import type { Purpose, ResolvedRabbitMqOptions } from './options.ts'
import { ControlPublisher } from './publish/control-publisher.ts'
import { MemberChannel } from './partitions/member-channel.ts'
import { RabbitMqPublisher } from './publish/publisher.ts'
import { isConsumerTimeout, Reports } from './reports.ts'
import type { QueueConsumer, ConsumerEnd } from './consume/queue-consumer.ts'
import { createSubscription } from './consume/create-subscription.ts'
import type { SubscribingParts } from './consume/create-subscription.ts'
import type { SharedGroup } from './consume/shared-group.ts'
import { SharedGroups } from './consume/shared-groups.ts'
import type { RabbitMqSubscription } from './consume/subscription.ts'
import type { LiveSubscription, SubscriptionContext } from './consume/subscription-context.ts'

const CLOSE_MS = 5_000
/** Everything that exists only while the transport is open. */
interface Open {
  readonly host: TransportHost
  readonly outages: Outages
  readonly reports: Reports
  readonly publishing: Connection
  /** The first one, and more when its channels are used up. */
  readonly consuming: Consuming[]
  readonly addConsuming: () => Consuming
  readonly sharedGroups: SharedGroups
  readonly publisher: RabbitMqPublisher
  readonly declarations: Topology
  readonly locks: BrokerLocks
  readonly control: ControlPublisher
  readonly admin: RabbitMqAdmin
}

/** A connection for consuming, with what belongs to it. */
interface Consuming {
  readonly connection: Connection
  readonly members: MemberChannel
  readonly questions: Turns
  readonly subscriptions: Set<LiveSubscription>
  /** Channels of its subscriptions, those included that are still being made. */
  channels: number
}

/** Channels of a connection that are left for declarations, which come and go. */
const SPARE_CHANNELS = 64
/** A declaration has a channel of its own, and a broker creates queues one after another anyway. */
const MAX_SUBSCRIBING = 32
/** A question takes two channels at most: with the declarations, fewer than are spare. */
const MAX_ASKING = 12

/** RabbitMQ behind the contract: two connections that reconnect by themselves, and everything on them. */
export class RabbitMqTransport implements Transport {
  readonly system = 'rabbitmq'
  readonly capabilities: Capabilities
  readonly admin: TransportAdmin = adminOf(() => this.#once.get().admin)
  readonly #options: ResolvedRabbitMqOptions
  readonly #names: Names
  readonly #closing = new AbortController()
  readonly #subscriptions = new Set<LiveSubscription>()
  readonly #once = new OpenedOnce<Open>('RabbitMQ')
  #closed: Promise<void> | undefined
  readonly #subscribing = new Turns(MAX_SUBSCRIBING)

  constructor(options: ResolvedRabbitMqOptions) {
    this.#options = options
    this.#names = new Names(options.exchange)
    this.capabilities = capabilities(options.maxMessageBytes)
  }

  async open(host: TransportHost): Promise<void> {
    const { outages } = await this.#once.open(
      () => this.#assemble(host),
      (open) => this.#connect(open),
    )
    outages.opened()
  }

  async #connect(open: Open): Promise<void> {
    try {
      await open.publishing.open()
      if (this.#options.groups.length > 0) {
        const live = await open.publishing.whenUp(this.#closing.signal)
        await open.declarations.standingGroups(live, this.#options.groups).catch((error: unknown) => {
          throw toBrokerError(error, 'Declaring the groups of the options')
        })
      }
    } catch (error) {
      // Otherwise the close cleans up.
      if (this.#closed === undefined) {
        open.publisher.close()
        await closeConnections(open, CLOSE_MS)
      }
      throw error
    }
  }

  async publish(
    batch: readonly OutgoingMessage[],
    { signal }: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly (PublishOutcome | Promise<PublishOutcome>)[]> {
    const { publisher, admin } = this.#once.get()
    for (const { topic } of batch) admin.knows(topic)
    return publisher.publish(batch, signal)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription> {
    const open = this.#once.get()
    if (await open.sharedGroups.has(spec)) return open.sharedGroups.subscribe(spec, sink)
    return this.#subscribing.run(() => this.#subscribe(open, spec, { sink }))
  }

  async #subscribe(
    open: Open,
    spec: SubscriptionSpec,
    { sink, shared }: { readonly sink: DeliverySink; readonly shared?: SharedGroup },
  ): Promise<RabbitMqSubscription> {
    const channels = this.#channelsOf(spec)
    const { model } = await this.#liveOf((open.consuming[0] as Consuming).connection)
    const consuming = this.#consumingFor(open, channels, channelMaxOf(model) - SPARE_CHANNELS)
    consuming.channels += channels
    try {
      const subscribing: SubscribingParts = {
        options: this.#options,
        names: this.#names,
        context: this.#contextFor(open, consuming, channels),
        declarations: open.declarations,
        locks: open.locks,
        control: open.control,
        members: consuming.members,
        host: open.host,
        whenUp: () => this.#liveOf(consuming.connection),
      }
      const subscription = await createSubscription(spec, sink, subscribing, shared)
      this.#subscriptions.add(subscription)
      consuming.subscriptions.add(subscription)
      const { live } = consuming.connection
      if (live !== undefined) subscription.attach(live)
      return subscription
    } catch (error) {
      consuming.channels -= channels
      throw error
    }
  }

  #channelsOf({ order, native }: SubscriptionSpec): number {
    const { partitions } = (native ?? {}) as { readonly partitions?: unknown }
    return order !== 'key' ? 1 : typeof partitions === 'number' ? partitions : this.#options.partitions
  }

  #consumingFor(open: Open, channels: number, max: number): Consuming {
    const free = open.consuming.find(({ channels: taken }) => taken === 0 || taken + channels <= max)
    // A connection of the user is the only one.
    return free ?? (this.#options.client === undefined ? open.addConsuming() : (open.consuming[0] as Consuming))
  }

  health(): TransportHealth {
    if (this.#closed !== undefined) return { connected: false, detail: 'closed' }
    if (!this.#once.isOpen) return { connected: false, detail: 'not open' }
    const open = this.#once.get()
    const detail = open.outages.reason
    if (detail !== undefined) return { connected: false, detail }
    const { blockedBy } = open.publisher
    if (blockedBy !== undefined) return { connected: true, detail: `the broker takes no messages: ${blockedBy}` }
    return { connected: true }
  }

  /** Both connections may go to different nodes of a cluster: that for publishing counts. */
  serverAddress(): ServerAddress | undefined {
    const open = this.#once.given
    return (open?.publishing.live ?? open?.consuming[0]?.connection.live)?.server
  }

  close({ deadlineMs = CLOSE_MS }: { readonly deadlineMs?: number | undefined } = {}): Promise<void> {
    this.#closed ??= this.#close(deadlineMs)
    return this.#closed
  }

  async #close(deadlineMs: number): Promise<void> {
    const open = this.#once.close()
    if (open === undefined) return
    const { clock } = open.host
    const endsAt = clock.monotonic() + deadlineMs
    open.outages.closing()
    void open.sharedGroups.close()
    const orderly = Promise.all([...this.#subscriptions].map((subscription) => subscription.close()))
      .then(() => open.admin.close())
      .catch(() => undefined)
    // Half of the time is for an orderly end; the connections need some too.
    await settledWithin(clock, deadlineMs / 2, orderly)
    this.#closing.abort()
    open.publisher.close()
    const left = Math.max(100, endsAt - clock.monotonic())
    await closeConnections(open, left)
    open.outages.close()
  }

  // --- how it hangs together -------------------------------------------------------------------------------------------

  #assemble(host: TransportHost): Open {
    const { clock, events, name: transportName } = host
    const reports = new Reports(host)
    const outages = new Outages(host, (error) => reports.failed(error, 'reconnecting'))
    const options = this.#options
    const names = this.#names
    const connector = createConnector(options, host.service, clock)
    const groups = new KnownGroups()
    const queues = new GroupQueues(names, groups)
    const router = new Router(options, names, clock, queues)
    const locks = new BrokerLocks(clock)
    const registry = new GroupRegistry(clock, locks, names)
    const delayed = new DelayedCount(clock)
    const declarations: Topology = new Topology({
      options,
      names,
      clock,
      connector,
      router,
      groups,
      queues,
      registry,
      register: async (topic, group, layout) =>
        control.publishTo(GROUP_KEY, registry.encode(topic, group, layout), { exchange: names.system }),
      closing: this.#closing.signal,
      onGone: () => {
        for (const { assignment } of this.#subscriptions) assignment.redeclare()
        for (const { members } of consuming)
          members.renew().catch((error: unknown) => failed(error, 'listening to the other members of a group'))
      },
      onSharedLost: (lost) => reports.sharedLost(lost),
      onStorageLost: (topic, queue) => reports.deadLettersLost(topic, queue),
      onRestored: (topic, group, missing) => reports.queuesLost(topic, group, missing),
      onDrift: (drift) => reports.drift(drift),
    })
    const publisher = new RabbitMqPublisher({
      options,
      router,
      clock,
      events,
      transportName,
      prerequisites: declarations,
      onDelayed: (message) => delayed.add(message),
    })
    const makeConnection = (
      purpose: Purpose,
      hooks: {
        restore?(live: LiveConnection): Promise<void>
        up(live: LiveConnection): void
        down(live: LiveConnection, error: Error): void
      },
    ): Connection => {
      const connection: Connection = new Connection({
        purpose,
        connector,
        clock,
        backoff: options.reconnect,
        hooks: {
          restore: async (live) => {
            await declarations.restore(live, purpose)
            await hooks.restore?.(live)
          },
          up: (live) => {
            outages.up(connection)
            hooks.up(live)
          },
          down: (live, error) => {
            outages.down(connection, error)
            hooks.down(live, error)
          },
          trouble: (error) => outages.trouble(error),
          blocked: (reason) => {
            publisher.block(reason)
            reports.blocked(reason)
          },
          bug: (error) => reports.failed(error, 'handling what the broker sent'),
        },
      })
      return connection
    }
    const publishing = makeConnection('publish', {
      restore: (live) => publisher.attach(live),
      up: (live) => {
        publisher.resume()
        // The first time, `open` does it and reports a failure.
        if (this.#once.isOpen)
          declarations
            .standingGroups(live, options.groups)
            .catch((error: unknown) => live.isOpen && reports.failed(error, 'declaring the groups of the options'))
      },
      down: (live, error) => publisher.detach(live, error),
    })
    const consuming: Consuming[] = []
    const addConsuming = (): Consuming => {
      const subscriptions = new Set<LiveSubscription>()
      const number = consuming.length
      const connection = makeConnection('consume', {
        up: (live) => {
          for (const subscription of subscriptions) subscription.attach(live)
          renewal.start()
          if (number === 0 && options.declare) void sorter.start(live)
        },
        down: () => undefined,
      })
      const members = new MemberChannel(names, number === 0 ? host.instanceId : `${host.instanceId}.${number}`, control)
      const added = { connection, members, questions: new Turns(MAX_ASKING), subscriptions, channels: 0 }
      consuming.push(added)
      return added
    }
    const control = new ControlPublisher({
      connection: publishing,
      clock,
      exchange: names.queues,
      blockedBy: () => publisher.blockedBy,
      closing: this.#closing.signal,
    })
    const failed = (error: unknown, doing: string): void => {
      if (!isLoss(error)) reports.failed(error, doing)
    }
    const sorter = new DeadLetterSorter({
      names,
      clock,
      publisher,
      closing: this.#closing.signal,
      failed,
      declare: async (live) => void (await declarations.renewShared(live)),
    })
    const shared: Renewable = {
      renewBindings: async () => {
        const { live } = first.connection
        return live === undefined ? 0 : declarations.renewShared(live)
      },
    }
    const renewal = new BindingRenewal(
      clock,
      () => [shared, ...this.#subscriptions],
      (error) => failed(error, 'declaring again what is bound'),
    )
    this.#closing.signal.addEventListener('abort', () => renewal.stop(), { once: true })
    const first = addConsuming()
    const admin = new RabbitMqAdmin({
      clock,
      names,
      locks,
      registry,
      members: first.members,
      blockedBy: () => publisher.blockedBy,
      groups,
      declarations,
      delayed,
      subscriptions: this.#subscriptions,
      live: () => this.#liveOf(first.connection),
    })
    const open: Open = {
      host,
      outages,
      reports,
      publishing,
      consuming,
      addConsuming,
      sharedGroups: new SharedGroups({
        clock,
        options,
        declarations,
        reports,
        subscribe: (spec, shared) => this.#subscribing.run(() => this.#subscribe(open, spec, { sink: shared, shared })),
        whenUp: () => this.#liveOf(first.connection),
      }),
      publisher,
      declarations,
      locks,
      control,
      admin,
    }
    return open
  }

  #contextFor({ host, publisher, reports }: Open, consuming: Consuming, channels: number): SubscriptionContext {
    return {
      clock: host.clock,
      publisher,
      salt: host.instanceId,
      questions: consuming.questions,
      live: () => consuming.connection.live,
      failed: (error, doing) => {
        if (!isLoss(error)) reports.failed(error, doing)
      },
      readerLost: (subscription, reader, end) =>
        this.#readerLost(reports, consuming.connection, subscription, reader, end),
      slow: ({ spec }, { queue }, ageMs) => reports.slow(spec, queue, ageMs, this.#options.consumerTimeoutMs),
      tooLarge: ({ spec }, bytes, limit, isOnDisk) => reports.tooLarge(spec, bytes, limit, isOnDisk),
      misplaced: ({ spec }, topic, key) => reports.misplaced(spec, topic, key),
      dropped: ({ spec }, count) => reports.unhandled(spec, count),
      ended: (subscription) => {
        if (consuming.subscriptions.delete(subscription)) consuming.channels -= channels
        return this.#ended(subscription, consuming.connection.live)
      },
    }
  }

  async #liveOf(connection: Connection): Promise<LiveConnection> {
    await connection.open()
    return connection.whenUp(this.#closing.signal)
  }

  // --- what happens ----------------------------------------------------------------------------------------------------

  #readerLost(
    reports: Reports,
    connection: Connection,
    subscription: LiveSubscription,
    reader: QueueConsumer,
    { error, cause, wasIdle }: ConsumerEnd,
  ): void {
    if (connection.live === undefined || this.#closed !== undefined) return
    if (subscription.assignment.standsBy(reader)) {
      subscription.assignment.standbyLost(reader)
      return
    }
    // The next one must hold less, so that this does not repeat.
    if (isConsumerTimeout(error) && subscription.nature.isShared) reader.lowerPrefetch()
    reports.consumerLost(reader.queue, error, cause === 'cancelled')
    const isGone = cause === 'cancelled' || replyCode(error) === REPLY.notFound
    // Without unacked messages, a consumer ends only because its queue does.
    if (wasIdle === true) subscription.lostQueues.add(reader.queue)
    subscription.assignment.redeclare(isGone ? reader.queue : undefined)
  }

  async #ended(subscription: LiveSubscription, live: LiveConnection | undefined): Promise<void> {
    this.#subscriptions.delete(subscription)
    if (!subscription.nature.isTemporary || live === undefined) return
    const declaring = new DeclareChannel(live)
    try {
      for (const { reader } of subscription.assignment.assignedQueues)
        await declaring.run((channel) => channel.deleteQueue(reader.queue))
    } finally {
      await declaring.close()
    }
  }
}

function connectionsOf({ publishing, consuming }: Open): readonly Connection[] {
  return [publishing, ...consuming.map(({ connection }) => connection)]
}

async function closeConnections(open: Open, deadlineMs: number): Promise<void> {
  await Promise.all(connectionsOf(open).map((connection) => connection.close(deadlineMs)))
}

/** Exists from the start; works while the transport is open. */
function adminOf(admin: () => RabbitMqAdmin): TransportAdmin {
  return {
    ensureTopic: async (topic) => admin().ensureTopic(topic),
    topics: async () => admin().topics(),
    groups: async (topic) => admin().groups(topic),
    seek: async (topic, group, to) => admin().seek(topic, group, to),
    read: async (topic, options) => admin().read(topic, options),
    remove: async (topic, positions) => admin().remove(topic, positions),
    purge: async (topic) => admin().purge(topic),
    deleteGroup: async (topic, group) => admin().deleteGroup(topic, group),
  }
}

import type { Timer } from '../../core/clock.ts'
import type {
  DeliverySink,
  ServerAddress,
  SubscriptionSpec,
  TransportAdmin,
  TransportHealth,
  TransportHost,
} from '../../core/transport.ts'
import { ConnectionState } from '../../core/util/connection-state.ts'
import { Queue } from '../../core/util/queue.ts'
import { settledWithin } from '../../core/util/settled-within.ts'
import { redisAdmin } from './admin/admin.ts'
import { givenClientAdapter } from './connection/given-client-adapter.ts'
import type { RedisContext } from './context.ts'
import type { RedisParts } from './parts.ts'
import { describeServer } from './connection/dial.ts'
import { sweepEphemeral } from './topology/ephemeral.ts'
import { toSubscribeError } from './errors.ts'
import { Keys } from './topology/keys.ts'
import { singleServer } from './connection/single-server.ts'
import { GroupLooks } from './partitions/group-looks.ts'
import { Maintenance } from './partitions/maintenance.ts'
import { createMapping } from './wire/mapping.ts'
import type { ResolvedRedisOptions } from './options.ts'
import { ProcessLease } from './partitions/process-lease.ts'
import { RedisPublisher } from './publish/publisher.ts'
import { Reports } from './reports.ts'
import { Retention } from './topology/retention.ts'
import { ScriptRunner } from './connection/script-runner.ts'
import { checkLayout, checkServer, checkVersion } from './connection/server-check.ts'
import { ReaderPool } from './consume/reader-pool.ts'
import { RedisSubscription } from './consume/subscription.ts'
import { Topics } from './topology/topics.ts'
import type { Commands, ConnectionListener } from './connection/commands.ts'

const HOUSEKEEPING_MS = 30_000
/** Maximum number of consumers that are started at once: more would only take more memory. */
const STARTED_AT_ONCE = 256

/** One open transport: the connection, and everything that uses it. */
export class RedisTransport implements ConnectionListener {
  readonly publisher: RedisPublisher
  readonly #context: RedisContext
  readonly #commands: Commands
  readonly #host: TransportHost
  readonly #options: ResolvedRedisOptions
  readonly #scripts = new ScriptRunner()
  readonly #readers = new ReaderPool()
  readonly #subscriptions = new Set<RedisSubscription>()
  readonly #state: ConnectionState
  #starting = 0
  /** Consumers that wait for their start. */
  readonly #waiting = new Queue<() => void>()
  #trouble: string | undefined
  #opened = false
  #discovery: Timer | undefined
  #housekeeping: Timer | undefined
  #topicCount = -1
  #closed = false

  constructor(options: ResolvedRedisOptions, host: TransportHost) {
    this.#options = options
    this.#host = host
    this.#state = new ConnectionState(host)
    const single = options.client === undefined && options.clusterNodes === undefined
    this.#commands = (single ? singleServer : givenClientAdapter)(options, host.clock, this)
    this.#scripts.use(this.#commands)
    const keys = new Keys(options.prefix, this.#commands.cluster)
    const reports = new Reports(host)
    const topics = new Topics(this.#commands, keys, options, reports)
    const lease = new ProcessLease({
      options,
      clock: host.clock,
      commands: this.#commands,
      scripts: this.#scripts,
      keys,
      reports,
      onLost: (reason) => {
        for (const subscription of this.#subscriptions) subscription.loseAll(reason)
        this.#context.maintenance.soon(0)
      },
      onOthers: () => this.#context.maintenance.changed(),
      onRenewed: () => {
        for (const subscription of this.#subscriptions) subscription.wake()
      },
    })
    const parts: RedisParts = {
      options,
      host,
      commands: this.#commands,
      scripts: this.#scripts,
      keys,
      mapping: createMapping(options.envelope),
      topics,
      retention: new Retention(options.retention, host, this.#scripts, reports),
      reports,
      lease,
    }
    this.#context = {
      ...parts,
      maintenance: new Maintenance(parts),
      groupLooks: new GroupLooks(this.#scripts, this.#commands),
    }
    this.publisher = new RedisPublisher(this.#context)
  }

  static admin(session: () => RedisTransport): TransportAdmin {
    return redisAdmin(
      () => session().#context,
      (topic, group) => session().#check(topic, group),
    )
  }

  async open(): Promise<void> {
    try {
      await this.#commands.open()
    } catch (error) {
      this.#context.retention.close()
      throw error
    }
    if (this.#closed) return
    this.#keepHouse()
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<RedisSubscription> {
    const subscription = new RedisSubscription(this.#context, this.#readers, spec, sink)
    this.#subscriptions.add(subscription)
    if (this.#starting === STARTED_AT_ONCE) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#starting++
    try {
      await subscription.open()
    } catch (error) {
      this.#subscriptions.delete(subscription)
      throw toSubscribeError(error, describeServer(this.#options))
    } finally {
      const next = this.#waiting.shift()
      if (next === undefined) this.#starting--
      else next()
    }
    if (subscription.isPattern && this.#discovery === undefined) this.#discover()
    return subscription
  }

  get server(): ServerAddress | undefined {
    return this.#commands.server
  }

  health(): TransportHealth {
    const connected = this.#commands.connected
    return { connected, detail: connected ? this.#context.reports.refusal : this.#trouble }
  }

  async close(deadlineMs: number): Promise<void> {
    this.#closed = true
    this.#discovery?.cancel()
    this.#housekeeping?.cancel()
    this.#context.retention.close()
    void this.#context.maintenance.stop()
    this.publisher.close()
    const closing = Promise.all([...this.#subscriptions].map((subscription) => subscription.close()))
    const orderly = closing.then(() => this.#context.lease.close())
    await settledWithin(this.#host.clock, deadlineMs, orderly)
    this.#commands.close()
    // Without the connection nothing can block it any more.
    await closing
    this.#state.close()
  }

  // --- what the connection reports ---------------------------------------------------------------------------------

  up(first: boolean, attempts: number): void {
    this.#trouble = undefined
    this.#opened = true
    this.#state.up(attempts)
    if (first) return
    // It may have lost what it knew of our groups.
    this.#context.maintenance.reconnected()
    // A server that came back without its data knows no topics, and patterns would find none.
    void this.#quietly(this.#context.topics.restore(), 'restoring the list of topics')
  }

  down(reason: string): void {
    this.#trouble = reason
    if (!this.#closed) this.#state.down(reason)
  }

  trouble(error: Error): void {
    // The same error at each attempt is reported once.
    if (this.#trouble === error.message || this.#closed) return
    this.#trouble = error.message
    this.#host.events.emit('error', { transport: this.#host.name, error, doing: 'connecting to Redis again' })
  }

  async prepare(run: Parameters<ConnectionListener['prepare']>[0]): Promise<void> {
    const version = await checkVersion(run)
    await this.#scripts.load(version, run)
    if (this.#opened) return
    await checkLayout(run, this.#context)
    if (this.#options.checkServer) await checkServer(this.#host, run)
    // Without the permission, every publish would have an unknown outcome. It returns at once.
    if (this.#options.wait !== undefined) await run(['WAIT', '0', '0'])
  }

  // --- housekeeping ------------------------------------------------------------------------------------------------

  async #check(topic: string, group: string): Promise<void> {
    this.#context.maintenance.announce(topic, group)
    await Promise.all(
      [...this.#subscriptions]
        .filter(({ spec, closed }) => spec.group === group && !closed)
        .map((subscription) => subscription.check(topic)),
    )
  }

  /** Finds topics that other processes created, for patterns. */
  #discover(): void {
    this.#discovery = this.#host.clock.setTimer(this.#options.pollIntervalMs * (0.8 + Math.random() * 0.4), () => {
      void this.#quietly(this.#lookForTopics(), 'looking for new topics').then(() => {
        if (!this.#closed) this.#discover()
      })
    })
  }

  async #lookForTopics(): Promise<void> {
    const count = await this.#context.topics.count()
    if (count === this.#topicCount) return
    this.#topicCount = count
    await this.#context.topics.list()
  }

  #keepHouse(): void {
    this.#housekeeping = this.#host.clock.setTimer(HOUSEKEEPING_MS * (0.75 + Math.random() / 2), () => {
      for (const subscription of this.#subscriptions)
        if (subscription.closed) this.#subscriptions.delete(subscription)
        else void this.#quietly(subscription.keep(), 'keeping a consumer')
      void this.#quietly(sweepEphemeral(this.#context), 'forgetting groups of dead instances').then(() => {
        if (!this.#closed) this.#keepHouse()
      })
    })
  }

  /** Reports no error while there is no connection, which is reported itself. */
  async #quietly(work: Promise<unknown>, doing: string): Promise<void> {
    try {
      await work
    } catch (error) {
      if (!this.#closed) this.#context.reports.error(error, doing)
    }
  }
}

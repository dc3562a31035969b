import { randomUUID } from 'node:crypto'
import type { Timer } from '../../core/clock.ts'
import { BusbarError, ConnectionError, StateError } from '../../core/errors.ts'
import { ConnectionState } from '../../core/util/connection-state.ts'
import { OpenedOnce } from '../../core/util/opened-once.ts'
import type { OutgoingMessage, Position } from '../../core/message.ts'
import { growingDelay } from '../../core/util/backoff.ts'
import type {
  Capabilities,
  DeliverySink,
  PublishOutcome,
  SubscriptionSpec,
  Transport,
  TransportAdmin,
  TransportHealth,
  TransportHost,
  TransportSubscription,
} from '../../core/transport.ts'
import { checkStart, SqliteAdmin } from './admin.ts'
import { explain, toCause, toConnectionError } from './errors.ts'
import type { Explanation } from './errors.ts'
import { toPosition } from './mapping.ts'
import type { ResolvedSqliteOptions, ResolvedSqliteRetention } from './options.ts'
import type { Reply } from './protocol.ts'
import { SqlitePublisher } from './publisher.ts'
import { SqliteSubscription } from './subscription.ts'
import { DatabaseThread, ThreadRefusedError } from './thread.ts'
import type { ThreadListener } from './thread.ts'

const RESTART_PAUSE = { minMs: 100, maxMs: 5_000 } as const
const CLOSE_DEADLINE_MS = 5_000

/** A durable log in one file, with a separate database thread. */
export class SqliteTransport implements Transport, ThreadListener {
  readonly system = 'sqlite'
  readonly capabilities: Capabilities
  readonly admin: TransportAdmin
  readonly path: string
  readonly retention: ResolvedSqliteRetention | undefined
  readonly maxMessageBytes: number
  readonly #options: ResolvedSqliteOptions
  readonly #instance = randomUUID()
  readonly #publisher: SqlitePublisher
  readonly #subscriptions = new Map<number, SqliteSubscription>()
  readonly #once = new OpenedOnce<TransportHost>('SQLite', 'make another one with the same path')
  #state: ConnectionState | undefined
  /** Undefined before `open`, after `close`, and while a crashed thread is replaced. */
  thread: DatabaseThread | undefined
  #starting: DatabaseThread | undefined
  #lastSub = 0
  #trouble: Explanation | undefined
  #upSince = 0
  #restarts = 0
  #restartTimer: Timer | undefined
  #closing: Promise<void> | undefined

  constructor(options: ResolvedSqliteOptions) {
    this.#options = options
    this.path = options.path
    this.maxMessageBytes = options.maxMessageBytes
    this.capabilities = capabilities(options.maxMessageBytes)
    this.retention = options.retention
    this.admin = new SqliteAdmin(this)
    this.#publisher = new SqlitePublisher(this)
  }

  async open(host: TransportHost): Promise<void> {
    await this.#once.open(
      () => host,
      () => this.#start(),
    )
    this.#state = new ConnectionState(host)
    this.#state.up()
  }

  /** Starts a thread and waits until it has opened the file. */
  async #start(): Promise<void> {
    const thread = new DatabaseThread({ options: this.#options, instance: this.#instance }, this)
    this.#starting = thread
    try {
      await thread.opened
    } catch (error) {
      await thread.terminate()
      if (this.#closing !== undefined) throw new StateError('The SQLite transport was closed while it was starting')
      if (error instanceof ThreadRefusedError) throw toConnectionError(error.thread, this.path)
      throw new ConnectionError(`The SQLite transport can't start its database thread`, { cause: error })
    } finally {
      this.#starting = undefined
    }
    if (this.#closing !== undefined) {
      await thread.terminate()
      throw new StateError('The SQLite transport was closed while it was starting')
    }
    this.thread = thread
    this.#upSince = this.#once.given?.clock.monotonic() ?? 0
  }

  async publish(
    batch: readonly OutgoingMessage[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly PublishOutcome[]> {
    this.#once.get()
    return this.#publisher.publish(batch, options.signal)
  }

  async transaction(
    batch: readonly OutgoingMessage[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly (Position | undefined)[]> {
    this.#once.get()
    return this.#publisher.transaction(batch, options.signal)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription> {
    const thread = this.requireThread()
    const { topic, group, order, ephemeral, maxPerKey, consumerId } = spec
    const subscription = new SqliteSubscription(
      ++this.#lastSub,
      { topic, group, order, ephemeral, maxPerKey, consumerId, from: checkStart(spec.from) },
      sink,
      this,
    )
    this.#subscriptions.set(subscription.sub, subscription)
    try {
      await thread.ask({ kind: 'subscribe', sub: subscription.sub, spec: subscription.spec })
    } catch (error) {
      this.#subscriptions.delete(subscription.sub)
      if (!(error instanceof ThreadRefusedError))
        throw new ConnectionError(`Subscribing to "${topic}" failed`, { cause: error })
      const { text, retryable } = explain(error.thread, this.path)
      throw new ConnectionError(`Subscribing to "${topic}" failed: ${text}`, {
        retryable,
        cause: toCause(error.thread),
      })
    }
    subscription.seatedOn(thread)
    return subscription
  }

  health(): TransportHealth {
    if (!this.#once.isOpen) return { connected: false, detail: 'not open' }
    if (this.thread === undefined)
      return { connected: false, detail: 'the database thread ended and is being started again' }
    if (this.#trouble === undefined) return { connected: true }
    // Only problems that pass by themselves count as a lost connection.
    return { connected: this.#trouble.retryable, detail: this.#trouble.text }
  }

  close(options: { readonly deadlineMs?: number | undefined } = {}): Promise<void> {
    this.#closing ??= this.#close(options.deadlineMs ?? CLOSE_DEADLINE_MS)
    this.#once.close()
    return this.#closing
  }

  async #close(deadlineMs: number): Promise<void> {
    this.#restartTimer?.cancel()
    const { thread } = this
    const starting = this.#starting
    // The thread gives back what its subscriptions hold; they must not receive anything any more.
    const ends = [...this.#subscriptions.values()].map((subscription) => subscription.close())
    await Promise.all([thread?.close(deadlineMs), starting?.terminate()])
    await Promise.all(ends)
    this.thread = undefined
    this.#state?.close()
  }

  // --- for publisher, subscriptions and admin ----------------------------------------------------------------------

  requireThread(): DatabaseThread {
    this.#once.get()
    if (this.thread !== undefined) return this.thread
    throw new ConnectionError(
      'The database thread of the SQLite transport ended unexpectedly and is being started again',
    )
  }

  ended(subscription: SqliteSubscription): void {
    this.#subscriptions.delete(subscription.sub)
  }

  // --- what the thread says ----------------------------------------------------------------------------------------

  told(reply: Exclude<Reply, { call: number }>): void {
    const host = this.#once.given
    if (host === undefined) return
    const transport = host.name
    switch (reply.kind) {
      case 'deliver':
        this.#subscriptions.get(reply.sub)?.deliver(reply.firstToken, reply.batch)
        return
      case 'lost':
        this.#subscriptions.get(reply.sub)?.takeBack(reply.tokens, reply.reason)
        return
      case 'loss': {
        const { topic, group, count, seq, reason } = reply
        host.events.emit('loss', {
          transport,
          topic,
          group,
          count,
          position: seq === undefined ? undefined : toPosition(seq),
          reason,
        })
        return
      }
      case 'warning':
        host.events.emit('warning', { transport, code: reply.code, detail: reply.detail })
        return
      case 'trouble':
        host.events.emit('error', { transport, error: this.#told(reply.error), doing: reply.doing })
        return
      case 'health':
        this.#trouble = reply.error === undefined ? undefined : explain(reply.error, this.path)
        if (this.#trouble !== undefined)
          host.events.emit('warning', { transport, code: 'sqlite-trouble', detail: this.#trouble.text })
    }
  }

  #told(error: Parameters<typeof explain>[0]): Error {
    const { text, retryable } = explain(error, this.path)
    return new ConnectionError(`The SQLite transport is in trouble: ${text}`, { retryable, cause: toCause(error) })
  }

  died(error: Error): void {
    const host = this.#once.given
    // If it never got as far as opening, `open` reports that.
    if (host === undefined || this.thread === undefined) return
    this.thread = undefined
    // A thread that keeps ending is restarted less and less often.
    if (host.clock.monotonic() - this.#upSince > RESTART_PAUSE.maxMs) this.#restarts = 0
    host.events.emit('error', { transport: host.name, error, doing: 'running the database thread' })
    this.#state?.down(error.message)
    this.#takeBackAll('the database thread ended')
    this.#restartLater(host)
  }

  #takeBackAll(reason: string): void {
    for (const subscription of this.#subscriptions.values()) subscription.takeBackAll(reason)
  }

  #restartLater(host: TransportHost): void {
    this.#restartTimer = host.clock.setTimer(growingDelay(RESTART_PAUSE, this.#restarts++), () => {
      this.#restart(host).catch((error: unknown) => {
        if (this.#closing !== undefined) return
        if (!BusbarError.is(error))
          host.events.emit('error', { transport: host.name, error, doing: 'starting the database thread again' })
        this.#restartLater(host)
      })
    })
  }

  async #restart(host: TransportHost): Promise<void> {
    // Later subscriptions use the new thread by themselves.
    const before = [...this.#subscriptions.values()]
    await this.#start()
    const { thread } = this
    if (thread === undefined) return
    try {
      for (const subscription of before) {
        if (subscription.ended) continue
        // Its group already has its position; a broadcast group that was lost with the thread continues with what is
        // published now.
        await thread.ask({ kind: 'subscribe', sub: subscription.sub, spec: { ...subscription.spec, from: 'latest' } })
        subscription.seatedOn(thread)
        const { topic, group, ephemeral } = subscription.spec
        if (!ephemeral) continue
        const reason = 'the database thread ended, and nothing is kept for a broadcast consumer meanwhile'
        host.events.emit('loss', { transport: host.name, topic, group, count: undefined, position: undefined, reason })
      }
    } catch (error) {
      // Either it died as well, and was notified, or it is useless.
      if (this.thread !== thread) return
      this.thread = undefined
      await thread.terminate()
      this.#takeBackAll('the database thread could not seat every consumer')
      throw error
    }
    this.#trouble = undefined
    this.#state?.up(this.#restarts)
  }
}

function capabilities(maxMessageBytes: number): Capabilities {
  return Object.freeze({
    durable: true,
    groups: true,
    ordering: 'key',
    orderedRedelivery: true,
    delay: 'native',
    redelivery: true,
    attempts: true,
    patterns: true,
    replay: Object.freeze(['position', 'time'] as const),
    lag: true,
    publishDedup: true,
    failedPublishStopsKey: false,
    publishOnAck: true,
    atomicDeadLetters: true,
    transactions: true,
    tombstones: true,
    requestReply: false,
    maxMessageBytes,
  })
}

import { randomBytes } from 'node:crypto'
import type { Subscription } from '@nats-io/transport-node'
import type { Timer } from '../../../../core/clock.ts'
import { AckReply } from '../consume/ack-reply.ts'
import { isNotFound } from '../../errors.ts'
import { marked } from '../server/identity.ts'
import type { Incoming } from '../../connection/incoming.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { ConsumerConfig, ConsumerInfo } from '../server/jetstream-types.ts'
import type { Partition } from './partition.ts'
import { PullStatus } from '../consume/pull-status.ts'
import { PullRequests } from '../consume/pull-requests.ts'
import type { Session } from '../../connection/session.ts'

const NANOS = 1_000_000
/** A server deletes the consumer when nothing was requested for this long; it is made again then. */
const INACTIVE_MS = 60_000
/** Pause after the consumer could not be made; twice as long each next time. */
const AGAIN_MS = 500
const MAX_AGAIN_MS = 4_000
/**
 * How long the first attempt to make a consumer may take; each next one may take twice as long. A cluster may place it on a node
 * that has just died, and then no request for that name is answered; the next attempt has another name.
 */
const FIRST_ATTEMPT_MS = 4_000
/** Settings of consumers that are for acks only. */
const FOR_ACKS = /^(?:ack_|max_ack_pending$|max_deliver$|backoff$|durable_name$)/

/** What all readers of a subscription have in common. */
export interface ReaderSettings {
  readonly session: Session
  readonly api: JetStreamApi
  readonly stream: string
  /** Start of the names of its consumers. */
  readonly groupId: string
  readonly description: string
  readonly native: Readonly<Record<string, unknown>>
  readonly metadata: Readonly<Record<string, string>> | undefined
}

/** What a reader needs from its subscription. */
export interface ReaderHost {
  readonly settings: ReaderSettings
  /** `reply` is valid during the call only. */
  read(native: Incoming, reply: AckReply, reader: PartitionReader): void
  /** Everything stored has been read. */
  caughtUp(reader: PartitionReader): void
  /** The stream is missing: resolves when it is there again. */
  missing(): Promise<void>
  /** A consumer was made: if its stream was replaced, partitions begin again. */
  checkStream(): Promise<void>
  trouble(reader: PartitionReader, detail: string | undefined): void
  wake(): void
}

/**
 * Reads partitions in order: an ephemeral consumer in memory that acks nothing. It is replaced by a new one, which
 * continues where this one was, when a delivery is missing, when the server has forgotten it, and after a reconnect.
 */
export class PartitionReader {
  readonly partitions: readonly Partition[]
  readonly pulls: PullRequests
  /** That of its consumer; empty when there is none. */
  name = ''
  /** Requests may be sent. */
  active = false
  /** How many messages the server had for it after the last one. */
  pending = 0
  /** When the last one came (monotonic ms). */
  arrivedAt: number = -Infinity
  readonly #host: ReaderHost
  readonly #filters: readonly string[]
  readonly #reply = new AckReply()
  readonly #status: PullStatus
  #subscription: Subscription | undefined
  #consumerSeq = 0
  #opening = false
  /** It was reset while its consumer was being made. */
  #isAgain = false
  #again: Timer | undefined
  #failures = 0
  #closed = false

  constructor(host: ReaderHost, partitions: readonly Partition[], filters: readonly string[]) {
    this.#host = host
    this.partitions = partitions
    this.#filters = filters
    this.pulls = new PullRequests(host.settings, this)
    this.#status = new PullStatus(
      { session: host.settings.session, wake: () => host.wake(), consumerMissing: () => this.reset() },
      this,
    )
  }

  get stream(): string {
    return this.#host.settings.stream
  }

  /**
   * Makes a consumer, at the first message that is missing here. Never rejects: resolves with the error of this attempt;
   * others follow.
   */
  async open(): Promise<unknown> {
    const { session } = this.#host.settings
    if (this.#opening || this.#closed || !session.ready) return undefined
    this.#again?.cancel()
    this.#opening = true
    const { epoch } = session
    let failure: unknown
    try {
      await this.#open()
      this.#failures = 0
      this.#host.trouble(this, undefined)
    } catch (error) {
      failure = error
      this.#failures++
      if (session.ready && !this.#closed) this.#failed(error)
    }
    this.#opening = false
    // The connection was lost and is back, or a delivery was missing at once.
    if (session.epoch !== epoch || this.#isAgain) void this.open()
    return failure
  }

  #failed(error: unknown): void {
    const { session } = this.#host.settings
    const why = error instanceof Error ? error.message : String(error)
    this.#host.trouble(this, `its messages can't be read: ${why}`)
    session.error(error, `reading stream "${this.stream}"`)
    const pauseMs = Math.min(AGAIN_MS * 2 ** (this.#failures - 1), MAX_AGAIN_MS)
    this.#again = session.host.clock.setTimer(pauseMs, () => void this.open())
  }

  async #open(): Promise<void> {
    const { session, api, groupId } = this.#host.settings
    this.#isAgain = false
    const name = `${groupId}--r${randomBytes(6).toString('hex')}`
    const timeoutMs = Math.min(FIRST_ATTEMPT_MS * 2 ** this.#failures, api.timeoutMs)
    let config = this.#config(name)
    let info: ConsumerInfo
    try {
      info = await api.createConsumer(this.stream, name, config, timeoutMs)
    } catch (error) {
      if (!isNotFound(error)) throw error
      await this.#host.missing()
      config = this.#config(name)
      info = await api.createConsumer(this.stream, name, config, timeoutMs)
    }
    try {
      await this.#host.checkStream()
    } catch (error) {
      this.#forget(name)
      throw error
    }
    if (this.#closed || !session.ready || this.#isAgain) return this.#forget(name)
    this.name = name
    this.#consumerSeq = 0
    this.#reply.prefix = ''
    this.pulls.inbox = session.inbox()
    this.pulls.reset()
    this.#subscription = session.subscribe(
      this.pulls.inbox,
      (message) => this.#receive(message),
      (error) => session.error(error, `receiving from stream "${this.stream}"`),
    )
    this.active = true
    this.pending = info.num_pending
    if (this.pending === 0) this.#host.caughtUp(this)
    this.#host.wake()
  }

  #config(name: string): ConsumerConfig {
    const { native, description, metadata } = this.#host.settings
    const own: Record<string, unknown> = {}
    for (const [field, value] of Object.entries(native)) if (!FOR_ACKS.test(field)) own[field] = value
    const start = Math.min(...this.partitions.map(({ readTo }) => readTo)) + 1
    return {
      name,
      description: marked(description),
      ...(start > 1 ? { deliver_policy: 'by_start_sequence', opt_start_seq: start } : { deliver_policy: 'all' }),
      ack_policy: 'none',
      ...(this.#filters.length === 1 ? { filter_subject: this.#filters[0] } : { filter_subjects: this.#filters }),
      replay_policy: 'instant',
      inactive_threshold: INACTIVE_MS * NANOS,
      mem_storage: true,
      num_replicas: 1,
      ...own,
      ...(metadata === undefined ? {} : { metadata: { ...metadata, ...(own['metadata'] as object | undefined) } }),
    }
  }

  #receive(native: Incoming): void {
    if (!this.#reply.readFrom(native)) {
      this.#status.read(native)
      return
    }
    const { consumerSeq, pending } = this.#reply
    const now = this.#host.settings.session.host.clock.monotonic()
    this.pulls.arrived(pending, now)
    this.pending = pending
    // A delivery went into a connection that was cut.
    if (consumerSeq !== this.#consumerSeq + 1) return this.reset()
    this.#consumerSeq = consumerSeq
    this.arrivedAt = now
    this.#host.read(native, this.#reply, this)
    // Also when nothing of it is handed out: it is settled, or no message of this group.
    if (this.pulls.hungry) this.#host.wake()
    if (pending === 0) this.#host.caughtUp(this)
  }

  /** Starts again with another consumer. */
  reset(): void {
    this.#stop()
    this.#isAgain = this.#opening
    void this.open()
  }

  /** The connection is lost. */
  down(): void {
    this.#stop()
  }

  #stop(): void {
    const { session } = this.#host.settings
    this.active = false
    if (this.#subscription !== undefined && !session.connection.isClosed()) this.#subscription.unsubscribe()
    this.#subscription = undefined
    this.pulls.reset()
    const { name } = this
    this.name = ''
    if (name !== '' && session.ready) this.#forget(name)
  }

  /** The server forgets it too, some time later, if this fails. */
  #forget(consumer: string): void {
    this.#host.settings.api.deleteConsumer(this.stream, consumer).catch(() => undefined)
  }

  close(): void {
    if (this.#closed) return
    this.#closed = true
    this.#again?.cancel()
    this.#stop()
    this.pulls.close()
    this.#host.trouble(this, undefined)
  }
}

import { randomBytes } from 'node:crypto'
import type { NatsConnection } from '@nats-io/transport-node'
import { StateError } from '../../../core/errors.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type {
  DeliverySink,
  PublishOutcome,
  ServerAddress,
  SubscriptionSpec,
  TransportAdmin,
  TransportHealth,
  TransportHost,
  TransportSubscription,
} from '../../../core/transport.ts'
import { jetStreamAdmin } from './server/admin.ts'
import { AttemptNotes } from './shared/attempt-notes.ts'
import type { Engine } from '../engine.ts'
import { toBusbarError } from '../errors.ts'
import { joinGroup } from './server/group-record.ts'
import { JetStreamApi } from './server/jetstream-api.ts'
import { Mapping } from '../wire/mapping.ts'
import { MaxDeliveries } from './shared/max-deliveries.ts'
import { ENVELOPE_ROOM_BYTES } from '../options.ts'
import type { ResolvedNatsOptions } from '../options.ts'
import { JetStreamPublisher } from './publish/publisher.ts'
import { NatsRequestReply } from '../connection/request-reply.ts'
import { Session } from '../connection/session.ts'
import { SessionLeases } from './partitions/session-leases.ts'
import { RecordWriter } from './server/record-writer.ts'
import { StateRecords } from './server/state-records.ts'
import { Subjects } from '../wire/subjects.ts'
import { NatsSubscription } from './consume/subscription.ts'
import type { SubscriptionParts } from './subscription-parts.ts'
import { Topology } from './server/topology.ts'

/** Creating a consumer on a large stream makes the server scan it. */
const API_TIMEOUT_MS = 15_000

/** Everything that belongs to one open session. */
interface Open {
  readonly session: Session
  readonly publisher: JetStreamPublisher
  readonly writer: RecordWriter
  /** Set when the server gives up on messages by itself. */
  readonly maxDeliveries: MaxDeliveries | undefined
  readonly parts: SubscriptionParts
}

/** `nats()` with JetStream. */
export class JetStream implements Engine {
  readonly requestReply: NatsRequestReply
  readonly admin: TransportAdmin
  readonly #options: ResolvedNatsOptions
  readonly #subjects: Subjects
  readonly #subscriptions = new Set<NatsSubscription>()
  #open: Open | undefined
  #closing: Promise<void> | undefined

  constructor(options: ResolvedNatsOptions) {
    this.#options = options
    const { subjectPrefix, bind } = options.stream
    this.#subjects = new Subjects(subjectPrefix, options.partitions, bind !== undefined)
    this.requestReply = new NatsRequestReply(
      () => this.#require().session,
      this.#subjects,
      new Mapping(options.envelope),
    )
    this.admin = jetStreamAdmin(() => this.#require().parts)
  }

  get connection(): NatsConnection | undefined {
    return this.#open?.session.connection
  }

  get server(): ServerAddress | undefined {
    return this.#open?.session.server
  }

  async open(host: TransportHost): Promise<void> {
    const session = new Session(this.#options, host)
    await session.open()
    const api = new JetStreamApi(session, API_TIMEOUT_MS)
    const topology = new Topology(session, api, this.#subjects)
    const publisher = new JetStreamPublisher(session, this.#subjects, topology)
    const writer = new RecordWriter(session)
    const records = new StateRecords(session, api, topology, this.#subjects, writer)
    const notes = new AttemptNotes(session, api, topology, records)
    const mapping = new Mapping()
    const leases = new SessionLeases(session, records, `${host.instanceId}-${randomBytes(4).toString('hex')}`)
    const parts = { session, api, subjects: this.#subjects, topology, mapping, notes, records, leases, publisher }
    const maxDeliveries = this.#options.maxDeliver === undefined ? undefined : new MaxDeliveries(parts)
    try {
      await topology.open()
      publisher.open()
      writer.open()
      session.add(writer)
      session.add(topology)
      session.add(publisher)
      session.add(notes)
      session.add(leases)
      await maxDeliveries?.open()
    } catch (error) {
      await session.close(0)
      throw toOpenError(error)
    }
    this.#open = { session, publisher, writer, maxDeliveries, parts }
    session.begin()
    maxDeliveries?.up()
    const needed = this.#options.maxMessageBytes + ENVELOPE_ROOM_BYTES
    if (session.maxPayload < needed)
      session.warning(
        'nats-max-payload',
        `the server takes ${session.maxPayload} bytes (max_payload), a message may take ${needed}, headers and envelope included: lower maxMessageBytes, or large messages are refused`,
      )
  }

  publish(batch: readonly OutgoingMessage[], signal: AbortSignal | undefined): Promise<readonly PublishOutcome[]> {
    return this.#require().publisher.publish(batch, signal)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription> {
    const { parts } = this.#require()
    let subscription: NatsSubscription | undefined
    try {
      const joined = await joinGroup(parts, spec)
      subscription = new NatsSubscription(parts, spec, joined, sink, (closed) => this.#subscriptions.delete(closed))
      this.#subscriptions.add(subscription)
      await subscription.open()
      return subscription
    } catch (error) {
      await subscription?.close()
      throw toOpenError(error)
    }
  }

  health(): TransportHealth {
    return this.#open?.session.health() ?? { connected: false, detail: 'not open' }
  }

  close(deadlineMs: number): Promise<void> {
    this.#closing ??= this.#close(deadlineMs)
    return this.#closing
  }

  async #close(deadlineMs: number): Promise<void> {
    const open = this.#open
    if (open === undefined) return
    const { session, publisher, writer, maxDeliveries, parts } = open
    const endsAt = session.host.clock.monotonic() + deadlineMs
    const { clock } = session.host
    const leftMs = (): number => Math.max(0, endsAt - clock.monotonic())
    const closed = Promise.allSettled([
      ...[...this.#subscriptions].map((subscription) => subscription.close()),
      this.requestReply.close(deadlineMs),
    ])
    await settledWithin(clock, deadlineMs, closed)
    maxDeliveries?.close()
    const forgotten = parts.leases.close().catch((error: unknown) => {
      if (session.ready) session.error(error, 'giving back the lease of this process')
    })
    await settledWithin(clock, leftMs(), forgotten)
    publisher.close()
    writer.close()
    await session.close(leftMs())
  }

  #require(): Open {
    if (this.#open === undefined) throw new StateError('The NATS transport is not open')
    this.#open.session.requireOpen()
    return this.#open
  }
}

function toOpenError(error: unknown): unknown {
  return isOurs(error) ? error : toBusbarError(error, 'Setting up JetStream')
}

function isOurs(error: unknown): boolean {
  return typeof error === 'object' && error !== null && Symbol.for('busbar.error') in error
}

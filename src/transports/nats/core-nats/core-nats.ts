import type { NatsConnection } from '@nats-io/transport-node'
import { StateError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type {
  DeliverySink,
  PublishOutcome,
  ServerAddress,
  SubscriptionSpec,
  TransportHealth,
  TransportHost,
  TransportSubscription,
} from '../../../core/transport.ts'
import { CorePublisher } from './core-publisher.ts'
import { CoreSubscription } from './core-subscription.ts'
import type { Engine } from '../engine.ts'
import { ENVELOPE_ROOM_BYTES } from '../options.ts'
import type { ResolvedNatsOptions } from '../options.ts'
import { NatsRequestReply } from '../connection/request-reply.ts'
import { Session } from '../connection/session.ts'
import { Mapping } from '../wire/mapping.ts'
import { Subjects } from '../wire/subjects.ts'

/** `nats({ jetstream: false })`: at most once. */
export class CoreNats implements Engine {
  readonly requestReply: NatsRequestReply
  /** Nothing is stored, so there is nothing to administer. */
  readonly admin: undefined
  readonly #options: ResolvedNatsOptions
  readonly #subjects: Subjects
  readonly #subscriptions = new Set<CoreSubscription>()
  #session: Session | undefined
  #publisher: CorePublisher | undefined
  #closing: Promise<void> | undefined

  constructor(options: ResolvedNatsOptions) {
    this.#options = options
    this.#subjects = new Subjects(options.stream.subjectPrefix, options.partitions)
    this.requestReply = new NatsRequestReply(() => this.#require(), this.#subjects, new Mapping(options.envelope))
  }

  get connection(): NatsConnection | undefined {
    return this.#session?.connection
  }

  get server(): ServerAddress | undefined {
    return this.#session?.server
  }

  async open(host: TransportHost): Promise<void> {
    const session = new Session(this.#options, host)
    await session.open()
    this.#session = session
    this.#publisher = new CorePublisher(session, this.#subjects)
    session.add(this.#publisher)
    session.begin()
    const needed = this.#options.maxMessageBytes + ENVELOPE_ROOM_BYTES
    if (session.maxPayload < needed)
      session.warning(
        'nats-max-payload',
        `the server takes ${session.maxPayload} bytes (max_payload), a message may take ${needed}`,
      )
  }

  publish(batch: readonly OutgoingMessage[], signal: AbortSignal | undefined): Promise<readonly PublishOutcome[]> {
    this.#require()
    return (this.#publisher as CorePublisher).publish(batch, signal)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription> {
    const session = this.#require()
    const subscription = new CoreSubscription(
      session,
      this.#subjects,
      this.#publisher as CorePublisher,
      spec,
      sink,
      (closed) => this.#subscriptions.delete(closed),
    )
    this.#subscriptions.add(subscription)
    await subscription.open()
    return subscription
  }

  health(): TransportHealth {
    return this.#session?.health() ?? { connected: false, detail: 'not open' }
  }

  close(deadlineMs: number): Promise<void> {
    this.#closing ??= this.#close(deadlineMs)
    return this.#closing
  }

  async #close(deadlineMs: number): Promise<void> {
    const session = this.#session
    if (session === undefined) return
    const endsAt = session.host.clock.monotonic() + deadlineMs
    await Promise.all([
      ...[...this.#subscriptions].map((subscription) => subscription.close()),
      this.requestReply.close(deadlineMs),
    ])
    this.#publisher?.close()
    await session.close(Math.max(0, endsAt - session.host.clock.monotonic()))
  }

  #require(): Session {
    if (this.#session === undefined) throw new StateError('The NATS transport is not open')
    this.#session.requireOpen()
    return this.#session
  }
}

import { PublishError, SettlementError } from '../../../src/core/errors.ts'
import { NO_HEADERS } from '../../../src/core/message.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../../../src/core/message.ts'
import type {
  AttemptNote,
  Capabilities,
  Delivery,
  DeliverySink,
  Outcome,
  PublishOutcome,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  SubscriptionState,
  Transport,
  TransportSubscription,
} from '../../../src/core/transport.ts'

const CAPABILITIES: Capabilities = {
  durable: false,
  groups: true,
  ordering: 'key',
  orderedRedelivery: false,
  delay: 'native',
  redelivery: true,
  attempts: true,
  patterns: true,
  replay: [],
  lag: false,
  publishDedup: false,
  failedPublishStopsKey: false,
  publishOnAck: false,
  atomicDeadLetters: false,
  transactions: false,
  tombstones: true,
  requestReply: false,
  maxMessageBytes: 1_000_000,
}

export interface StubDelivery extends Delivery {
  lost: boolean
}

/** A transport that does nothing by itself: the test plays the broker. */
export class StubTransport implements Transport {
  readonly system = 'stub'
  readonly capabilities: Capabilities
  readonly published: OutgoingMessage[][] = []
  readonly subscriptions: StubSubscription[] = []
  leaseMs: number | undefined
  /** What publish answers; by default it confirms at once. */
  answer: (
    batch: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
  ) => Promise<readonly (PublishOutcome | Promise<PublishOutcome>)[]> = async (batch) =>
    batch.map(() => ({ position: undefined }))
  readonly transactions: OutgoingMessage[][] = []
  /** What a transaction answers; by default it commits at once. */
  commit: (
    batch: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
  ) => Promise<readonly (Position | undefined)[]> = async (batch) => batch.map(() => undefined)
  subscribeError: unknown

  constructor(change: Partial<Capabilities> = {}) {
    this.capabilities = { ...CAPABILITIES, ...change }
  }

  async open(): Promise<void> {}

  publish(
    batch: readonly OutgoingMessage[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly (PublishOutcome | Promise<PublishOutcome>)[]> {
    this.published.push([...batch])
    return this.answer(batch, options.signal)
  }

  transaction(
    batch: readonly OutgoingMessage[],
    options: { readonly signal?: AbortSignal | undefined } = {},
  ): Promise<readonly (Position | undefined)[]> {
    this.transactions.push([...batch])
    return this.commit(batch, options.signal)
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription> {
    if (this.subscribeError !== undefined) throw this.subscribeError
    const subscription = new StubSubscription(spec, sink, this.leaseMs)
    this.subscriptions.push(subscription)
    return subscription
  }

  health(): { connected: boolean } {
    return { connected: true }
  }

  async close(): Promise<void> {}
}

export class StubSubscription implements TransportSubscription {
  readonly spec: SubscriptionSpec
  readonly sink: DeliverySink
  readonly leaseMs: number | undefined
  readonly settled: { readonly id: string; readonly outcome: Outcome }[] = []
  readonly settleCalls: number[] = []
  /** Everything passed to `settle`, before it answers. */
  readonly settling: string[] = []
  readonly extended: string[][] = []
  readonly noted: { readonly id: string; readonly attempt: number }[] = []
  /** Every note as `id used running|waiting`. */
  readonly notes: string[] = []
  /** Notes are stored when its promise is resolved. It makes one per call: a rejected promise in a field would be unhandled. */
  noting: () => Promise<void> = () => Promise.resolve()
  stateNow: SubscriptionState = { standby: false }
  readyNow: number | undefined = undefined
  credit = 0
  bytes = 0
  paused = false
  closed = false
  /** Decides about a settlement: undefined is success. May wait. */
  onSettle: (
    settlement: Settlement,
  ) => SettlementFailure['error'] | undefined | Promise<SettlementFailure['error'] | undefined> = () => undefined

  constructor(spec: SubscriptionSpec, sink: DeliverySink, leaseMs: number | undefined) {
    this.spec = spec
    this.sink = sink
    this.leaseMs = leaseMs
  }

  /** Hands over messages, against the credit. */
  deliver(...deliveries: StubDelivery[]): void {
    this.credit -= deliveries.length
    for (const delivery of deliveries) this.bytes -= delivery.bytes
    this.sink.receive(deliveries)
  }

  lose(deliveries: readonly StubDelivery[], reason = 'taken back'): void {
    for (const delivery of deliveries) delivery.lost = true
    this.sink.lost(deliveries, reason)
  }

  request(credit: number, bytes: number): void {
    this.credit += credit
    this.bytes += bytes
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    this.settleCalls.push(batch.length)
    this.settling.push(...batch.map(({ delivery: settled }) => settled.message.id))
    const failures: SettlementFailure[] = []
    for (const [index, settlement] of batch.entries()) {
      const error = settlement.delivery.lost ? new SettlementError('lost') : await this.onSettle(settlement)
      if (error !== undefined) failures.push({ index, error })
      else this.settled.push({ id: settlement.delivery.message.id, outcome: settlement.outcome })
    }
    return failures
  }

  async extend(deliveries: readonly Delivery[]): Promise<void> {
    this.extended.push(deliveries.map(({ message }) => message.id))
  }

  async noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    await this.noting()
    for (const { delivery: noted, used, running } of notes)
      this.notes.push(`${noted.message.id} ${used} ${running ? 'running' : 'waiting'}`)
    for (const { delivery: noted, used, running } of notes)
      if (!running) this.noted.push({ id: noted.message.id, attempt: used })
  }

  state(): SubscriptionState {
    return this.stateNow
  }

  async readyHere(): Promise<number | undefined> {
    return this.readyNow
  }

  async drain(): Promise<void> {}

  async close(): Promise<void> {
    this.closed = true
  }

  outcomes(): string[] {
    return this.settled.map(({ id, outcome }) => `${id} ${outcome.type}`)
  }
}

export function encoded(id: string, change: Partial<EncodedMessage> = {}): EncodedMessage {
  return {
    id,
    topic: 'orders.placed',
    type: 'orders.placed',
    source: 'test',
    time: 0,
    key: undefined,
    contentType: 'application/json',
    subject: undefined,
    dataSchema: undefined,
    version: undefined,
    correlationId: undefined,
    causationId: undefined,
    traceparent: undefined,
    tracestate: undefined,
    expiresAt: undefined,
    headers: NO_HEADERS,
    body: Buffer.from(JSON.stringify({ id })),
    ...change,
  }
}

export function delivery(
  id: string,
  change: Partial<EncodedMessage> & Partial<Pick<Delivery, 'attempt' | 'bytes' | 'history' | 'notBefore'>> = {},
): StubDelivery {
  const { attempt = 1, bytes = 100, history = attempt === 1 ? 'new' : 'returned', notBefore, ...message } = change
  return {
    message: encoded(id, message),
    attempt,
    history,
    notBefore,
    position: { id },
    bytes,
    lost: false,
    runtime: undefined,
  }
}

export function notSent(message = 'the broker is away'): PublishError {
  return new PublishError(message, { outcome: 'not-sent', retryable: true })
}

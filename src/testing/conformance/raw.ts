import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { NO_HEADERS } from '../../core/message.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import type {
  Delivery,
  DeliverySink,
  Outcome,
  PublishOutcome,
  SubscriptionSpec,
  Transport,
  TransportSubscription,
} from '../../core/transport.ts'
import { waitUntil } from '../wait-until.ts'

/** A message as the runtime would pass it to a transport, for scenarios below the runtime. */
export function outgoing(topic: string, fields: Partial<OutgoingMessage> = {}): OutgoingMessage {
  return {
    id: randomUUID(),
    topic,
    type: topic,
    source: 'conformance',
    time: Date.now(),
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
    body: Buffer.from('{}'),
    deliverAt: undefined,
    group: undefined,
    ...fields,
  }
}

/** Publishes below the runtime and asserts that every message was confirmed. */
export async function publishRaw(transport: Transport, messages: readonly OutgoingMessage[]): Promise<string[]> {
  const outcomes = await outcomesOf(transport, messages)
  assert.equal(outcomes.length, messages.length, 'one outcome for each message')
  for (const outcome of outcomes) assert.equal(outcome.error, undefined)
  return messages.map(({ id }) => id)
}

/** The outcome of each message of a batch. */
export async function outcomesOf(
  transport: Transport,
  messages: readonly OutgoingMessage[],
): Promise<readonly PublishOutcome[]> {
  const outcomes: PublishOutcome[] = []
  for (const outcome of await transport.publish(messages)) outcomes.push(await outcome)
  return outcomes
}

/** The simplest consumer: takes deliveries, counts its credit, settles on request. */
export class RawConsumer implements DeliverySink {
  readonly deliveries: Delivery[] = []
  readonly lostDeliveries: Delivery[] = []
  readonly #patienceMs: number
  #subscription: TransportSubscription | undefined

  constructor(patienceMs: number) {
    this.#patienceMs = patienceMs
  }

  /** Subscribes; delivers nothing before `request`. */
  async subscribe(
    transport: Transport,
    spec: Pick<SubscriptionSpec, 'topic' | 'group'> & Partial<SubscriptionSpec>,
  ): Promise<this> {
    this.#subscription = await transport.subscribe(
      {
        order: 'none',
        ephemeral: false,
        from: transport.capabilities.replay.length > 0 ? 'earliest' : 'latest',
        prefetch: 100,
        prefetchBytes: 16_777_216,
        maxPerKey: Number.MAX_SAFE_INTEGER,
        consumerId: randomUUID(),
        ...spec,
      },
      this,
    )
    return this
  }

  get subscription(): TransportSubscription {
    if (this.#subscription === undefined) throw new assert.AssertionError({ message: 'not subscribed' })
    return this.#subscription
  }

  /** Allows more deliveries. */
  request(credit: number, bytes = 16_777_216): void {
    this.subscription.request(credit, bytes)
  }

  /** Called by the transport. */
  receive(batch: readonly Delivery[]): void {
    this.deliveries.push(...batch)
  }

  /** Called by the transport. */
  lost(deliveries: readonly Delivery[]): void {
    this.lostDeliveries.push(...deliveries)
  }

  /** Called by the transport. */
  recall(): void {}

  /** Ids of the messages delivered so far, repetitions included. */
  ids(): string[] {
    return this.deliveries.map(({ message }) => message.id)
  }

  /** Waits for `count` deliveries in total. */
  async take(count: number): Promise<readonly Delivery[]> {
    await waitUntil(() => this.deliveries.length >= count, {
      timeoutMs: this.#patienceMs,
      describe: () => `${this.deliveries.length} of ${count} deliveries`,
    })
    return this.deliveries
  }

  /** Settles and asserts that the broker accepted it. */
  async settle(deliveries: readonly Delivery[], outcome: Outcome = { type: 'ack' }): Promise<void> {
    const failures = await this.subscription.settle(deliveries.map((delivery) => ({ delivery, outcome })))
    assert.deepEqual(failures, [], 'the broker must take the settlement')
  }

  /** Closes the subscription, if there is one. */
  async close(): Promise<void> {
    await this.#subscription?.close()
  }
}

/** More than any conforming broker accepts: well over the limit, so that room for dead letters does not matter. */
export function farTooLarge(transport: Transport): Uint8Array {
  return new Uint8Array(2 * transport.capabilities.maxMessageBytes + 65_536)
}

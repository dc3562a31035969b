import { setTimeout as wait } from 'node:timers/promises'
import { PublishError, SettlementError } from '../../../src/core/errors.ts'
import type {
  Delivery,
  DeliverySink,
  PublishOutcome,
  Settlement,
  SubscriptionSpec,
  Transport,
  TransportHost,
  TransportSubscription,
} from '../../../src/core/transport.ts'
import type { Position } from '../../../src/core/message.ts'
import type { BrokerFaults, ForeignClient } from '../../../src/testing/conformance/run-means.ts'
import { outgoing, publishRaw } from '../../../src/testing/conformance/raw.ts'
import { memory } from '../../../src/transports/memory/index.ts'
import type { MemoryBroker } from '../../../src/transports/memory/index.ts'

/** How the pretended connections misbehave besides being cut. */
export interface Lies {
  readonly staysAway?: boolean
  readonly forgetsUnacked?: boolean
  readonly acksTheNewSession?: boolean
  readonly deniesWhatItStored?: boolean
  readonly splitsTransactions?: boolean
  readonly publishesBeforeAck?: boolean
  readonly keepsQuiet?: boolean
}

const RECONNECT_MS = 15
const LATENCY_MS = 2

/** The memory broker behind connections that can be cut: what a real broker does to its clients, in one process. */
export class FlakyNetwork {
  readonly #broker: MemoryBroker
  readonly #lies: Lies
  readonly #transports = new Set<FlakyTransport>()
  frozen: Promise<void> | undefined

  constructor(broker: MemoryBroker, lies: Lies = {}) {
    this.#broker = broker
    this.#lies = lies
  }

  create = (): Transport => new FlakyTransport(memory({ broker: this.#broker }), this, this.#lies)

  readonly faults: BrokerFaults = {
    cutConnections: () => this.#cut(RECONNECT_MS),
    restartBroker: () => this.#cut(60),
    killBroker: () => this.#cut(60),
    pauseBroker: async (ms) => {
      this.frozen = wait(ms)
      for (const transport of this.#transports) transport.freeze()
      await this.frozen
      this.frozen = undefined
      for (const transport of this.#transports) transport.thaw()
    },
  }

  readonly foreign: ForeignClient = {
    publish: async (topic, body, headers) => {
      const transport = memory({ broker: this.#broker })
      const id = `foreign-${++this.#foreign}`
      await transport.open(this.#host as TransportHost)
      await publishRaw(transport, [
        outgoing(topic, { id, source: 'foreign', contentType: '', body, headers: headers ?? {} }),
      ])
      await transport.close()
    },
  }
  #foreign = 0
  #host: TransportHost | undefined

  opened(transport: FlakyTransport, host: TransportHost): void {
    this.#transports.add(transport)
    this.#host = host
  }

  closed(transport: FlakyTransport): void {
    this.#transports.delete(transport)
  }

  async #cut(downMs: number): Promise<void> {
    await Promise.all([...this.#transports].map((transport) => transport.cut(downMs)))
  }
}

class FlakyTransport implements Transport {
  readonly system = 'flaky'
  readonly capabilities: Transport['capabilities']
  readonly admin: Transport['admin']
  readonly inner: Transport
  readonly lies: Lies
  readonly #network: FlakyNetwork
  readonly #subscriptions = new Set<FlakySubscription>()
  #host: TransportHost | undefined
  #down: Promise<void> | undefined
  #session = 0

  constructor(inner: Transport, network: FlakyNetwork, lies: Lies) {
    this.inner = inner
    this.#network = network
    this.lies = lies
    // The broker outlives its connections, and that is all that these tests end.
    this.capabilities = { ...inner.capabilities, durable: true, requestReply: false }
    this.admin = inner.admin
  }

  async open(host: TransportHost): Promise<void> {
    await this.inner.open(host)
    this.#host = host
    this.#network.opened(this, host)
  }

  async publish(
    batch: Parameters<Transport['publish']>[0],
    options: Parameters<Transport['publish']>[1] = {},
  ): Promise<readonly PublishOutcome[]> {
    const failed = (outcome: 'not-sent' | 'unknown'): PublishOutcome[] =>
      batch.map(() => ({ error: new PublishError('The connection was lost', { outcome, retryable: true }) }))
    await this.#down
    const session = this.#session
    const aborted = new Promise<'aborted'>((resolve) => {
      options.signal?.addEventListener('abort', () => resolve('aborted'), { once: true })
    })
    // Frozen: the bytes lie in a socket, and arrive when the broker wakes up, whether we still wait or not.
    const stored = (this.#network.frozen ?? wait(LATENCY_MS)).then(() => this.inner.publish(batch))
    const first = await Promise.race([stored, aborted])
    if (first === 'aborted') return failed('unknown')
    const outcomes: PublishOutcome[] = []
    for (const outcome of first) outcomes.push(await outcome)
    if (session !== this.#session) return failed(this.lies.deniesWhatItStored ? 'not-sent' : 'unknown')
    return outcomes
  }

  async transaction(
    batch: Parameters<Transport['publish']>[0],
    options: Parameters<Transport['publish']>[1] = {},
  ): Promise<readonly (Position | undefined)[]> {
    const positions: (Position | undefined)[] = []
    // The memory broker takes a batch in one step.
    const steps = this.lies.splitsTransactions === true ? batch.map((message) => [message]) : [batch]
    for (const step of steps) {
      for (const { position, error } of await this.publish(step, options)) {
        if (error !== undefined) throw error
        positions.push(position)
      }
    }
    return positions
  }

  async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription> {
    await this.#down
    const subscription = new FlakySubscription(this, spec, sink)
    this.#subscriptions.add(subscription)
    await subscription.connect()
    if (this.#network.frozen !== undefined) subscription.freeze()
    return subscription
  }

  async cut(downMs: number): Promise<void> {
    if (this.#down !== undefined) return this.#down
    this.#session++
    const down = Promise.withResolvers<void>()
    this.#down = down.promise
    const { name: transport, events } = this.#host as TransportHost
    if (!this.lies.keepsQuiet) events.emit('disconnect', { transport, planned: false, reason: 'cut' })
    for (const subscription of this.#subscriptions) await subscription.disconnect()
    await wait(downMs)
    if (!this.lies.staysAway) for (const subscription of this.#subscriptions) await subscription.connect()
    this.#down = undefined
    down.resolve()
    if (!this.lies.keepsQuiet) events.emit('reconnect', { transport, downMs, attempts: 1 })
  }

  freeze(): void {
    for (const subscription of this.#subscriptions) subscription.freeze()
  }

  thaw(): void {
    for (const subscription of this.#subscriptions) subscription.thaw()
  }

  health(): ReturnType<Transport['health']> {
    return { connected: this.#down === undefined && this.inner.health().connected }
  }

  async close(): Promise<void> {
    this.#network.closed(this)
    await this.#down
    for (const subscription of this.#subscriptions) await subscription.close()
    await this.inner.close()
  }
}

class FlakySubscription implements TransportSubscription {
  readonly #transport: FlakyTransport
  readonly #spec: SubscriptionSpec
  readonly #sink: DeliverySink
  readonly #outstanding = new Set<Delivery>()
  #inner: TransportSubscription | undefined
  #credit = 0
  #bytes = 0
  #paused = false
  #ended = false

  constructor(transport: FlakyTransport, spec: SubscriptionSpec, sink: DeliverySink) {
    this.#transport = transport
    this.#spec = spec
    this.#sink = sink
  }

  async connect(): Promise<void> {
    if (this.#ended) return
    this.#inner = await this.#transport.inner.subscribe(this.#spec, {
      receive: (batch) => {
        for (const delivery of batch) {
          this.#credit--
          this.#bytes -= delivery.bytes
          this.#outstanding.add(delivery)
        }
        this.#sink.receive(batch)
      },
      lost: (deliveries, reason) => this.#sink.lost(deliveries, reason),
      recall: (deliveries) => this.#sink.recall(deliveries),
    })
    if (this.#paused) this.#inner.pause()
    if (this.#credit > 0) this.#inner.request(this.#credit, this.#bytes)
  }

  async disconnect(): Promise<void> {
    const inner = this.#inner
    this.#inner = undefined
    if (inner === undefined) return
    const lost = [...this.#outstanding]
    this.#outstanding.clear()
    if (this.#transport.lies.forgetsUnacked)
      await inner.settle(lost.map((delivery) => ({ delivery, outcome: { type: 'ack' } })))
    // The memory transport marks them, and hands them to whoever comes next.
    await inner.close()
    if (lost.length > 0) this.#sink.lost(lost, 'the connection was cut')
  }

  request(credit: number, bytes: number): void {
    this.#credit += credit
    this.#bytes += bytes
    this.#inner?.request(credit, bytes)
  }

  pause(): void {
    this.#paused = true
    this.#inner?.pause()
  }

  resume(): void {
    this.#paused = false
    this.#inner?.resume()
  }

  freeze(): void {
    this.#inner?.pause()
  }

  thaw(): void {
    if (!this.#paused) this.#inner?.resume()
  }

  async settle(given: readonly Settlement[]): ReturnType<TransportSubscription['settle']> {
    let batch = given
    if (this.#transport.lies.acksTheNewSession) {
      // Like a delivery tag that means something else on the new channel.
      const fresh = [...this.#outstanding]
      batch = given.map((settlement, index) =>
        settlement.delivery.lost ? { ...settlement, delivery: fresh[index] ?? settlement.delivery } : settlement,
      )
    }
    if (this.#transport.lies.publishesBeforeAck === true) {
      for (const { outcome } of batch)
        if (outcome.type === 'ack' && outcome.publish !== undefined)
          void (await this.#transport.inner.publish(outcome.publish))
      await wait(LATENCY_MS)
      batch = batch.map(({ delivery, outcome }) => ({
        delivery,
        outcome: outcome.type === 'ack' ? { type: 'ack' } : outcome,
      }))
    }
    for (const { delivery } of batch) this.#outstanding.delete(delivery)
    // Nothing is taken between two sessions; what was out is lost then.
    return (
      (await this.#inner?.settle(batch)) ??
      batch.map((_, index) => ({ index, error: new SettlementError('The connection was cut') }))
    )
  }

  async drain(): Promise<void> {
    await this.#inner?.drain()
  }

  async close(): Promise<void> {
    this.#ended = true
    await this.#inner?.close()
  }
}

import type { ConsumerParts } from './consumer-parts.ts'
import type { Clock } from '../clock.ts'
import type { Failure } from '../dead-letters/dead-letter.ts'
import type { BusEventMap, BusEvents } from '../events.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import { RetryRequest } from './retry.ts'
import type { Settlement, SettlementFailure } from '../transport.ts'

/** What identifies a consumer in its events. */
export type ConsumerIdentity = Omit<BusEventMap['lost'], 'count' | 'reason'>

/** What listeners and observers learn of the deliveries of one consumer. Measures times only for those who listen. */
export class DeliveryReports {
  readonly #parts: ConsumerParts
  readonly #consumer: ConsumerIdentity
  readonly #events: BusEvents
  readonly #clock: Clock

  constructor(parts: ConsumerParts, consumer: ConsumerIdentity) {
    this.#parts = parts
    this.#consumer = consumer
    this.#events = parts.events
    this.#clock = parts.clock
  }

  /** Its handler is about to start. */
  begins(pending: PendingDelivery): void {
    const { ack, retry, delivery } = this.#events.wanted
    pending.times = ack || retry ? { startedAt: this.#clock.monotonic(), handlerMs: 0 } : undefined
    if (delivery) this.#events.emit('delivery', this.#of(pending))
  }

  /** Its handler has ended. */
  ended({ times }: PendingDelivery): void {
    if (times !== undefined) times.handlerMs = this.#clock.monotonic() - times.startedAt
  }

  acked(pending: PendingDelivery): void {
    if (!this.#events.wanted.ack) return
    const { times } = pending
    // They are unknown if the listener was added while the handler ran.
    const durationMs = times === undefined ? 0 : this.#clock.monotonic() - times.startedAt
    this.#events.emit('ack', { ...this.#of(pending), durationMs, handlerMs: times?.handlerMs ?? 0 })
  }

  retried(pending: PendingDelivery, error: unknown, delayMs: number, mode: 'inline' | 'delayed'): void {
    if (!this.#events.wanted.retry) return
    const handlerMs = pending.times?.handlerMs ?? 0
    this.#events.emit('retry', { ...this.#of(pending), error, delayMs, mode, handlerMs })
  }

  settleFailed(pending: PendingDelivery, error: Error): void {
    if (this.#events.wants('settleFailed')) this.#events.emit('settleFailed', { ...this.#of(pending), error })
  }

  /** Its failure has been carried out: a dead letter is stored, or the message was dropped, when there is no topic. */
  rejected(pending: PendingDelivery, deadLetterTopic: string | undefined): void {
    const { error, reason, attempts } = pending.failure as Failure
    const what = { ...this.#of(pending), attempt: attempts, error, reason }
    if (deadLetterTopic === undefined) this.#events.emit('drop', what)
    else this.#events.emit('deadLetter', { ...what, deadLetterTopic })
  }

  lost(count: number, reason: string): void {
    this.#events.emit('lost', { ...this.#consumer, count, reason })
  }

  /** Its handler was given up, but may still run. */
  abandoned(pending: PendingDelivery): void {
    this.#events.emit('abandoned', this.#of(pending))
  }

  /** A handler that was given up has ended. */
  late(pending: PendingDelivery): void {
    if (this.#events.wants('doubleSettle')) this.#events.emit('doubleSettle', this.#of(pending))
  }

  stuck(pending: PendingDelivery, ageMs: number, queuedBehind: number): void {
    this.#events.emit('stuck', {
      ...this.#of(pending),
      ageMs: Math.round(ageMs),
      state: pending.failure === undefined ? (pending.watch?.state as BusEventMap['stuck']['state']) : 'dead-lettering',
      queuedBehind,
    })
  }

  /** The handler returned although it had called `ctx.reject` or `ctx.retry`. */
  swallowed(request: Error): void {
    const { topic, group } = this.#consumer
    this.#events.emit('warning', {
      transport: this.#parts.transportName,
      code: 'swallowed-outcome',
      detail: `The handler of "${topic}" (group "${group}") called ctx.${RetryRequest.is(request) ? 'retry' : 'reject'}() and returned normally: something caught what the call threw. It is carried out anyway; let it pass through your catch`,
    })
  }

  error(error: unknown, doing: string): void {
    this.#events.emit('error', { transport: this.#parts.transportName, error, doing })
  }

  /** A batch of outcomes goes to the transport. Returns what to call with its answer; undefined when there is no observer. */
  settling(settlements: readonly Settlement[]): ((failures: readonly SettlementFailure[]) => void) | undefined {
    const { observers, identity } = this.#parts
    if (!observers.watched.settle) return undefined
    const observation = observers.start('settle', { ...this.#consumer, transport: identity, settlements })
    const startedAt = this.#clock.monotonic()
    return (failures) => {
      if (observation !== undefined)
        observers.end(observation, { durationMs: this.#clock.monotonic() - startedAt, failures })
    }
  }

  #of(pending: PendingDelivery): BusEventMap['delivery'] {
    return {
      ...this.#consumer,
      topic: pending.message.topic,
      message: pending.delivery.message,
      attempt: pending.attempt,
    }
  }
}

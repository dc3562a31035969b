import type { ConsumerHealth } from './bus-types.ts'
import { isInsideHandlerOf } from './causality.ts'
import type { ConsumerParts } from './consumer-parts.ts'
import { Consumer } from './consumer.ts'
import { StateError } from './errors.ts'
import { patternsOverlap } from './topic.ts'

/** A consumer as a bus keeps it: it can't wait for itself, it says why it is not subscribed yet, and it leaves when it ends. */
export class BusConsumer extends Consumer {
  readonly #onEnd: (consumer: BusConsumer) => void
  readonly #scope: object
  readonly #stopping = new AbortController()
  /** Why the last attempt to subscribe failed, while another one is to come. */
  trouble: string | undefined
  /** When it stops trying to subscribe (`clock.monotonic()`): with the start of its bus, or never. */
  endsAt: number = Infinity

  /** `scope` stands for this consumer in the scope of its handlers (see `scoped`). */
  constructor(parts: ConsumerParts, onEnd: (consumer: BusConsumer) => void, scope: object) {
    super(parts)
    this.#onEnd = onEnd
    this.#scope = scope
  }

  /** Aborts when the consumer is being stopped. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /** Stops trying to subscribe: the start of its bus has failed, which is going to close it. */
  giveUp(reason: unknown): void {
    this.#stopping.abort(reason)
  }

  override drain(): Promise<void> {
    return this.#ending('drain', () => super.drain())
  }

  override close(options?: { readonly timeoutMs?: number | undefined }): Promise<void> {
    return this.#ending('close', () => super.close(options))
  }

  override closeWithin(deadline: Promise<unknown>): Promise<void> {
    return this.#ending(undefined, () => super.closeWithin(deadline))
  }

  override health(): ConsumerHealth {
    const health = super.health()
    return this.trouble === undefined ? health : { ...health, status: 'failed', detail: this.trouble }
  }

  #ending(method: string | undefined, stop: () => Promise<void>): Promise<void> {
    const ending = stop()
    this.#stopping.abort(new StateError('The consumer was closed before it was subscribed'))
    const ended = (): void => this.#onEnd(this)
    ending.then(ended, ended)
    return method !== undefined && isInsideHandlerOf({ consumer: this.#scope })
      ? refuseToWait(`${method}() of the consumer of "${this.topic}"`, 'consumer')
      : ending
  }
}

/**
 * What a handler gets that asks its own consumer or bus to end: what it asked for happens, but waiting for it would be
 * waiting for itself. Rejects at once, for a handler that awaits it; it is no unhandled rejection for one that does not.
 */
export function refuseToWait(call: string, what: 'bus' | 'consumer'): Promise<void> {
  const refused = Promise.reject<void>(
    new StateError(
      `${call} was called in one of its own handlers. The ${what} is being closed, but that waits for running handlers, so a handler that awaits it would wait for itself: don't await it there`,
    ),
  )
  refused.catch(() => {})
  return refused
}

/** The consumers of a bus, by group. */
export class ConsumerRegistry implements Iterable<BusConsumer> {
  readonly #groups = new Map<string, Set<BusConsumer>>()

  add(consumer: BusConsumer): void {
    const group = this.#groups.get(keyOf(consumer))
    if (group === undefined) this.#groups.set(keyOf(consumer), new Set([consumer]))
    else group.add(consumer)
  }

  delete(consumer: BusConsumer): void {
    const group = this.#groups.get(keyOf(consumer))
    if (group?.delete(consumer) === true && group.size === 0) this.#groups.delete(keyOf(consumer))
  }

  /** One of the same group that would share messages with it, at random. */
  overlapping(consumer: BusConsumer): BusConsumer | undefined {
    for (const other of this.#groups.get(keyOf(consumer)) ?? [])
      if (!other.hasEnded && patternsOverlap(other.topic, consumer.topic)) return other
    return undefined
  }

  *[Symbol.iterator](): Generator<BusConsumer> {
    for (const group of this.#groups.values()) yield* group
  }
}

function keyOf({ transportName, group }: BusConsumer): string {
  return `${group} ${transportName}`
}

import type { CloseOptions } from './bus-types.ts'
import { holdsUpCloseOf } from './causality.ts'
import type { HandlerOwner } from './causality.ts'
import type { ConsumerParts } from './consume/consumer-parts.ts'
import { Consumer } from './consume/consumer.ts'
import { StateError } from './errors.ts'
import type { ConsumerHealth } from './health.ts'

/** A consumer of a bus: refuses to wait for itself, reports why it is not subscribed yet, and leaves the bus when it ends. */
export class BusConsumer extends Consumer {
  readonly #onEnd: (consumer: BusConsumer) => void
  readonly #owner: HandlerOwner
  readonly #stopping = new AbortController()
  /** Why the last attempt to subscribe failed, while it will be retried. */
  trouble: string | undefined
  /** When it stops trying to subscribe (`clock.monotonic()`): when the start of its bus times out, or never. */
  endsAt: number = Infinity

  constructor(parts: ConsumerParts, onEnd: (consumer: BusConsumer) => void) {
    super(parts)
    this.#onEnd = onEnd
    this.#owner = parts.owner
  }

  /** Aborts when the consumer is stopped. */
  get stopping(): AbortSignal {
    return this.#stopping.signal
  }

  /** Stops trying to subscribe: the start of the bus has failed, and the bus will be closed. */
  giveUp(reason: unknown): void {
    this.#stopping.abort(reason)
  }

  override drain(): Promise<void> {
    return this.#ending('drain', () => super.drain())
  }

  override close(options?: CloseOptions): Promise<void> {
    return this.#ending('close', () => super.close(options))
  }

  override closeWithin(deadline: Promise<number>): Promise<void> {
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
    return method !== undefined && holdsUpCloseOf({ consumer: this.#owner.consumer })
      ? refuseToWait(`${method}() of the consumer of "${this.topic}"`, 'one of its own handlers')
      : ending
  }
}

/**
 * Result of closing a consumer or bus from code that the close waits for: it happens, but waiting for it would deadlock.
 * Rejects at once for a caller that awaits it, and causes no unhandled rejection for one that does not.
 */
export function refuseToWait(call: string, place: string): Promise<void> {
  const refused = Promise.reject<void>(
    new StateError(
      `${call} was called in ${place}. It takes effect, but waits for that code, which would wait for itself if it awaited the call: don't await it there`,
    ),
  )
  refused.catch(() => {})
  return refused
}

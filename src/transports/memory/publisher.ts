import { PublishError } from '../../core/errors.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import type { PublishOutcome } from '../../core/transport.ts'
import type { MemoryBroker } from './broker.ts'
import type { Waiter } from './topic-state.ts'

/** Stores a batch. Messages of a topic that is full wait, those of other topics do not wait for them. */
export function publishToMemory(
  broker: MemoryBroker,
  batch: readonly OutgoingMessage[],
  signal: AbortSignal | undefined,
): Promise<readonly PublishOutcome[]> {
  const outcomes: PublishOutcome[] = []
  let waiting: Waiting | undefined
  const now = broker.clock.now()
  for (let index = 0; index < batch.length; index++) {
    const message = batch[index] as OutgoingMessage
    const outcome = broker.append(message, now, () =>
      (waiting ??= new Waiting(outcomes, signal)).waiter(message, index),
    )
    outcomes[index] = outcome ?? PENDING
  }
  // In the next turn, not in a microtask: a loop that awaits each publish must leave consumers and sockets their turn.
  return waiting === undefined ? new Promise((resolve) => setImmediate(resolve, outcomes)) : waiting.done()
}

/** Holds the place of an outcome that is not known yet. */
const PENDING: PublishOutcome = Object.freeze({ position: undefined })

/** The part of a batch that found no room. */
class Waiting {
  readonly #outcomes: PublishOutcome[]
  readonly #signal: AbortSignal | undefined
  readonly #waiters = new Map<number, Waiter>()
  readonly #done: Promise<readonly PublishOutcome[]>
  #resolve: (outcomes: readonly PublishOutcome[]) => void = () => {}
  readonly #abort = (): void => {
    const error = new PublishError('The wait for room was aborted; the message was not sent', {
      outcome: 'not-sent',
      retryable: true,
      cause: this.#signal?.reason,
    })
    for (const waiter of this.#waiters.values()) {
      waiter.gone = true
      waiter.settle({ error })
    }
  }

  constructor(outcomes: PublishOutcome[], signal: AbortSignal | undefined) {
    this.#outcomes = outcomes
    this.#signal = signal
    this.#done = new Promise((resolve) => {
      this.#resolve = resolve
    })
    signal?.addEventListener('abort', this.#abort, { once: true })
  }

  waiter(message: OutgoingMessage, index: number): Waiter {
    const waiter: Waiter = {
      message,
      gone: false,
      settle: (outcome) => {
        this.#outcomes[index] = outcome
        this.#waiters.delete(index)
        if (this.#waiters.size > 0) return
        this.#signal?.removeEventListener('abort', this.#abort)
        this.#resolve(this.#outcomes)
      },
    }
    this.#waiters.set(index, waiter)
    return waiter
  }

  done(): Promise<readonly PublishOutcome[]> {
    if (this.#signal?.aborted) this.#abort()
    return this.#done
  }
}

import { PublishError } from '../../core/errors.ts'
import type { LinkedList } from '../../core/util/linked-list.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import { tooLarge } from '../../core/publish/size-limit.ts'
import type { PublishOutcome } from '../../core/transport.ts'
import type { MemoryBroker } from './broker.ts'
import type { Waiter } from './topic-state.ts'

/** Stores a batch. A message whose topic is full has a promise for its outcome; the others do not wait for it. */
export function publishToMemory(
  broker: MemoryBroker,
  batch: readonly OutgoingMessage[],
  maxMessageBytes: number,
  signal: AbortSignal | undefined,
): Promise<readonly (PublishOutcome | Promise<PublishOutcome>)[]> {
  const outcomes: (PublishOutcome | Promise<PublishOutcome>)[] = []
  const now = broker.clock.now()
  const aborts = new Aborts(signal)
  for (const message of batch) {
    const error = tooLarge(message, maxMessageBytes, 'memory')
    if (error !== undefined) {
      outcomes.push({ error })
      continue
    }
    outcomes.push(broker.append(message, now) ?? waitForRoom(message, broker.topic(message.topic).waiters, aborts))
  }
  broker.appended()
  // In the next turn, not in a microtask: a loop that awaits each publish must leave consumers and sockets their turn.
  return new Promise((resolve) => setImmediate(resolve, outcomes))
}

/** One listener for all that wait of a batch: a signal looks through all of its listeners for each one that it gets. */
class Aborts {
  readonly #signal: AbortSignal | undefined
  readonly #waiting = new Set<(cause: unknown) => void>()

  constructor(signal: AbortSignal | undefined) {
    this.#signal = signal
  }

  add(abort: (cause: unknown) => void): void {
    if (this.#waiting.size === 0) this.#signal?.addEventListener('abort', this.#onAbort)
    this.#waiting.add(abort)
  }

  remove(abort: (cause: unknown) => void): void {
    this.#waiting.delete(abort)
    if (this.#waiting.size === 0) this.#signal?.removeEventListener('abort', this.#onAbort)
  }

  readonly #onAbort = (): void => {
    for (const abort of this.#waiting) {
      this.remove(abort)
      abort(this.#signal?.reason)
    }
  }
}

function waitForRoom(message: OutgoingMessage, waiters: LinkedList<Waiter>, aborts: Aborts): Promise<PublishOutcome> {
  const { promise, resolve } = Promise.withResolvers<PublishOutcome>()
  const abort = (cause: unknown): void => {
    // At once: while the topic stays full, nothing else would ever release it.
    waiters.remove(waiter)
    resolve({
      error: new PublishError('The wait for room was aborted; the message was not sent', {
        outcome: 'not-sent',
        retryable: true,
        cause,
      }),
    })
  }
  const waiter: Waiter = {
    message,
    previous: undefined,
    next: undefined,
    settle: (outcome) => {
      aborts.remove(abort)
      resolve(outcome)
    },
  }
  aborts.add(abort)
  waiters.push(waiter)
  return promise
}

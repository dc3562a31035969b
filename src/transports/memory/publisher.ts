import { PublishError } from '../../core/errors.ts'
import type { LinkedList } from '../../core/util/linked-list.ts'
import type { OutgoingMessage, Position } from '../../core/message.ts'
import { isDeadLetterTopic } from '../../core/topic.ts'
import { tooLarge } from '../../core/publish/size-limit.ts'
import type { PublishOutcome } from '../../core/transport.ts'
import type { MemoryBroker } from './broker.ts'
import { TopicState } from './topic-state.ts'
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
    outcomes.push(broker.append(message, now) ?? waitForRoom(broker, message, aborts))
  }
  broker.appended()
  // In the next turn, not in a microtask: a loop that awaits each publish must leave consumers and sockets their turn.
  return new Promise((resolve) => setImmediate(resolve, outcomes))
}

/** Stores a transaction, as soon as all of its topics have room. */
export async function transactInMemory(
  broker: MemoryBroker,
  batch: readonly OutgoingMessage[],
  signal: AbortSignal | undefined,
): Promise<readonly (Position | undefined)[]> {
  const aborts = new Aborts(signal)
  let stored = broker.appendAll(batch, true)
  while (stored instanceof TopicState) {
    const full: TopicState = stored
    if (isDeadLetterTopic(full.name)) throw full.fullError()
    stored = await new Promise((resolve, reject) => {
      // Stored in the same moment, before another one takes the room.
      const proceed = (): void => resolve(broker.appendAll(batch, false))
      waitAmong(full.waiters, aborts, proceed, reject)
    })
  }
  // In the next turn: see `publishToMemory`.
  const positions = stored
  return new Promise((resolve) => setImmediate(resolve, positions))
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

function waitForRoom(broker: MemoryBroker, message: OutgoingMessage, aborts: Aborts): Promise<PublishOutcome> {
  const { waiters } = broker.topic(message.topic)
  return new Promise((resolve) => {
    const proceed = (): void => resolve(broker.appendWaiter(message))
    waitAmong(waiters, aborts, proceed, (error) => resolve({ error }))
  })
}

/** Calls one of the two functions, once: when there is room, or when the wait for it is aborted. */
function waitAmong(
  waiters: LinkedList<Waiter>,
  aborts: Aborts,
  proceed: () => void,
  aborted: (error: PublishError) => void,
): void {
  const abort = (cause: unknown): void => {
    // At once: while the topic stays full, nothing else would ever release it.
    waiters.remove(waiter)
    aborted(
      new PublishError('The wait for room was aborted; the message was not sent', {
        outcome: 'not-sent',
        retryable: true,
        cause,
      }),
    )
  }
  const waiter: Waiter = {
    previous: undefined,
    next: undefined,
    proceed: () => {
      aborts.remove(abort)
      proceed()
    },
  }
  aborts.add(abort)
  waiters.push(waiter)
}

import { PublishError } from '../../core/errors.ts'
import type { LinkedList } from '../../core/linked-list.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import { tooLarge } from '../../core/size-limit.ts'
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
  for (const message of batch) {
    // A copy for one group is a redrive: the broker has the message already.
    const error = message.group === undefined ? tooLarge(message, maxMessageBytes, 'memory') : undefined
    if (error !== undefined) {
      outcomes.push({ error })
      continue
    }
    let waiting: Promise<PublishOutcome> | undefined
    const outcome = broker.append(message, now, (waiters) => {
      const { waiter, settled } = waitForRoom(message, waiters, signal)
      waiting = settled
      return waiter
    })
    outcomes.push(outcome ?? (waiting as unknown as Promise<PublishOutcome>))
  }
  // In the next turn, not in a microtask: a loop that awaits each publish must leave consumers and sockets their turn.
  return new Promise((resolve) => setImmediate(resolve, outcomes))
}

function waitForRoom(
  message: OutgoingMessage,
  waiters: LinkedList<Waiter>,
  signal: AbortSignal | undefined,
): { waiter: Waiter; settled: Promise<PublishOutcome> } {
  const { promise, resolve } = Promise.withResolvers<PublishOutcome>()
  const abort = (): void => {
    // At once: while the topic stays full, nothing else would ever release it.
    waiters.remove(waiter)
    const cause: unknown = signal?.reason
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
      signal?.removeEventListener('abort', abort)
      resolve(outcome)
    },
  }
  signal?.addEventListener('abort', abort, { once: true })
  return { waiter, settled: promise }
}

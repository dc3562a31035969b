import { PublishError } from '../../core/errors.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import type { PublishOutcome } from '../../core/transport.ts'
import type { MemoryBroker } from './broker.ts'
import { tooLarge } from './too-large.ts'
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
    const error = tooLarge(message, maxMessageBytes)
    if (error !== undefined) {
      outcomes.push({ error })
      continue
    }
    let waiting: Promise<PublishOutcome> | undefined
    const outcome = broker.append(message, now, () => {
      const { waiter, settled } = waitForRoom(message, signal)
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
  signal: AbortSignal | undefined,
): { waiter: Waiter; settled: Promise<PublishOutcome> } {
  const { promise, resolve } = Promise.withResolvers<PublishOutcome>()
  const abort = (): void => {
    waiter.gone = true
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
    gone: false,
    settle: (outcome) => {
      signal?.removeEventListener('abort', abort)
      resolve(outcome)
    },
  }
  signal?.addEventListener('abort', abort, { once: true })
  return { waiter, settled: promise }
}

import { PublishError } from '../../../core/errors.ts'
import type { OutgoingMessage, Position } from '../../../core/message.ts'
import type { Producer } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import { toPublishError } from '../errors.ts'
import { sendInTransaction, transactionalProducer } from './send-in-transaction.ts'

/** Transactions that run at once: each needs a producer of its own. */
const MOST = 4

/** Runs transactions that publish and nothing else, some at a time. Their producers are made when they are needed. */
export class TransactionPool {
  readonly #context: KafkaContext
  readonly #idle: Producer[] = []
  #made = 0
  readonly #waiting: ((producer: Producer) => void)[] = []
  readonly #producers: Producer[] = []

  constructor(context: KafkaContext) {
    this.#context = context
  }

  /** Rejects with a `PublishError`, whose outcome holds for all messages. */
  async run(
    batch: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
  ): Promise<readonly (Position | undefined)[]> {
    const topics = [...new Set(batch.map(({ topic }) => topic))]
    const name = topics.join('", "')
    let producer: Producer | undefined
    try {
      await Promise.all(topics.map((topic) => this.#context.topics.ensure(topic)))
      producer = await this.#take()
    } catch (error) {
      throw toPublishError(error, name, 'not-sent')
    }
    try {
      // Nothing can be taken back once its end is on the way; what is not must not begin to be sent.
      let isEnding = false
      const done = producer.transaction(async (transaction) => {
        signal?.throwIfAborted()
        const positions = await sendInTransaction(this.#context, transaction, batch, signal)
        signal?.throwIfAborted()
        isEnding = true
        return positions
      })
      return await untilAborted(done, signal, () => abortedError(name, isEnding))
    } catch (error) {
      if (PublishError.is(error)) throw error
      if (signal?.aborted === true && error === signal.reason) throw abortedError(name, false)
      throw toPublishError(error, name)
    } finally {
      this.#giveBack(producer)
    }
  }

  async close(deadlineMs: number): Promise<void> {
    await Promise.all(this.#producers.map((producer) => producer.close({ deadlineMs })))
  }

  /** Transactions of one producer run one after the other, so one that is still being ended may be given on. */
  #take(): Promise<Producer> {
    const idle = this.#idle.pop()
    if (idle !== undefined) return Promise.resolve(idle)
    if (this.#made >= MOST) return new Promise((resolve) => this.#waiting.push(resolve))
    this.#made++
    const producer = transactionalProducer(this.#context, true)
    this.#producers.push(producer)
    return Promise.resolve(producer)
  }

  #giveBack(producer: Producer): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#idle.push(producer)
    else next(producer)
  }
}

/** Settles with `done`, or when the signal aborts with the error that holds then. */
async function untilAborted<T>(
  done: Promise<T>,
  signal: AbortSignal | undefined,
  error: () => PublishError,
): Promise<T> {
  if (signal === undefined) return done
  done.catch(() => {})
  const aborted = Promise.withResolvers<never>()
  aborted.promise.catch(() => {})
  const abort = (): void => aborted.reject(error())
  signal.addEventListener('abort', abort, { once: true })
  try {
    return await Promise.race([done, aborted.promise])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

function abortedError(topics: string, isEnding: boolean): PublishError {
  const what = isEnding ? 'Kafka may have it.' : 'It was not stored.'
  return new PublishError(`The transaction for "${topics}" was given up. ${what}`, {
    outcome: isEnding ? 'unknown' : 'not-sent',
    retryable: true,
  })
}

import { PublishError } from '../../core/errors.ts'
import { bodyBytes } from '../../core/message.ts'
import type { OutgoingMessage, Position } from '../../core/message.ts'
import { tooLarge } from '../../core/publish/size-limit.ts'
import type { PublishOutcome } from '../../core/transport.ts'
import { toPublishError } from './errors.ts'
import { toColumns, toPosition } from './mapping.ts'
import { ThreadRefusedError } from './thread.ts'
import type { DatabaseThread } from './thread.ts'

/**
 * Limit of what is converted for the database thread in one turn of the event loop, so that no turn takes more than a
 * few ms.
 */
const CHUNK_COUNT = 2_000
const CHUNK_BYTES = 4_194_304

export interface PublisherHost {
  readonly path: string
  readonly maxMessageBytes: number
  /** Undefined while it is being replaced after a crash. */
  readonly thread: DatabaseThread | undefined
}

/** Publishes messages to the file. */
export class SqlitePublisher {
  readonly #host: PublisherHost
  /** Resolves when everything of earlier calls has been sent: set while a large batch is sent in chunks. */
  #before: Promise<void> | undefined

  constructor(host: PublisherHost) {
    this.#host = host
  }

  publish(batch: readonly OutgoingMessage[], signal: AbortSignal | undefined): Promise<readonly PublishOutcome[]> {
    if (signal?.aborted) return Promise.resolve(batch.map(() => failure(aborted('not-sent', signal))))
    const whole = this.#before === undefined && chunkEnd(batch, 0) === batch.length
    const outcomes = whole ? this.#send(batch) : this.#sendInChunks(batch, signal)
    return signal === undefined ? outcomes : giveUp(outcomes, batch.length, signal)
  }

  /** Stores all of them or none: the thread stores each command in one transaction. */
  async transaction(
    batch: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
  ): Promise<readonly (Position | undefined)[]> {
    await this.#before
    if (signal?.aborted === true) throw aborted('not-sent', signal)
    const stored = this.#store(batch)
    const outcomes = await (signal === undefined ? stored : giveUp(stored, batch.length, signal))
    return outcomes.map(({ position, error }) => {
      if (error !== undefined) throw error
      return position
    })
  }

  async #sendInChunks(
    batch: readonly OutgoingMessage[],
    signal: AbortSignal | undefined,
  ): Promise<readonly PublishOutcome[]> {
    const before = this.#before
    let handedOver: () => void = () => {}
    const mine = new Promise<void>((resolve) => (handedOver = resolve))
    this.#before = mine
    const parts: Promise<readonly PublishOutcome[]>[] = []
    await before
    for (let start = 0; start < batch.length;) {
      const end = chunkEnd(batch, start)
      const chunk = batch.slice(start, end)
      parts.push(
        signal?.aborted === true
          ? Promise.resolve(chunk.map(() => failure(aborted('not-sent', signal))))
          : this.#send(chunk),
      )
      start = end
      if (start < batch.length) await new Promise((resolve) => setImmediate(resolve))
    }
    handedOver()
    if (this.#before === mine) this.#before = undefined
    return (await Promise.all(parts)).flat()
  }

  #send(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]> {
    let errors: Map<number, PublishError> | undefined
    for (let index = 0; index < batch.length; index++) {
      const message = batch[index] as OutgoingMessage
      // A copy for one group is a redrive: the message is already in the file.
      const error = tooLarge(message, this.#host.maxMessageBytes, 'sqlite')
      if (error !== undefined) (errors ??= new Map()).set(index, error)
    }
    return errors === undefined ? this.#store(batch) : this.#storeRest(batch, errors)
  }

  async #storeRest(
    batch: readonly OutgoingMessage[],
    errors: ReadonlyMap<number, PublishError>,
  ): Promise<readonly PublishOutcome[]> {
    const outcomes = await this.#store(batch.filter((_, index) => !errors.has(index)))
    let next = 0
    return batch.map((_, index) => {
      const error = errors.get(index)
      return error === undefined ? (outcomes[next++] as PublishOutcome) : failure(error)
    })
  }

  async #store(batch: readonly OutgoingMessage[]): Promise<readonly PublishOutcome[]> {
    const { thread, path } = this.#host
    if (batch.length === 0) return []
    if (thread === undefined) {
      const text = 'The message was not sent: the database thread ended unexpectedly and is being started again'
      return batch.map(() => failure(new PublishError(text, { outcome: 'not-sent', retryable: true })))
    }
    const { columns, transfer } = toColumns(batch)
    try {
      const answer = await thread.ask({ kind: 'publish', batch: columns }, transfer)
      const { seqs } = answer as Extract<typeof answer, { kind: 'published' }>
      const outcomes: PublishOutcome[] = []
      for (const seq of seqs) outcomes.push({ position: toPosition(seq) })
      return outcomes
    } catch (error) {
      const refused = error instanceof ThreadRefusedError ? toPublishError(error.thread, path) : lostTrack(error)
      return batch.map(() => failure(refused))
    }
  }
}

function chunkEnd(batch: readonly OutgoingMessage[], start: number): number {
  let bytes = 0
  let end = start
  while (end < batch.length && end - start < CHUNK_COUNT && bytes < CHUNK_BYTES)
    bytes += bodyBytes(batch[end++] as OutgoingMessage)
  return end
}

function giveUp(
  outcomes: Promise<readonly PublishOutcome[]>,
  count: number,
  signal: AbortSignal,
): Promise<readonly PublishOutcome[]> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => resolve(Array.from({ length: count }, () => failure(aborted('unknown', signal))))
    signal.addEventListener('abort', onAbort, { once: true })
    outcomes.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}

function failure(error: PublishError): PublishOutcome {
  return { error }
}

function aborted(outcome: 'not-sent' | 'unknown', signal: AbortSignal): PublishError {
  const text =
    outcome === 'unknown'
      ? 'The wait for the confirmation was aborted; the message may be stored'
      : 'Publishing was aborted before it began'
  return new PublishError(text, { outcome, retryable: true, cause: signal.reason })
}

function lostTrack(cause: unknown): PublishError {
  return new PublishError('The database thread ended before it confirmed the message, which may be stored', {
    outcome: 'unknown',
    retryable: true,
    cause,
  })
}

import type { Clock } from '../clock.ts'
import { NoRespondersError, PublishError, RemoteError, TimeoutError } from '../errors.ts'
import type { BusbarErrorOptions, PublishFailure } from '../errors.ts'
import type { EncodedMessage } from '../message.ts'
import type { RequestOptions } from '../transport.ts'
import { Deadline, Deadlines } from './deadlines.ts'
import type { RequestAnswer } from './running-requests.ts'

const MAX_PENDING = 10_000
const CLOSED = 'the transport was closed'

interface Pending {
  readonly topic: string
  readonly deadline: Deadline
  readonly resolve: (reply: EncodedMessage) => void
  readonly reject: (error: Error) => void
  readonly stopListening: () => void
}

/**
 * Requests that wait for their answers, by number. Each settles once: with its answer, at its time limit, or when its signal or
 * the connection ends it. Whatever comes for a number after that is ignored.
 */
export class PendingRequests {
  readonly #deadlines: Deadlines
  readonly #max: number
  readonly #pending = new Map<number, Pending>()
  #last = 0
  #isClosed = false

  constructor(clock: Clock, max: number = MAX_PENDING) {
    this.#deadlines = new Deadlines(clock)
    this.#max = max
  }

  /** `send` passes the request on under this number; if it throws, the request fails with that error. */
  start(topic: string, { timeoutMs, signal }: RequestOptions, send: (id: number) => void): Promise<EncodedMessage> {
    if (signal?.aborted === true)
      return Promise.reject(requestFailed(topic, 'its signal was aborted', 'not-sent', { cause: signal.reason }))
    if (this.#isClosed) return Promise.reject(requestFailed(topic, CLOSED, 'not-sent'))
    if (this.#pending.size >= this.#max)
      return Promise.reject(requestFailed(topic, `${this.#max} requests are pending, the limit`, 'not-sent'))
    return new Promise((resolve, reject) => {
      const id = ++this.#last
      const onAbort = (): void =>
        this.fail(id, requestFailed(topic, 'its signal was aborted', 'unknown', { cause: signal?.reason }))
      const deadline = new Deadline(() =>
        this.fail(
          id,
          new TimeoutError(
            `No answer to the request for "${topic}" in ${timeoutMs} ms. A responder may have handled it.`,
          ),
        ),
      )
      const stopListening = (): void => signal?.removeEventListener('abort', onAbort)
      this.#deadlines.set(deadline, timeoutMs)
      this.#pending.set(id, { topic, deadline, resolve, reject, stopListening })
      signal?.addEventListener('abort', onAbort)
      try {
        send(id)
      } catch (error) {
        this.fail(id, error as Error)
      }
    })
  }

  /** Undefined when the request has settled: whatever comes for it now is too late. */
  topicOf(id: number): string | undefined {
    return this.#pending.get(id)?.topic
  }

  /** Settles a request with what its responder answered: the reply, or a `RemoteError`. */
  answer(id: number, answer: RequestAnswer): void {
    const request = this.#end(id)
    if (request === undefined) return
    if (answer.reply !== undefined) request.resolve(answer.reply)
    else request.reject(remoteError(request.topic, answer))
  }

  /** The broker reports that no program responds: the request rejects with a `NoRespondersError`. */
  noResponders(id: number): void {
    const request = this.#end(id)
    request?.reject(
      new NoRespondersError(
        `No program responds to requests for "${request.topic}". Is it running, and the topic right?`,
      ),
    )
  }

  /** The request rejects with this error. */
  fail(id: number, error: Error): void {
    this.#end(id)?.reject(error)
  }

  /** The connection is lost, or closed. */
  failAll(why: string): void {
    for (const [id, { topic }] of this.#pending) this.fail(id, requestFailed(topic, why, 'unknown'))
  }

  /** Rejects what is pending, and what comes later; releases the timer. */
  close(): void {
    this.#isClosed = true
    this.failAll(CLOSED)
    this.#deadlines.close()
  }

  #end(id: number): Pending | undefined {
    const request = this.#pending.get(id)
    if (request === undefined) return undefined
    this.#pending.delete(id)
    this.#deadlines.clear(request.deadline)
    request.stopListening()
    return request
  }
}

function remoteError(
  topic: string,
  { failure, isRefusal }: RequestAnswer & { readonly reply?: undefined },
): RemoteError {
  return isRefusal
    ? new RemoteError(`The responder to "${topic}" refused the request: ${failure}`, { retryable: true })
    : new RemoteError(`The responder to "${topic}" failed: ${failure}`)
}

/** A request that ended without an answer. Retryable unless `options` say otherwise. */
export function requestFailed(
  topic: string,
  why: string,
  outcome: PublishFailure,
  options: BusbarErrorOptions = {},
): PublishError {
  const sure = outcome === 'not-sent' ? 'It was not sent.' : 'A responder may have handled it.'
  return new PublishError(`The request for "${topic}" failed: ${why}. ${sure}`, {
    retryable: true,
    ...options,
    outcome,
  })
}

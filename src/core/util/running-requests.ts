import type { Clock } from '../clock.ts'
import type { EncodedMessage } from '../message.ts'
import { tooLarge } from '../publish/size-limit.ts'
import type { Responder, ResponderSpec } from '../transport.ts'
import { describeError } from './describe-error.ts'
import { settledWithin } from './settled-within.ts'

const MAX_FAILURE_CHARS = 1_024

/** A reply, or why there is none. A refused request was certainly not handled. */
export type RequestAnswer =
  | { readonly reply: EncodedMessage }
  | { readonly reply?: undefined; readonly failure: string; readonly isRefusal: boolean }

interface Run {
  /** Answers once; a second call does nothing. */
  readonly answer: (answer: RequestAnswer) => void
  readonly done: Promise<void>
}

/** The requests that one responder is handling: no more than it allows, each answered once. */
export class RunningRequests {
  readonly spec: ResponderSpec
  readonly #responder: Responder
  readonly #clock: Clock
  readonly #tooLarge: (reply: EncodedMessage) => Error | undefined
  readonly #running = new Set<Run>()
  #isClosed = false

  constructor(
    spec: ResponderSpec,
    responder: Responder,
    clock: Clock,
    size: { readonly maxMessageBytes: number; readonly system: string },
  ) {
    this.spec = spec
    this.#responder = responder
    this.#clock = clock
    this.#tooLarge = (reply) => tooLarge(reply, size.maxMessageBytes, size.system)
  }

  /** Handles a request. `send` gets the answer, once, and must not throw. */
  run(request: EncodedMessage, send: (answer: RequestAnswer) => void): void {
    const { maxInFlight } = this.spec
    if (this.#isClosed) return send(refusal('it is closing'))
    if (this.#running.size >= maxInFlight) return send(refusal(`it is handling ${maxInFlight} (maxInFlight)`))
    let isAnswered = false
    const run: Run = {
      answer: (answer) => {
        if (isAnswered) return
        isAnswered = true
        send(answer)
      },
      done: this.#respond(request).then((answer) => {
        this.#running.delete(run)
        run.answer(answer)
      }),
    }
    this.#running.add(run)
  }

  async #respond(request: EncodedMessage): Promise<RequestAnswer> {
    try {
      const reply = await this.#responder(request)
      const error = this.#tooLarge(reply)
      if (error !== undefined) return failureOf(error)
      return { reply: reply.topic === request.topic ? reply : { ...reply, topic: request.topic } }
    } catch (error) {
      return failureOf(error)
    }
  }

  /** Refuses what still comes, and waits for what is running; what is not done by the deadline gets a failure. Never rejects. */
  async close(deadlineMs: number): Promise<void> {
    this.#isClosed = true
    if (this.#running.size === 0) return
    const done = Promise.all([...this.#running].map((run) => run.done))
    if (await settledWithin(this.#clock, deadlineMs, done)) return
    for (const run of this.#running) run.answer(failureOf(new Error('it was closed before it had a reply')))
  }
}

function refusal(failure: string): RequestAnswer {
  return { failure, isRefusal: true }
}

/** The answer to a request whose responder threw: only the text of the error goes to the requester. */
export function failureOf(error: unknown): RequestAnswer {
  return { failure: describeError(error).message.slice(0, MAX_FAILURE_CHARS), isRefusal: false }
}

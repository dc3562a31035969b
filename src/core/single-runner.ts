import { Attempt } from './attempt.ts'
import type { AttemptHost } from './attempt.ts'
import type { AnyEventDefinition } from './define.ts'
import { ValidationError } from './errors.ts'
import type { Handler } from './handler.ts'
import { LinkedList } from './linked-list.ts'
import type { Runner, RunnerHost } from './runner.ts'
import { validate } from './validate.ts'
import type { Work } from './work.ts'

/** Runs a handler for single messages, as many at once as the consumer allows. */
export class SingleRunner implements Runner {
  readonly #host: RunnerHost
  readonly #attemptHost: AttemptHost
  readonly #handler: Handler
  readonly #definition: AnyEventDefinition | undefined
  readonly #running = new LinkedList<Attempt>()
  readonly #onAbandon = (attempt: Attempt, reason: unknown): void => this.#abandon(attempt, reason)
  #pumping = false

  constructor(
    host: RunnerHost,
    attemptHost: AttemptHost,
    handler: Handler,
    definition: AnyEventDefinition | undefined,
  ) {
    this.#host = host
    this.#attemptHost = attemptHost
    this.#handler = handler
    this.#definition = definition
  }

  get running(): number {
    return this.#running.size
  }

  pump(): void {
    // A synchronous handler ends inside of the loop and must not start a second one on top of it.
    if (this.#pumping) return
    this.#pumping = true
    try {
      while (this.#running.size < this.#host.maxConcurrency) {
        const work = this.#host.scheduler.next()
        if (work === undefined) break
        this.#start(work)
      }
    } finally {
      this.#pumping = false
    }
  }

  abort(reason: unknown, only?: (work: Work) => boolean): void {
    for (const attempt of this.#running.toArray()) if (only === undefined || only(attempt.work)) attempt.abort(reason)
  }

  flush(): void {}

  #start(work: Work): void {
    if (!this.#host.begin(work)) return
    const attempt = new Attempt(this.#attemptHost, work, this.#onAbandon)
    this.#running.push(attempt)
    let promise: Promise<unknown> | undefined
    try {
      const result =
        this.#definition?.schema === undefined
          ? this.#handler(work.message, attempt)
          : this.#validateAndHandle(attempt, this.#definition)
      // A foreign promise is wrapped: its `then` may do anything.
      if (result instanceof Promise) promise = result
      else if (isThenable(result)) promise = Promise.resolve(result)
    } catch (error) {
      this.#end(attempt, true, error)
      return
    }
    if (promise === undefined) {
      this.#end(attempt, false, undefined)
      return
    }
    promise.then(
      () => {
        this.#end(attempt, false, undefined)
        this.pump()
      },
      (error: unknown) => {
        this.#end(attempt, true, error)
        this.pump()
      },
    )
  }

  #validateAndHandle(attempt: Attempt, definition: AnyEventDefinition): unknown {
    const { message } = attempt.work
    // The output of an earlier attempt must not go through the schema again.
    if (attempt.work.validated) return this.#handler(message, attempt)
    const accept = (output: unknown): unknown => {
      attempt.work.validated = true
      message.replaceData(output)
      return this.#handler(message, attempt)
    }
    const refuse = (error: unknown): never => {
      if (ValidationError.is(error)) message.invalidError = error
      throw error
    }
    let output: unknown
    try {
      output = validate(
        definition.schema as NonNullable<AnyEventDefinition['schema']>,
        message.data,
        `The data of message ${message.id} on "${message.topic}"`,
      )
    } catch (error) {
      return refuse(error)
    }
    return output instanceof Promise ? output.then(accept, refuse) : accept(output)
  }

  #end(attempt: Attempt, failed: boolean, error: unknown): void {
    if (attempt.over) {
      this.#host.late(attempt.work)
      return
    }
    attempt.end()
    this.#running.remove(attempt)
    if (failed) this.#host.failed(attempt.work, error)
    else this.#host.succeeded(attempt.work)
  }

  #abandon(attempt: Attempt, reason: unknown): void {
    if (attempt.over) return
    attempt.end()
    this.#running.remove(attempt)
    this.#host.abandoned(attempt.work, reason)
    this.pump()
  }
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

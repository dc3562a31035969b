import { Deadline } from './deadlines.ts'
import type { Deadlines } from './deadlines.ts'
import { Queue } from './queue.ts'

/** One publish call that has to wait: for its own messages to be made, or for those of an earlier call. */
class Turn<Made> {
  readonly deadline: Deadline
  readonly signal: AbortSignal | undefined
  readonly onAbort: () => void
  readonly call: WaitingCall<Made>
  made: { readonly value: Made } | undefined
  failed = false

  constructor(call: WaitingCall<Made>, onLate: () => void, onAbort: () => void) {
    this.call = call
    this.deadline = new Deadline(onLate)
    this.signal = call.signal
    this.onAbort = onAbort
  }
}

export interface WaitingCall<Made> {
  readonly topic: string
  readonly making: Made | Promise<Made>
  readonly signal: AbortSignal | undefined
  /** Sends what was made. Called once, or `fail` is. */
  readonly send: (made: Made) => void
  readonly fail: (error: unknown) => void
}

/**
 * Keeps the publish calls of a topic in order while asynchronous schemas are at work: a call keeps the place that it had
 * when it was made. Topics don't wait for each other, and nothing is kept while no schema is at work. Every call ends by its
 * deadline, its signal, or `close`.
 */
export class PublishSequence {
  readonly #topics = new Map<string, Queue<Turn<never>>>()
  readonly #deadlines: Deadlines
  readonly #timeoutMs: number
  readonly #errorFor: (topic: string, reason: 'late' | 'aborted' | 'closed', cause: unknown) => Error
  readonly #onIdle: () => void

  constructor(parts: {
    readonly deadlines: Deadlines
    readonly timeoutMs: number
    readonly errorFor: (topic: string, reason: 'late' | 'aborted' | 'closed', cause: unknown) => Error
    readonly onIdle: () => void
  }) {
    this.#deadlines = parts.deadlines
    this.#timeoutMs = parts.timeoutMs
    this.#errorFor = parts.errorFor
    this.#onIdle = parts.onIdle
  }

  get isIdle(): boolean {
    return this.#topics.size === 0
  }

  /** True when a call for that topic has to wait its turn although its messages are made. */
  isBusy(topic: string): boolean {
    return this.#topics.size > 0 && this.#topics.has(topic)
  }

  add<Made>(call: WaitingCall<Made>): void {
    const { topic, making, signal } = call
    if (signal?.aborted) {
      // What is being made has nowhere to report to any more.
      if (making instanceof Promise) making.catch(() => {})
      call.fail(this.#errorFor(topic, 'aborted', signal.reason))
      return
    }
    const turn: Turn<Made> = new Turn(
      call,
      () => this.#fail(turn, this.#errorFor(topic, 'late', undefined)),
      () => this.#fail(turn, this.#errorFor(topic, 'aborted', signal?.reason)),
    )
    let queue = this.#topics.get(topic)
    if (queue === undefined) this.#topics.set(topic, (queue = new Queue()))
    queue.push(turn as unknown as Turn<never>)
    this.#deadlines.set(turn.deadline, this.#timeoutMs)
    signal?.addEventListener('abort', turn.onAbort, { once: true })
    if (!(making instanceof Promise)) {
      turn.made = { value: making }
      return
    }
    making.then(
      (value) => {
        turn.made = { value }
        this.#advance(topic)
      },
      (error: unknown) => this.#fail(turn, error),
    )
  }

  /** Fails everything that waits. */
  close(): void {
    for (const [topic, queue] of this.#topics) {
      this.#topics.delete(topic)
      for (const turn of queue.drain()) if (!turn.failed) this.#end(turn, this.#errorFor(topic, 'closed', undefined))
    }
  }

  #fail<Made>(turn: Turn<Made>, error: unknown): void {
    const { topic } = turn.call
    if (turn.failed) return
    this.#end(turn, error)
    this.#advance(topic)
  }

  #end<Made>(turn: Turn<Made>, error: unknown): void {
    turn.failed = true
    this.#release(turn)
    turn.call.fail(error)
  }

  #release<Made>(turn: Turn<Made>): void {
    this.#deadlines.clear(turn.deadline)
    turn.signal?.removeEventListener('abort', turn.onAbort)
  }

  /** Sends what is made, up to the first call that is not. */
  #advance(topic: string): void {
    const queue = this.#topics.get(topic)
    if (queue === undefined) return
    for (let turn = queue.peek(); turn !== undefined; turn = queue.peek()) {
      if (turn.failed) {
        queue.shift()
        continue
      }
      if (turn.made === undefined) return
      queue.shift()
      const { call, made } = turn
      this.#release(turn)
      call.send(made.value)
    }
    // A call that `send` led to may have been added meanwhile; it was sent by this loop too.
    this.#topics.delete(topic)
    if (this.#topics.size === 0) this.#onIdle()
  }
}

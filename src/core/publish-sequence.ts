import { Deadline } from './deadlines.ts'
import type { Deadlines } from './deadlines.ts'
import { Queue } from './queue.ts'

/** One publish call that waits for its own messages to be made, or for those of an earlier call. */
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
  /** Sends the messages. Either `send` or `fail` is called, once. */
  readonly send: (made: Made) => void
  readonly fail: (error: unknown) => void
}

/**
 * Keeps the publish calls of a topic in order while asynchronous schemas run. Topics don't wait for each other, and nothing is
 * stored while no schema runs. Every call ends by its deadline, its signal, or `close`.
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

  /** True when a call for this topic must wait its turn even if its messages are made. */
  isBusy(topic: string): boolean {
    return this.#topics.size > 0 && this.#topics.has(topic)
  }

  add<Made>(call: WaitingCall<Made>): void {
    const { topic, making, signal } = call
    if (signal?.aborted) {
      // The messages being made have nowhere to report errors.
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

  /** Fails all waiting calls. */
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

  /** Sends finished calls, up to the first one that is not finished. */
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
    // `send` may have added calls meanwhile; this loop has sent them too.
    this.#topics.delete(topic)
    if (this.#topics.size === 0) this.#onIdle()
  }
}

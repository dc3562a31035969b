// Longer than most files: the turn, the deadline and the end of a call must agree at every step.
import { currentPublish, runPublishing } from '../causality.ts'
import type { Causality } from '../causality.ts'
import type { Clock } from '../clock.ts'
import { Deadline } from '../util/deadlines.ts'
import type { Deadlines } from '../util/deadlines.ts'
import { ConfigurationError, PublishError, StateError } from '../errors.ts'
import { andThen, makeMany, toError } from './make-many.ts'
import type { OutgoingMessage } from '../message.ts'
import type { MessageFactory } from './message-factory.ts'
import { describe } from '../util/options-reader.ts'
import type { PublishCall, PublishCallItem, PublishStep } from './publish-middleware.ts'
import { PUBLISH_CALL_ITEM, refuseUnknown } from './publish-options.ts'
import type { PublishItem, PublishResult } from './publish-options.ts'
import type { OpenCall, Turn } from './publish-sequence.ts'
import { abortedError, closedError } from './publish-errors.ts'
import type { Publisher } from './publisher.ts'
import { sendMany } from './send-made.ts'
import type { Made, MadeMany } from './send-made.ts'

export interface PublishRunParts {
  readonly publisher: Publisher
  readonly factory: MessageFactory
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly timeoutMs: number
  /** What the messages continue. */
  readonly parent: Causality | undefined
  /** When the call was made, in ms since 1970. */
  readonly now: number
}

/** A symbol, so that `{ ...call, items }` still leads to its run. */
const RUN: unique symbol = Symbol('busbar.publish')

export interface RunningCall extends PublishCall {
  [RUN]?: PublishRun
}

type Results = readonly PublishResult[]

/** A `next` whose messages are being made, or wait for their turn. */
interface Waiting {
  readonly turn: Turn
  readonly fail: (error: Error) => void
}

/** The innermost step of every chain: makes the messages and sends them. */
export const lastStep: PublishStep = (call) => runOf(call).send(call)

/** Throws for anything but a call that the bus has made, or a copy of it. */
export function runOf(call: PublishCall): PublishRun {
  const run = (call as RunningCall | undefined)?.[RUN]
  if (run !== undefined) return run
  throw notTheCall(`next takes the call, or a copy with other items, { ...call, items }; got ${describe(call)}`)
}

function transformed(
  message: OutgoingMessage,
  transform: NonNullable<PublishCallItem['transform']>,
): OutgoingMessage | Promise<OutgoingMessage> {
  if (typeof transform !== 'function')
    throw new ConfigurationError('An item of a publish call', [
      { path: 'transform', message: `must be a function, got ${describe(transform)}` },
    ])
  const check = (changed: unknown): OutgoingMessage => {
    const { id, topic, key, body } = (changed ?? {}) as Partial<OutgoingMessage>
    if (
      id === message.id &&
      topic === message.topic &&
      key === message.key &&
      (body === null || body instanceof Uint8Array)
    )
      return changed as OutgoingMessage
    throw new ConfigurationError('An item of a publish call', [
      {
        path: 'transform',
        message: `must return the message with the same id, topic and key, and a Uint8Array or null as its body, such as { ...message, body }; got ${describe(changed)}`,
      },
    ])
  }
  const changed = transform(message)
  return changed instanceof Promise ? changed.then(check) : check(changed)
}

/**
 * One call on its way through the middleware, or one whose messages take time to make. Keeps its turn, and ends it by its
 * deadline, its signal, or close, unless the publisher has its messages: the publisher then does so.
 */
export class PublishRun implements OpenCall {
  previous: OpenCall | undefined = undefined
  next: OpenCall | undefined = undefined
  readonly #parts: PublishRunParts
  readonly #call: RunningCall
  /** The call whose middleware has made this one, and may wait for it. */
  readonly #outer: PublishRun | undefined
  /** 0, or one more than that of `#outer`. */
  readonly #depth: number
  readonly #startedAt: number
  readonly #deadline = new Deadline(() => this.#end(this.#lateError()))
  readonly #onAbort = (): void => this.#aborted()
  /** Reserved while `next` was not called. */
  #turn: Turn | undefined
  /** Most calls wait for nothing. */
  #waiting: Set<Waiting> | undefined
  /** Number of times that `next` has passed messages to the publisher and has no answer yet. */
  #sending = 0
  #isPassedOn = false
  #brokerMayHaveIt = false
  #encoded: OutgoingMessage[] | undefined
  #isSettled = false
  #hasLeft = false
  #ended: Error | undefined
  #resolve: (results: Results) => void = () => {}
  #reject: (error: unknown) => void = () => {}

  /** `call` becomes its own. */
  constructor(parts: PublishRunParts, call: RunningCall) {
    this.#parts = parts
    this.#startedAt = parts.clock.monotonic()
    call[RUN] = this
    this.#call = call
    let outer = currentPublish() as PublishRun | undefined
    // What runs in the scope of a call may outlive it.
    while (outer !== undefined && (outer.#isPassedOn || outer.#isSettled)) outer = outer.#outer
    this.#outer = outer
    this.#depth = outer === undefined ? 0 : outer.#depth + 1
  }

  /** Runs the chain. Rejects with what the chain throws, or with why the call ended before the chain did. */
  run(chain: PublishStep): Promise<Results> {
    return new Promise((resolve, reject) => {
      this.#resolve = resolve
      this.#reject = reject
      this.#start(chain)
    })
  }

  /** The message of the last `next` that has that id. For the mode `encode`. */
  encoded(id: string): OutgoingMessage | undefined {
    return this.#encoded?.findLast((message) => message.id === id)
  }

  #start(chain: PublishStep): void {
    const { signal, mode } = this.#call
    if (signal?.aborted === true) return this.#reject(abortedError(this.#call.topic, 'not-sent', signal.reason))
    // First: it throws if the signal is not an AbortSignal, and a call that has entered holds up close until it leaves.
    signal?.addEventListener('abort', this.#onAbort, { once: true })
    this.#parts.publisher.sequence.enter(this)
    const results = runPublishing(this, () => chain(this.#call))
    // A middleware waits: calls that follow from now on come after this one.
    if (mode === 'send' && !this.#isPassedOn) this.#turn = this.#reserve()
    if (this.#sending === 0) this.#watch()
    results.then(
      (settled) => this.#settle(() => this.#resolve(settled)),
      (error: unknown) => this.#settle(() => this.#reject(error)),
    )
  }

  #reserve(): Turn {
    return this.#parts.publisher.sequence.reserve(this.#call.topic, this.#depth)
  }

  // --- the last step -------------------------------------------------------------------------------------------------

  /** What the innermost `next` calls: any number of times, with all items or some. */
  send(call: PublishCall): Promise<Results> {
    const problem = this.#problemOf(call)
    if (problem !== undefined) return Promise.reject(notTheCall(problem))
    const { items } = call
    if (this.#ended !== undefined) return Promise.resolve(failures(items, this.#ended))
    if (this.#isSettled) return Promise.resolve(failures(items, calledLate(call)))
    const made = this.#make(items)
    return call.mode === 'encode' ? this.encodeMade(items, made) : this.sendMade(items, made)
  }

  sendMade(items: readonly PublishItem[], made: MadeMany): Promise<Results> {
    const { topic } = this.#call
    const startedAt = this.#isPassedOn ? this.#parts.clock.monotonic() : this.#startedAt
    this.#isPassedOn = true
    let turn = this.#turn
    this.#turn = undefined
    const { sequence } = this.#parts.publisher
    if (turn === undefined && !(made instanceof Promise) && !sequence.isBusy(topic))
      return this.#pass(items, made, startedAt)
    turn ??= this.#reserve()
    turn.depth = Infinity
    return this.#passInTurn(turn, items, made, startedAt)
  }

  #problemOf(call: PublishCall): string | undefined {
    const { topic, event, transport, signal, mode } = this.#call
    const isSame =
      call.topic === topic &&
      call.event === event &&
      call.transport === transport &&
      call.signal === signal &&
      call.mode === mode
    if (!isSame)
      return 'a publish middleware may only change the items of a call; topic, event, transport, signal and mode stay'
    return Array.isArray(call.items) ? undefined : `items must be a list, got ${describe(call.items)}`
  }

  #make(items: readonly PublishCallItem[]): MadeMany {
    const { event, topic } = this.#call
    const { factory, parent, now, publisher } = this.#parts
    const { hasTombstones, accept } = publisher
    return makeMany(items, (item) => {
      refuseUnknown('An item of a publish call', item, PUBLISH_CALL_ITEM)
      const { transform } = item
      const made = factory.make(event ?? topic, item.data, item, parent, hasTombstones, now)
      const message = transform === undefined ? made : andThen(made, (whole) => transformed(whole, transform))
      return andThen(message, accept)
    })
  }

  #passInTurn(turn: Turn, items: readonly PublishItem[], making: MadeMany, startedAt: number): Promise<Results> {
    const { sequence } = this.#parts.publisher
    return new Promise((resolve) => {
      const waiting: Waiting = { turn, fail: (error) => resolve(failures(items, error)) }
      const made = (messages: Made): void => {
        if (this.#waiting?.has(waiting) !== true) return
        const pass = (): void => {
          this.#waiting?.delete(waiting)
          resolve(this.#pass(items, messages, startedAt))
        }
        if (messages.some((one) => !(one instanceof Error))) return sequence.ready(turn, pass)
        // Nothing to send: no reason to wait.
        pass()
        sequence.giveUp(turn)
      }
      this.#waiting ??= new Set()
      this.#waiting.add(waiting)
      if (making instanceof Promise) void making.then(made)
      else made(making)
      if (this.#waiting.has(waiting) && this.#deadline.tick < 0) this.#watch()
    })
  }

  #pass(items: readonly PublishItem[], made: Made, startedAt: number): Promise<Results> {
    this.#sending++
    if (!this.#isWaiting) this.#parts.deadlines.clear(this.#deadline)
    return new Promise((resolve) => {
      sendMany(this.#parts.publisher, items, made, this.#call.signal, startedAt, (results) => {
        this.#sending--
        this.#brokerMayHaveIt ||= results.some(
          ({ error }) => error === undefined || (PublishError.is(error) && error.outcome === 'unknown'),
        )
        resolve(results)
        if (!this.#leaveIfDone()) this.#watch()
      })
    })
  }

  async encodeMade(items: readonly PublishItem[], making: MadeMany): Promise<Results> {
    const made = making instanceof Promise ? await making : making
    return made.map((one, index): PublishResult => {
      const { id = '' } = items[index] ?? {}
      if (one instanceof Error) return { id, error: one }
      this.#encoded ??= []
      this.#encoded.push(one)
      return { id: one.id, position: undefined }
    })
  }

  // --- how it ends ---------------------------------------------------------------------------------------------------

  /** The error for results that are not one per item. `who` names the middleware that returned them. */
  wrongResults(who: string, problem: string): PublishError {
    return new PublishError(
      `The publish middleware ${who} must return the results of next(call), or one { id, position } or { id, error } for each item, but ${problem}`,
      { outcome: this.#outcome },
    )
  }

  close(): void {
    this.#end(closedError(this.#outcome))
  }

  get #outcome(): 'not-sent' | 'unknown' {
    return this.#sending > 0 || this.#brokerMayHaveIt ? 'unknown' : 'not-sent'
  }

  get #isWaiting(): boolean {
    return this.#waiting !== undefined && this.#waiting.size > 0
  }

  /** The chain has ended. A `next` that it did not wait for continues. */
  #settle(settle: () => void): void {
    this.#isSettled = true
    settle()
    if (this.#turn !== undefined) this.#parts.publisher.sequence.giveUp(this.#turn)
    this.#turn = undefined
    this.#leaveIfDone()
  }

  #leaveIfDone(): boolean {
    const isDone = this.#isSettled && !this.#isWaiting && this.#sending === 0
    if (isDone && !this.#hasLeft) this.#leave()
    return isDone
  }

  #leave(): void {
    this.#hasLeft = true
    this.#parts.deadlines.clear(this.#deadline)
    this.#call.signal?.removeEventListener('abort', this.#onAbort)
    this.#parts.publisher.sequence.leave(this)
  }

  /** Bounds the wait for middleware, schemas and calls ahead, while the publisher has none of its messages. */
  #watch(): void {
    if (this.#ended === undefined) this.#parts.deadlines.set(this.#deadline, this.#parts.timeoutMs)
  }

  #aborted(): void {
    const { topic, signal } = this.#call
    // The publisher has the same signal.
    if (this.#sending === 0) this.#end(abortedError(topic, this.#outcome, signal?.reason))
    else this.#failWaiting(abortedError(topic, 'not-sent', signal?.reason))
  }

  #end(error: Error): void {
    if (this.#ended !== undefined) return
    this.#ended = error
    this.#failWaiting(error)
    this.#settle(() => this.#reject(error))
  }

  #failWaiting(error: Error): void {
    for (const { turn, fail } of this.#waiting ?? []) {
      fail(error)
      this.#parts.publisher.sequence.giveUp(turn)
    }
    this.#waiting?.clear()
  }

  #lateError(): PublishError {
    const outcome = this.#outcome
    const { topic } = this.#call
    const waited =
      outcome === 'not-sent'
        ? 'for a schema, a codec or a publish middleware to answer: that of the message, or of one published before it. It was not sent.'
        : 'for a publish middleware after the message had been sent. The broker may have it.'
    return new PublishError(`Publishing to "${topic}" waited ${this.#parts.timeoutMs} ms ${waited}`, {
      outcome,
      retryable: true,
    })
  }
}

/** The same error for each item. */
export function failures(items: readonly PublishItem[], reason: unknown): Results {
  const error = toError(reason)
  return items.map((item) => ({ id: (item as PublishItem | undefined)?.id ?? '', error }))
}

function calledLate({ topic }: PublishCall): StateError {
  return new StateError(
    `A publish middleware called next for "${topic}" after its call had ended. Nothing was sent: call next before the promise that it returns settles`,
  )
}

function notTheCall(message: string): ConfigurationError {
  return new ConfigurationError('next of a publish middleware', [{ path: 'call', message }])
}

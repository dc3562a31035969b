import type { PublishError } from './errors.ts'
import type { BusEventMap } from './events.ts'
import type { BatchContext, BatchItemResult, HandlerContext } from './handler.ts'
import { logSafely } from './logger.ts'
import type { Logger } from './logger.ts'
import type { EncodedMessage, Message, OutgoingMessage } from './message.ts'
import { describe } from './util/options-reader.ts'
import type { Settlement, SettlementFailure, TransportIdentity } from './transport.ts'

/** An attempt to open a transport. */
export interface ObservedConnect {
  readonly transport: TransportIdentity
  /** 1 for the first attempt of this call of `start()`. */
  readonly attempt: number
}

/** How an attempt to open a transport ended. */
export interface ConnectEnd {
  readonly durationMs: number
  /** Why it failed; undefined when the transport is open. */
  readonly error: unknown
}

/** Messages of one call to the transport: those that the publish calls of one turn of the event loop made. */
export interface ObservedPublish {
  readonly transport: TransportIdentity
  readonly messages: readonly OutgoingMessage[]
}

/** How a call to the transport ended. */
export interface PublishEnd {
  /** Time since the messages were passed to the transport, in ms. */
  readonly durationMs: number
  /** Messages that were not confirmed, each with its error; empty when all were. */
  readonly failures: ReadonlyMap<EncodedMessage, PublishError>
}

/** How an attempt ended. */
export interface HandleEnd {
  /** Running time of the handler in ms, with its middleware and the validation, and without the ack. */
  readonly durationMs: number
  /** False when the handler (or the validation) threw, called `ctx.reject` or `ctx.retry`, or was abandoned. */
  readonly ok: boolean
  /** What it threw. */
  readonly error: unknown
}

/** How a batch ended. */
export interface BatchEnd {
  readonly durationMs: number
  /** Results of all messages, in their order; also of those that could not be decoded, which the handler did not see. */
  readonly results: readonly BatchItemResult[]
}

/** Outcomes that are settled in one call. */
export interface ObservedSettle {
  readonly transport: TransportIdentity
  readonly topic: string
  readonly group: string
  readonly consumerId: string
  readonly settlements: readonly Settlement[]
}

/** How a settlement ended. */
export interface SettleEnd {
  readonly durationMs: number
  /** What the broker did not accept; empty when it accepted everything. */
  readonly failures: readonly SettlementFailure[]
}

/**
 * Watches what a bus does: for tracing, metrics and audits. Add one with `bus.observe`. Every method is optional, and more may be
 * added in later versions. What a `…Start` method returns is passed to its `…End` method, so an observer needs no map of what is
 * under way. Nothing is measured or allocated without an observer for it.
 *
 * Methods run synchronously on the hot path: keep them short. One that throws is logged and changes nothing. To change messages
 * or the course of a handler, use middleware.
 *
 *     const off = bus.observe({
 *       handleStart: () => performance.now(),
 *       handleEnd: (message, ctx, { ok }, startedAt) => histogram.record(performance.now() - startedAt, { topic: message.topic, ok }),
 *     })
 */
export interface BusObserver<
  PublishState = unknown,
  HandleState = unknown,
  BatchState = unknown,
  SettleState = unknown,
  ConnectState = unknown,
> {
  /** `start()` tries to open a transport. What a transport does by itself after that is in the events `disconnect` and `reconnect`. */
  connectStart?(connect: ObservedConnect): ConnectState
  /** The transport is open, or the attempt has failed. */
  connectEnd?(connect: ObservedConnect, end: ConnectEnd, state: ConnectState): void
  /** Messages are passed to the transport. */
  publishStart?(publish: ObservedPublish): PublishState
  /** Every message of the call is confirmed or has failed. */
  publishEnd?(publish: ObservedPublish, end: PublishEnd, state: PublishState): void
  /** An attempt begins: its data is not validated yet. Not called for batch handlers. */
  handleStart?(message: Message, ctx: HandlerContext): HandleState
  /** The handler has ended, or was abandoned. Called once for each `handleStart`, unless the bus is closed by force first. */
  handleEnd?(message: Message, ctx: HandlerContext, end: HandleEnd, state: HandleState): void
  /** A batch begins: its messages are not validated yet. */
  batchStart?(messages: readonly Message[], ctx: BatchContext): BatchState
  /** The batch has ended, or was abandoned. */
  batchEnd?(messages: readonly Message[], ctx: BatchContext, end: BatchEnd, state: BatchState): void
  /** Outcomes are passed to the transport: acks, and messages that are retried, returned or dead-lettered. */
  settleStart?(settle: ObservedSettle): SettleState
  /** The broker has accepted or refused the outcomes. */
  settleEnd?(settle: ObservedSettle, end: SettleEnd, state: SettleState): void
  /** As the event `retry`. */
  retry?(event: BusEventMap['retry']): void
  /** As the event `deadLetter`. */
  deadLetter?(event: BusEventMap['deadLetter']): void
  /** As the event `connect`. */
  connect?(event: BusEventMap['connect']): void
}

/** What the start methods get. Their end methods get the same, then what happened, then what the start method returned. */
interface Starts {
  readonly connect: readonly [connect: ObservedConnect]
  readonly publish: readonly [publish: ObservedPublish]
  readonly handle: readonly [message: Message, ctx: HandlerContext]
  readonly batch: readonly [messages: readonly Message[], ctx: BatchContext]
  readonly settle: readonly [settle: ObservedSettle]
}

interface Ends {
  readonly connect: ConnectEnd
  readonly publish: PublishEnd
  readonly handle: HandleEnd
  readonly batch: BatchEnd
  readonly settle: SettleEnd
}

type Kind = keyof Starts
type Method = (this: BusObserver, ...args: readonly unknown[]) => unknown

const METHODS = [
  'connectStart',
  'connectEnd',
  'publishStart',
  'publishEnd',
  'handleStart',
  'handleEnd',
  'batchStart',
  'batchEnd',
  'settleStart',
  'settleEnd',
  'retry',
  'deadLetter',
  'connect',
] as const satisfies readonly (keyof BusObserver)[]

const KINDS = ['connect', 'publish', 'handle', 'batch', 'settle'] as const

/** Something under way: what it is, which observers saw it start, and what each of them returned. */
export interface Observation<Of extends Kind> {
  readonly kind: Of
  readonly of: Starts[Of]
  readonly observers: readonly BusObserver[]
  readonly states: readonly unknown[]
}

/** The observers of one bus. Called on the hot path, so the list for each kind is kept ready. */
export class Observers {
  readonly #logger: Logger
  #all: readonly { readonly observer: BusObserver }[] = []
  readonly #of: Record<Kind, readonly BusObserver[]> = {
    connect: [],
    publish: [],
    handle: [],
    batch: [],
    settle: [],
  }
  /** Whether an observer watches this kind. Kept ready: it is read for every message. */
  readonly watched: Record<Kind, boolean> = {
    connect: false,
    publish: false,
    handle: false,
    batch: false,
    settle: false,
  }

  constructor(logger: Logger) {
    this.#logger = logger
  }

  /** Adds an observer, until the returned function is called. What is under way then still ends for it. */
  add(observer: BusObserver): () => void {
    const entry = { observer }
    this.#replace([...this.#all, entry])
    return () => this.#replace(this.#all.filter((other) => other !== entry))
  }

  #replace(all: readonly { readonly observer: BusObserver }[]): void {
    this.#all = all
    for (const kind of KINDS) {
      this.#of[kind] = all
        .map(({ observer }) => observer)
        .filter((each) => each[`${kind}Start`] !== undefined || each[`${kind}End`] !== undefined)
      this.watched[kind] = this.#of[kind].length > 0
    }
  }

  /** Undefined when no observer watches this kind. */
  start<Of extends Kind>(kind: Of, ...of: Starts[Of]): Observation<Of> | undefined {
    const observers = this.#of[kind]
    if (observers.length === 0) return undefined
    const states: unknown[] = []
    for (const observer of observers)
      states.push(this.#call(observer, `${kind}Start`, observer[`${kind}Start`] as Method | undefined, of))
    return { kind, of, observers, states }
  }

  end<Of extends Kind>({ kind, of, observers, states }: Observation<Of>, end: Ends[Of]): void {
    for (const [index, observer] of observers.entries()) {
      const method = observer[`${kind}End`] as Method | undefined
      this.#call(observer, `${kind}End`, method, [...of, end, states[index]])
    }
  }

  #call(observer: BusObserver, name: string, method: Method | undefined, args: readonly unknown[]): unknown {
    const blame = (error: unknown): undefined =>
      logSafely(this.#logger, { err: error, method: name }, 'an observer of the bus threw') as undefined
    try {
      const result = method?.apply(observer, args as unknown[])
      // An async method is a mistake that types can't catch; its rejection must not end the process.
      if (result instanceof Promise) result.catch(blame)
      return result
    } catch (error) {
      return blame(error)
    }
  }
}

/** Says what is wrong with an observer, or returns undefined. A misspelt method would never be called. */
export function observerProblem(observer: unknown): string | undefined {
  if (typeof observer !== 'object' || observer === null)
    return `must be an object with methods such as handleEnd, got ${describe(observer)}`
  const methods = METHODS.filter((name) => (observer as Record<string, unknown>)[name] !== undefined)
  const wrong = methods.find((name) => typeof (observer as Record<string, unknown>)[name] !== 'function')
  if (wrong !== undefined) return `has a ${wrong} that is not a function`
  return methods.length === 0 ? `has none of these methods: ${METHODS.join(', ')}` : undefined
}

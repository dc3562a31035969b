import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks'
import type { EncodedMessage } from './message.ts'

/** What a new message continues: the message being handled, or the context of an HTTP request. */
export type Causality = Partial<Pick<EncodedMessage, 'id' | 'correlationId' | 'traceparent' | 'tracestate'>>

/** A conversation that does not start with a message: for `bus.within`. */
export interface CausalityContext {
  /** Id of the conversation. Default: the causation id, or a new conversation for each message. */
  readonly correlationId?: string | undefined
  /** Id of the request, job or command that causes the messages. */
  readonly causationId?: string | undefined
  /** W3C trace context. If malformed, it is ignored together with `tracestate`. */
  readonly traceparent?: string | undefined
  /** W3C trace state; belongs to `traceparent`. */
  readonly tracestate?: string | undefined
}

/** What waits for the code of a scope when it closes: a bus, and the consumer whose handler it is. */
export interface ScopeOwner {
  readonly bus: object
  readonly consumer?: object
}

export type HandlerOwner = Required<ScopeOwner>

/** What is running: a consumer's handler, `bus.within`, an extension that drains or closes, or a publish middleware. */
interface Scope {
  /** Undefined in a batch handler, where any of the messages may be the cause. */
  readonly cause: Causality | undefined
  readonly run: Run | undefined
  /** The publish call whose middleware is running. */
  readonly publishing?: object | undefined
}

/** What runs for an owner. `isDetached` is true once the runtime no longer waits for it. */
export interface Run {
  readonly owner: ScopeOwner
  readonly isDetached: boolean
}

/** A run of a handler: its context is its scope, so that no other object is needed for each message. */
export interface HandlerRun extends Run, Scope {}

const NO_SCOPE: Scope = Object.freeze({ cause: undefined, run: undefined })

// Shared by all buses of the process: a handler that publishes on another bus continues the conversation too.
const scopes = new AsyncLocalStorage<Scope | undefined>()

/** Version, trace id, parent id and flags, in lower-case hexadecimal (https://www.w3.org/TR/trace-context/#traceparent-header). */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/

export function isTraceparent(value: unknown): boolean {
  return typeof value === 'string' && TRACEPARENT.test(value)
}

/** What a message published now would continue. */
export function currentCause(): Causality | undefined {
  return scopes.getStore()?.cause
}

/** The message whose handler is running. Undefined in a batch handler. */
export function currentlyHandled(): EncodedMessage | undefined {
  const scope = scopes.getStore()
  return scope?.run === undefined ? undefined : (scope.cause as EncodedMessage | undefined)
}

/** The publish call whose middleware is running: what `runPublishing` was given. */
export function currentPublish(): object | undefined {
  return scopes.getStore()?.publishing
}

/** Runs `call`, a chain of publish middleware, so that what it publishes is known to be inside of `publishing`. */
export function runPublishing<Result>(publishing: object, call: () => Result): Result {
  const outer = scopes.getStore()
  const { cause, run } = outer ?? NO_SCOPE
  return scopes.run({ cause, run, publishing }, call)
}

/**
 * Runs `call` outside of any handler's scope. For work that the runtime starts inside a handler but that does not belong to it:
 * a batch of publishes, a listener. Otherwise it would keep the message alive, and its publishes would claim that message as
 * their cause.
 */
export function outsideHandlers<Result>(call: () => Result): Result {
  return scopes.getStore() === undefined ? call() : scopes.run(undefined, call)
}

export function runWithin<Result>(context: CausalityContext, call: () => Result): Result {
  const { causationId, correlationId, traceparent, tracestate } = context
  const cause: Causality = {
    ...(causationId !== undefined && { id: causationId }),
    ...(correlationId !== undefined && { correlationId }),
    // A request may send anything; W3C asks to start a new trace rather than fail.
    ...(isTraceparent(traceparent) && { traceparent, ...(tracestate !== undefined && { tracestate }) }),
  }
  return scopes.run({ cause, run: undefined, publishing: currentPublish() }, call)
}

/**
 * Wraps a handler, or a batch handler, so that what it publishes with `bus.publish` continues what it handles. Its runner must
 * call it with a `HandlerRun`. Each run starts in the async context in which the handler was wrapped, not in that of the
 * transport's callback, which means nothing to a handler; and entering a scope from a context without one takes a third of the
 * time.
 */
export function scoped<Input, Context extends object, Result>(
  handler: (input: Input, ctx: Context) => Result,
): (input: Input, ctx: Context) => Result {
  const run = (input: Input, ctx: Context): Result => {
    scopes.enterWith(ctx as Context & HandlerRun)
    return handler(input, ctx)
  }
  const resource = outsideHandlers(() => new AsyncResource('BusbarHandler'))
  return (input, ctx) => resource.runInAsyncScope(run, undefined, input, ctx)
}

/**
 * Runs `drain` or `close` of an extension, which closing `bus` waits for. Inherits nothing from a handler that closes the
 * bus.
 */
export async function runClosing(bus: object, call: () => void | Promise<void>): Promise<void> {
  const run = { owner: { bus }, isDetached: false }
  try {
    await scopes.run({ cause: undefined, run }, call)
  } finally {
    run.isDetached = true
  }
}

/** True in code that closing this bus or consumer waits for: waiting for the close here would deadlock. */
export function holdsUpCloseOf(of: { readonly bus: object } | { readonly consumer: object }): boolean {
  const run = scopes.getStore()?.run
  if (run === undefined || run.isDetached) return false
  return 'bus' in of ? run.owner.bus === of.bus : run.owner.consumer === of.consumer
}

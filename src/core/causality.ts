import { AsyncLocalStorage } from 'node:async_hooks'
import type { EncodedMessage } from './message.ts'

/** What a new message continues: the message that is being handled, or what an HTTP request said. */
export type Causality = Partial<Pick<EncodedMessage, 'id' | 'correlationId' | 'traceparent' | 'tracestate'>>

/** Where a conversation comes from when it does not come from a message: for `bus.within`. */
export interface CausalityContext {
  /** The conversation. Default: the causation id, or a new conversation for each message. */
  readonly correlationId?: string | undefined
  /** Id of what causes the messages: of a request, a job, a command. */
  readonly causationId?: string | undefined
  /** W3C trace context. One that is malformed is ignored, with its `tracestate`. */
  readonly traceparent?: string | undefined
  /** Goes with `traceparent`. */
  readonly tracestate?: string | undefined
}

/** The context of a handler, as the runtime makes it: it knows whether the handler is still waited for. */
interface Ending {
  readonly isDetached?: boolean
}

/** What runs right now: a handler of a consumer, or a function given to `bus.within`. */
interface Scope {
  /** Undefined in a batch handler, where any of several messages may be the cause. */
  readonly cause: Causality | undefined
  readonly owner: object | undefined
  readonly consumer: object | undefined
  readonly ctx: Ending | undefined
}

// One for all buses of the process: a handler that publishes on another bus continues the conversation too.
const scopes = new AsyncLocalStorage<Scope | undefined>()

/** Version, trace id, parent id and flags, in lower-case hexadecimal (https://www.w3.org/TR/trace-context/#traceparent-header). */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(-.*)?$/

export function isTraceparent(value: unknown): boolean {
  return typeof value === 'string' && TRACEPARENT.test(value)
}

/** What a message that is published here and now continues. */
export function currentCause(): Causality | undefined {
  return scopes.getStore()?.cause
}

/**
 * Runs `call` outside of every handler. For what the runtime starts from within one and what goes on after it: a batch of
 * publishes, a listener. It would otherwise keep the message alive, and what it publishes would claim to come of it.
 */
export function outsideHandlers<Result>(call: () => Result): Result {
  return scopes.getStore() === undefined ? call() : scopes.run(undefined, call)
}

export function runWithin<Result>(context: CausalityContext, call: () => Result): Result {
  const { causationId, correlationId, traceparent, tracestate } = context
  const cause: Causality = {
    ...(causationId !== undefined && { id: causationId }),
    ...(correlationId !== undefined && { correlationId }),
    // Requests bring any text; W3C has a trace begin anew rather than fail.
    ...(isTraceparent(traceparent) && { traceparent, ...(tracestate !== undefined && { tracestate }) }),
  }
  return scopes.run({ cause, owner: undefined, consumer: undefined, ctx: undefined }, call)
}

/**
 * Wraps a handler, or a batch handler, so that what it publishes with `bus.publish` continues what `causeOf` finds in its
 * first argument. `owner` is its bus. The scope is entered and not left again, because each change costs as much as the
 * first: call it within `leavingHandlers`, or where nothing else runs afterwards.
 */
export function scoped<Input, Context extends object, Result>(
  handler: (input: Input, ctx: Context) => Result,
  causeOf: (input: Input) => Causality | undefined,
  owner: object,
  consumer: object,
): (input: Input, ctx: Context) => Result {
  return (input, ctx) => {
    scopes.enterWith({ cause: causeOf(input), owner, consumer, ctx })
    return handler(input, ctx)
  }
}

/** Runs `call`, which may run any number of handlers, and then leaves the last one's scope. */
export function leavingHandlers(call: () => void): void {
  const outer = scopes.getStore()
  try {
    call()
  } finally {
    if (scopes.getStore() !== outer) scopes.enterWith(outer)
  }
}

/** True in a handler of that bus, or of that consumer, that has not ended: waiting for it here would wait for ourselves. */
export function isInsideHandlerOf(of: { readonly owner: object } | { readonly consumer: object }): boolean {
  const scope = scopes.getStore()
  if (scope?.ctx === undefined) return false
  const isOurs = 'owner' in of ? scope.owner === of.owner : scope.consumer === of.consumer
  return isOurs && scope.ctx.isDetached !== true
}

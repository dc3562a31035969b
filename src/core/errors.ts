/** Every code that a Busbar error can have. Stable: branch on the code, not on the message. */
export type ErrorCode =
  | 'BUSBAR_CONFIGURATION'
  | 'BUSBAR_UNSUPPORTED'
  | 'BUSBAR_STATE'
  | 'BUSBAR_CONNECTION'
  | 'BUSBAR_AUTHORIZATION'
  | 'BUSBAR_PUBLISH'
  | 'BUSBAR_SETTLEMENT'
  | 'BUSBAR_CODEC'
  | 'BUSBAR_VALIDATION'
  | 'BUSBAR_TIMEOUT'
  | 'BUSBAR_CONFLICT'
  | 'BUSBAR_REMOTE'
  | 'BUSBAR_NO_RESPONDERS'
  | 'BUSBAR_REJECT'
  | 'BUSBAR_INTERRUPTED'
  | 'BUSBAR_EXTENSION'
  | 'BUSBAR_COMMIT_UNKNOWN'

// A registered symbol, so that two copies of the package in one process recognize each other's errors.
const brand = Symbol.for('busbar.error')

/** What every error of Busbar can be created with. */
export interface BusbarErrorOptions {
  readonly cause?: unknown
  readonly retryable?: boolean
}

/**
 * Base class of every error that Busbar itself throws. Errors thrown by handlers are never wrapped. Use `BusbarError.is(error)`
 * rather than `instanceof`: it also works across two copies of the package.
 */
export class BusbarError extends Error {
  readonly code: ErrorCode
  /** True when the same call, unchanged, can succeed later. */
  readonly retryable: boolean

  constructor(code: ErrorCode, message: string, options: BusbarErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.retryable = options.retryable ?? false
    Object.defineProperty(this, brand, { value: true })
  }

  /** True for any error of this class, whichever copy of the package created it. */
  static is(this: void, value: unknown): value is BusbarError {
    return typeof value === 'object' && value !== null && brand in value
  }

  override get name(): string {
    return this.constructor.name
  }
}

/** Checks the code, which also works for errors of another copy of the package. */
function hasCode(value: unknown, code: ErrorCode): boolean {
  return BusbarError.is(value) && value.code === code
}

/** One problem of an options object. */
export interface Problem {
  /** Where: `retry.attempts`. */
  readonly path: string
  /** What, and what to do: `must be an integer >= 1, got "5"`. */
  readonly message: string
}

/** Options are invalid. Thrown at once with every problem found, before anything is opened. Not retryable. */
export class ConfigurationError extends BusbarError {
  readonly problems: readonly Problem[]

  constructor(subject: string, problems: readonly Problem[], options: { cause?: unknown } = {}) {
    const lines = problems.map((problem) =>
      problem.path === '' ? `  - ${problem.message}` : `  - ${problem.path}: ${problem.message}`,
    )
    super('BUSBAR_CONFIGURATION', `${subject} has invalid options:\n${lines.join('\n')}`, options)
    this.problems = problems
  }

  static override is(this: void, value: unknown): value is ConfigurationError {
    return hasCode(value, 'BUSBAR_CONFIGURATION')
  }
}

/** The transport can't do what was asked. For a consumer, thrown by `consume()`, not at the first message. Not retryable. */
export class UnsupportedError extends BusbarError {
  constructor(message: string) {
    super('BUSBAR_UNSUPPORTED', message)
  }

  static override is(this: void, value: unknown): value is UnsupportedError {
    return hasCode(value, 'BUSBAR_UNSUPPORTED')
  }
}

/** The call is not allowed in the current state, such as a publish after `close()`. Not retryable. */
export class StateError extends BusbarError {
  constructor(message: string) {
    super('BUSBAR_STATE', message)
  }

  static override is(this: void, value: unknown): value is StateError {
    return hasCode(value, 'BUSBAR_STATE')
  }
}

/** The broker can't be reached, or the connection to it was lost. Retryable. */
export class ConnectionError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_CONNECTION', message, { retryable: true, ...options })
  }

  static override is(this: void, value: unknown): value is ConnectionError {
    return hasCode(value, 'BUSBAR_CONNECTION')
  }
}

/** The broker refused the credentials or denied a permission. Not retryable. */
export class AuthorizationError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_AUTHORIZATION', message, options)
  }

  static override is(this: void, value: unknown): value is AuthorizationError {
    return hasCode(value, 'BUSBAR_AUTHORIZATION')
  }
}

/** `not-sent`: the broker certainly does not have the message. `unknown`: it may have it (sent, but not answered). */
export type PublishFailure = 'not-sent' | 'unknown'

/**
 * A message was not confirmed, or a request ended without an answer. `outcome` says whether the broker, or a responder, may have it
 * anyway.
 */
export class PublishError extends BusbarError {
  readonly outcome: PublishFailure

  constructor(message: string, options: BusbarErrorOptions & { readonly outcome: PublishFailure }) {
    super('BUSBAR_PUBLISH', message, options)
    this.outcome = options.outcome
  }

  static override is(this: void, value: unknown): value is PublishError {
    return hasCode(value, 'BUSBAR_PUBLISH')
  }
}

/** A delivery could not be settled: its lease, partition or connection was lost. The broker delivers it again. */
export class SettlementError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_SETTLEMENT', message, options)
  }

  static override is(this: void, value: unknown): value is SettlementError {
    return hasCode(value, 'BUSBAR_SETTLEMENT')
  }
}

/** A body can't be encoded or decoded. On consume, the message is dead-lettered. Not retryable. */
export class CodecError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_CODEC', message, options)
  }

  static override is(this: void, value: unknown): value is CodecError {
    return hasCode(value, 'BUSBAR_CODEC')
  }
}

/** One problem found by a schema: where in the data, and what. */
export interface ValidationIssue {
  readonly path: string
  readonly message: string
}

/** Data, a header or a topic name is invalid. On publish, the call rejects with it; on consume, the message is dead-lettered. */
export class ValidationError extends BusbarError {
  readonly issues: readonly ValidationIssue[]

  constructor(message: string, issues: readonly ValidationIssue[] = []) {
    const details = issues.map((issue) => (issue.path === '' ? issue.message : `${issue.path}: ${issue.message}`))
    super('BUSBAR_VALIDATION', details.length === 0 ? message : `${message}: ${details.join('; ')}`)
    this.issues = issues
  }

  static override is(this: void, value: unknown): value is ValidationError {
    return hasCode(value, 'BUSBAR_VALIDATION')
  }
}

/** A time limit was exceeded. The message names the operation and the limit. */
export class TimeoutError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_TIMEOUT', message, { retryable: true, ...options })
  }

  static override is(this: void, value: unknown): value is TimeoutError {
    return hasCode(value, 'BUSBAR_TIMEOUT')
  }
}

/** An optimistic check failed: another writer was first. Retryable after reading again. */
export class ConflictError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_CONFLICT', message, { retryable: true, ...options })
  }

  static override is(this: void, value: unknown): value is ConflictError {
    return hasCode(value, 'BUSBAR_CONFLICT')
  }
}

/** The responder to a request failed, or refused it. Retryable when it certainly did not handle the request. */
export class RemoteError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_REMOTE', message, options)
  }

  static override is(this: void, value: unknown): value is RemoteError {
    return hasCode(value, 'BUSBAR_REMOTE')
  }
}

/** No program responds to requests on that topic. */
export class NoRespondersError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_NO_RESPONDERS', message, { retryable: true, ...options })
  }

  static override is(this: void, value: unknown): value is NoRespondersError {
    return hasCode(value, 'BUSBAR_NO_RESPONDERS')
  }
}

/** Thrown by a handler (or by `ctx.reject`) to dead-letter its message at once, without more attempts. */
export class RejectError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_REJECT', message, options)
  }

  static override is(this: void, value: unknown): value is RejectError {
    return hasCode(value, 'BUSBAR_REJECT')
  }
}

/** What a redrive or purge had done when it ended early. */
export interface InterruptedReport {
  /** Number of dead letters selected. */
  readonly matched: number
  /** Number sent back and confirmed by the broker. */
  readonly redriven: number
  readonly purged: number
  /** Dead letters whose copy the broker did not confirm; they are still dead letters. */
  readonly failed: readonly { readonly id: string; readonly error: Error }[]
}

const NOTHING_DONE: InterruptedReport = Object.freeze({ matched: 0, redriven: 0, purged: 0, failed: [] })

/**
 * A redrive or purge of dead letters ended early: its signal was aborted (`name` is then `AbortError`), or the broker failed.
 * `report` says what had been done, `cause` why it ended. Call it again for the rest. Retryable.
 */
export class InterruptedError extends BusbarError {
  readonly report: InterruptedReport
  /** True when the caller's signal aborted it. */
  readonly aborted: boolean

  constructor(
    message: string,
    options: BusbarErrorOptions & { readonly report?: InterruptedReport; readonly aborted?: boolean } = {},
  ) {
    super('BUSBAR_INTERRUPTED', message, { retryable: true, ...options })
    this.report = options.report ?? NOTHING_DONE
    this.aborted = options.aborted ?? false
  }

  override get name(): string {
    return this.aborted ? 'AbortError' : super.name
  }

  static override is(this: void, value: unknown): value is InterruptedError {
    return hasCode(value, 'BUSBAR_INTERRUPTED')
  }
}

/**
 * An extension failed to start, drain or close, or took too long. `extension` is its name, `cause` its own error. Retryable
 * when the cause is.
 */
export class ExtensionError extends BusbarError {
  readonly extension: string

  constructor(message: string, options: BusbarErrorOptions & { readonly extension?: string } = {}) {
    super('BUSBAR_EXTENSION', message, options)
    this.extension = options.extension ?? ''
  }

  static override is(this: void, value: unknown): value is ExtensionError {
    return hasCode(value, 'BUSBAR_EXTENSION')
  }
}

/**
 * The connection was lost while a database committed a transaction: it may have been committed, or not. `cause` is the database's
 * error. Everything else that `UnitOfWork.run` rejects with means that nothing was committed. In a handler, the message is tried
 * again, so make the handler idempotent. Not retryable: the same call could do its work twice.
 */
export class CommitUnknownError extends BusbarError {
  constructor(message: string, options: BusbarErrorOptions = {}) {
    super('BUSBAR_COMMIT_UNKNOWN', message, options)
  }

  static override is(this: void, value: unknown): value is CommitUnknownError {
    return hasCode(value, 'BUSBAR_COMMIT_UNKNOWN')
  }
}

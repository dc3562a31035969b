import { brokerErrorOf } from './error-codes.ts'
import type { BrokerErrorCode, ErrorAction, WriteOutcome } from './error-codes.ts'
import { missingRightOf } from './missing-rights.ts'

export type { BrokerErrorCode, ErrorAction, WriteOutcome } from './error-codes.ts'

/** Codes of the client itself. The errors page of the documentation explains each. */
export type ClientErrorCode =
  | 'ABORTED'
  | 'AUTHENTICATION_FAILED'
  | 'AUTHENTICATION_UNAVAILABLE'
  | 'BROKER_UNKNOWN'
  | 'CLOSED'
  | 'CLUSTER_UNREACHABLE'
  | 'CONNECTION_CLOSED'
  | 'CONNECT_TIMEOUT'
  | 'DELIVERY_TIMEOUT'
  | 'INVALID_OPTIONS'
  | 'INVALID_PARTITION'
  | 'INVALID_STATE'
  | 'LISTENER_FAILED'
  | 'LOG_TRUNCATED'
  | 'NOT_A_MEMBER'
  | 'NOT_ASSIGNED'
  | 'NOT_FOUND'
  | 'NO_OFFSET'
  | 'PARTITION_LOST'
  | 'RECORD_TOO_LARGE'
  | 'REQUEST_TIMEOUT'
  | 'SASL_SERVER_REFUSED'
  | 'TOPIC_RECREATED'
  | 'TRANSACTION_ABORTED'
  | 'UNENCODABLE'
  | 'UNEXPECTED'
  | 'UNSUPPORTED_API'
  | 'WAIT_TIMEOUT'

/** Every value of `code` of a {@link KafkaError}. */
export type KafkaErrorCode = BrokerErrorCode | ClientErrorCode | MalformedCode

/** What a {@link KafkaError} is made of. */
export interface KafkaErrorOptions {
  readonly code: KafkaErrorCode
  /** The number that the broker sent. */
  readonly brokerCode?: number
  readonly action: ErrorAction
  readonly outcome: WriteOutcome
  /** Of an authorization error: what an ACL must allow, such as `Write on the topic`. */
  readonly missingRight?: string | undefined
  readonly cause?: unknown
}

/** Every error of the client. `code` is stable, the message is for people. */
export class KafkaError extends Error {
  /** The class; for errors of Node it is `name` that tells them apart. */
  override readonly name: string = 'KafkaError'
  /** What happened: a stable name. The pages of the documentation list all of them. */
  readonly code: KafkaErrorCode
  /** The number that a broker sent; undefined if it was not a broker. */
  readonly brokerCode: number | undefined
  /** What can be done about it. */
  readonly action: ErrorAction
  /** What happened to the write. */
  readonly outcome: WriteOutcome
  /** Of an authorization error: what an ACL must allow, such as `Write on the topic`. */
  readonly missingRight: string | undefined

  constructor(message: string, options: KafkaErrorOptions) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = options.code
    this.brokerCode = options.brokerCode
    this.action = options.action
    this.outcome = options.outcome
    this.missingRight = options.missingRight
  }

  /** Whether the same call may succeed later without any change. */
  get retriable(): boolean {
    return this.action === 'retry' || this.action === 'refresh' || this.action === 'rediscover'
  }
}

/** What is thrown and is not ours is a bug, or a lack of memory, but must not be lost. */
export function asKafkaError(error: unknown): KafkaError {
  if (error instanceof KafkaError) return error
  const message = error instanceof Error ? error.message : String(error)
  return new KafkaError(message, { code: 'UNEXPECTED', action: 'fatal', outcome: 'unknown', cause: error })
}

/** How bytes can break the rules of the protocol. */
export type MalformedCode =
  | 'TRUNCATED'
  | 'INVALID_LENGTH'
  | 'INVALID_VARINT'
  | 'INVALID_VALUE'
  | 'UNEXPECTED_NULL'
  | 'CORRUPT_BATCH'
  | 'DECOMPRESSION_FAILED'
  | 'TOO_LARGE'

/**
 * A broker sent bytes that are not valid. The connection or the batch that they came in is not trusted any further.
 */
export class MalformedError extends KafkaError {
  override readonly name = 'MalformedError'
  declare readonly code: MalformedCode

  constructor(code: MalformedCode, message: string, cause?: unknown) {
    super(message, { code, action: 'fatal', outcome: 'unknown', cause })
  }
}

/** A value that can't be encoded: it has the wrong type, is too large, or the broker's version has no field for it. */
export class UnencodableError extends KafkaError {
  override readonly name = 'UnencodableError'

  constructor(message: string) {
    super(message, { code: 'UNENCODABLE', action: 'fatal', outcome: 'not-sent' })
  }
}

/** One thing that is wrong with what the caller gave. */
export interface OptionProblem {
  /** Its name, with those it is in: `sasl.credentials.username`. */
  readonly option: string
  /** What is wrong with it, and what to write instead. */
  readonly problem: string
}

/** Invalid options, with everything that is wrong with them. Nothing was sent. */
export class InvalidOptionsError extends KafkaError {
  override readonly name = 'InvalidOptionsError'
  readonly problems: readonly OptionProblem[]

  /** `subject`: what was given the options, `createClient` for example. */
  constructor(subject: string, problems: readonly OptionProblem[]) {
    const text = problems.map(({ option, problem }) => `${option} ${problem}`).join('; ')
    super(`${subject} can't use its options: ${text}`, {
      code: 'INVALID_OPTIONS',
      action: 'fatal',
      outcome: 'not-sent',
    })
    this.problems = problems
  }
}

/**
 * The error of a broker's answer. `what` says what was asked for, and starts with the API or the admin call: `Produce to orders[3]`. An
 * authorization error names the right that it needs.
 */
export function errorFromBroker(code: number, what: string, detail?: string | null): KafkaError {
  const { name, action, outcome, meaning } = brokerErrorOf(code)
  const said = detail === undefined || detail === null || detail === '' ? '' : ` (the broker said: ${detail})`
  const missingRight = missingRightOf(code, what)
  const right = missingRight === undefined ? '' : `, which allows ${missingRight}`
  return new KafkaError(`${what} failed with ${name} (${code}): ${meaning}${right}${said}`, {
    code: name,
    brokerCode: code,
    action,
    outcome,
    missingRight,
  })
}

import { isCertificateError } from '../../core/util/certificate-error.ts'
import {
  AuthorizationError,
  BusbarError,
  ConfigurationError,
  ConnectionError,
  PublishError,
} from '../../core/errors.ts'
import type { PublishFailure } from '../../core/errors.ts'

/** A command was given up before it was handed to a connection: the server certainly has not seen it. */
export class NotSentError extends ConnectionError {}

/** The connection was lost, or did not answer, after the command was handed to it. */
export class LostReplyError extends ConnectionError {}

/** A key that we need has another type: another program uses the same prefix, or wrote to it by mistake. */
export class WrongTypeError extends ConfigurationError {}

const CODE = /^([A-Z][A-Z0-9_]+)(?: |$)/
/** Redis 6 wraps an error of a command inside a script. */
const CODE_IN_SCRIPT = /@user_script:.*?-([A-Z][A-Z0-9_]+) /

/** First word of an error reply of the server (`NOGROUP`, `OOM`), or undefined for other errors. */
export function replyCode(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined
  const code = CODE.exec(error.message)?.[1]
  return code === 'ERR' ? (CODE_IN_SCRIPT.exec(error.message)?.[1] ?? code) : code
}

const AUTHORIZATION_TEXT = /^ERR (The user executing the script can't run|invalid password|AUTH )/
const AUTHORIZATION = new Set(['NOAUTH', 'WRONGPASS', 'NOPERM'])

export function isAuthorizationFailure(error: unknown): boolean {
  const code = replyCode(error)
  // The first is for a script whose commands the user may not run, the others for a password that is wrong or not
  // expected.
  return code !== undefined && (AUTHORIZATION.has(code) || AUTHORIZATION_TEXT.test(messageOf(error)))
}

const REFUSES_EVERYBODY = new Set(['NOREPLICAS', 'BUSY', 'MISCONF'])
const PASSING = new Set(['LOADING', 'MASTERDOWN', 'CLUSTERDOWN', 'TRYAGAIN', 'READONLY', ...REFUSES_EVERYBODY])

/**
 * Nothing was done, and the server will take commands again: it is loading its data, waiting for its primary, its replicas
 * or its disk, or running another client's long script.
 */
export function isPassing(error: unknown): boolean {
  return PASSING.has(replyCode(error) ?? '')
}

/** The server answers, and refuses writes from all clients: so no other member can have taken anything over. */
export function refusesEverybody(error: unknown): boolean {
  return REFUSES_EVERYBODY.has(replyCode(error) ?? '')
}

export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Some replies of the server end in a period or a question mark, but most in no punctuation. */
function asSentence(text: string): string {
  return /[.?!]$/.test(text) ? text : `${text}.`
}

const NO_DATABASE = /^ERR (DB index|invalid DB index|SELECT is not allowed)/

/** The user-facing error for a failed connect. `where` contains no credentials. */
export function toConnectError(error: unknown, where: string): BusbarError {
  const isOurs = error instanceof NotSentError || error instanceof LostReplyError
  // Those of a single command don't say where.
  if (!isOurs && BusbarError.is(error)) return error
  if (isAuthorizationFailure(error)) {
    return new AuthorizationError(
      `Redis at ${where} refused the credentials or a permission: ${asSentence(messageOf(error))} Check the user, the password and the ACL.`,
      { cause: error },
    )
  }
  if (NO_DATABASE.test(messageOf(error)))
    return new ConfigurationError('redis', [
      { path: 'database', message: `Redis at ${where} does not have it: ${messageOf(error)}` },
    ])
  return new ConnectionError(`Redis at ${where} can't be reached: ${messageOf(error)}`, {
    cause: error,
    retryable: !isCertificateError(error),
  })
}

/** Why a consumer could not be started; retryable when the server's refusal is temporary. */
export function toSubscribeError(error: unknown, where: string): unknown {
  const code = replyCode(error)
  if (code === undefined || BusbarError.is(error)) return error
  if (isAuthorizationFailure(error)) return toConnectError(error, where)
  if (!mayPass(error)) return error
  return new ConnectionError(`Redis at ${where} can't take a consumer now: ${explain(code, error)}`, { cause: error })
}

/** The outcome of a publish that failed with this error. */
export function toPublishError(error: unknown, topic: string, reason?: unknown): PublishError {
  if (PublishError.is(error)) return error
  if (error instanceof WrongTypeError)
    return new PublishError(`Publishing to "${topic}" failed: ${error.message} (not-sent)`, {
      outcome: 'not-sent',
      cause: error,
      retryable: false,
    })
  const code = replyCode(error)
  // A refused command has done nothing; without a reply that is unknown.
  const outcome: PublishFailure = code !== undefined || error instanceof NotSentError ? 'not-sent' : 'unknown'
  const cause = isAuthorizationFailure(error)
    ? new AuthorizationError(`Redis does not allow it: ${messageOf(error)}`, { cause: error })
    : (reason ?? error)
  return new PublishError(`Publishing to "${topic}" failed: ${explain(code, error)} (${outcome})`, {
    outcome,
    cause,
    retryable: mayPass(error),
  })
}

/** False for a refusal that would be the same later. */
function mayPass(error: unknown): boolean {
  const code = replyCode(error)
  return !isAuthorizationFailure(error) && code !== 'WRONGTYPE' && code !== 'ERR'
}

function explain(code: string | undefined, error: unknown): string {
  switch (code) {
    case 'OOM':
      return 'Redis has reached its maxmemory and takes nothing more; let consumers catch up, lower retention.maxMessages, or give it memory'
    case 'MISCONF':
      return 'Redis can not write its data to disk and takes nothing more'
    case 'NOREPLICAS':
      return 'Redis has fewer good replicas than min-replicas-to-write asks for, and takes no writes'
    case 'BUSY':
      return 'Redis is busy with a script of another program'
    case 'WRONGTYPE':
      return 'the key of its stream holds something else'
    default:
      return messageOf(error)
  }
}

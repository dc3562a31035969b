import { errors as natsErrors } from '@nats-io/transport-node'
import { isCertificateError } from '../../core/util/certificate-error.ts'
import { AuthorizationError, ConnectionError, PublishError, TimeoutError } from '../../core/errors.ts'
import type { PublishFailure } from '../../core/errors.ts'

/** An error response of JetStream's API. */
export class JetStreamError extends Error {
  /** Like HTTP: 404, 503. */
  readonly code: number
  /** JetStream's own error number; 0 when the server sent none. */
  readonly errCode: number

  constructor(doing: string, code: number, errCode: number, description: string) {
    super(`${doing}: ${description} (${errCode === 0 ? code : errCode})`)
    this.name = 'JetStreamError'
    this.code = code
    this.errCode = errCode
  }
}

export const ERR = {
  streamNameInUse: 10_058,
  subjectOverlap: 10_065,
  noResources: 10_023,
  maxConsumers: 10_026,
  wrongLastSequence: 10_071,
  messageNotFound: 10_037,
  inactiveThreshold: 10_153,
  tooManyRequests: 10_167,
  notEnabledForAccount: 10_039,
  notEnabled: 10_076,
} as const

export function isNotFound(error: unknown): boolean {
  return error instanceof JetStreamError && error.code === 404
}

/** There is no responder: JetStream is off or still starting, or the object does not exist. */
export function isNoResponders(error: unknown): boolean {
  return causes(error).some((cause) => cause instanceof natsErrors.NoRespondersError)
}

function isTimeout(error: unknown): boolean {
  return causes(error).some((cause) => cause instanceof natsErrors.TimeoutError)
}

export function isPermission(error: unknown): boolean {
  return causes(error).some((cause) => cause instanceof natsErrors.PermissionViolationError)
}

function isAuthorization(error: unknown): boolean {
  return causes(error).some(
    (cause) =>
      cause instanceof natsErrors.AuthorizationError ||
      cause instanceof natsErrors.UserAuthenticationExpiredError ||
      cause instanceof natsErrors.PermissionViolationError,
  )
}

function causes(error: unknown): unknown[] {
  const chain: unknown[] = []
  for (let at = error; at instanceof Error && chain.length < 8; at = at.cause) chain.push(at)
  return chain
}

function text(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}

/** Converts an error of the client library. `doing` completes "… failed". */
export function toBusbarError(error: unknown, doing: string): AuthorizationError | ConnectionError | TimeoutError {
  if (AuthorizationError.is(error) || ConnectionError.is(error) || TimeoutError.is(error)) return error
  if (isAuthorization(error))
    return new AuthorizationError(
      `${doing}: the NATS server refused it (${text(error)}). Check the user and its permissions.`,
      { cause: error },
    )
  if (isTimeout(error)) return new TimeoutError(`${doing}: the NATS server did not answer in time`, { cause: error })
  if (isNoResponders(error))
    return new ConnectionError(`${doing}: no answer; JetStream may be off or still starting`, { cause: error })
  return new ConnectionError(`${doing}: ${text(error)}`, { cause: error, retryable: !isCertificateError(error) })
}

export function notConfirmed(topic: string, why: string, outcome: PublishFailure, cause?: unknown): PublishError {
  const sure = outcome === 'not-sent' ? 'It was not sent.' : 'The broker may have it.'
  return new PublishError(`Publishing to "${topic}" failed: ${why}. ${sure}`, { outcome, retryable: true, cause })
}

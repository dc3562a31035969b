import { AuthorizationError, ConnectionError, PublishError, TimeoutError } from '../../core/errors.ts'
import { isCertificateError } from '../../core/util/certificate-error.ts'
import type { PublishFailure } from '../../core/errors.ts'
import { KafkaError } from '../../kafka/index.ts'

const AUTHENTICATION = new Set(['AUTHENTICATION_FAILED', 'SASL_AUTHENTICATION_FAILED', 'UNSUPPORTED_SASL_MECHANISM'])

/** The credentials were refused, or an ACL is missing. */
export function isAuthorization(error: unknown): error is KafkaError {
  return (
    error instanceof KafkaError &&
    (error.missingRight !== undefined || AUTHENTICATION.has(error.code) || error.code.endsWith('AUTHORIZATION_FAILED'))
  )
}

/** Converts an error of the client. `doing` completes "… failed". */
export function toBusbarError(error: unknown, doing: string): AuthorizationError | ConnectionError | TimeoutError {
  if (AuthorizationError.is(error) || ConnectionError.is(error) || TimeoutError.is(error)) return error
  const text = error instanceof Error ? error.message : String(error)
  if (isAuthorization(error)) {
    const right = error.missingRight === undefined ? 'Check the credentials' : `An ACL must allow ${error.missingRight}`
    return new AuthorizationError(`${doing}: Kafka refused it (${text}). ${right}.`, { cause: error })
  }
  if (error instanceof KafkaError && error.code === 'WAIT_TIMEOUT')
    return new TimeoutError(`${doing}: ${text}`, { cause: error })
  return new ConnectionError(`${doing}: ${text}`, { cause: error, retryable: !isCertificateError(error) })
}

/**
 * The error of a message that was not confirmed. What a broker has refused was not stored. `sure`: what became of it, where that does
 * not depend on the error.
 */
export function toPublishError(error: unknown, topic: string, sure?: PublishFailure): PublishError {
  if (PublishError.is(error)) return error
  const known = error instanceof KafkaError ? error : undefined
  const outcome = sure ?? (known === undefined || known.outcome === 'unknown' ? 'unknown' : 'not-sent')
  const stored = outcome === 'not-sent' ? 'It was not stored.' : 'Kafka may have it.'
  const text = error instanceof Error ? error.message : String(error)
  const right = known?.missingRight === undefined ? '' : ` An ACL must allow ${known.missingRight}.`
  return new PublishError(`Publishing to "${topic}" failed: ${text}. ${stored}${right}`, {
    outcome,
    retryable: known === undefined || (known.action !== 'fatal' && known.action !== 'fenced') || isTimeout(known),
    cause: error,
  })
}

/** The same message may be stored when it is published again, although the client gave this call up for good. */
function isTimeout({ code }: KafkaError): boolean {
  return code === 'DELIVERY_TIMEOUT' || code === 'ABORTED' || code === 'CLOSED' || code === 'NOT_FOUND'
}

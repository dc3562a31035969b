import { KafkaError } from '../errors.ts'
import type { ErrorAction, WriteOutcome } from '../errors.ts'

/**
 * Errors of a connection. What was written when it ended may have been carried out, whatever the reason.
 * `AUTHENTICATION_FAILED` will not get better; `AUTHENTICATION_UNAVAILABLE` may: the function that gives the token threw.
 */
export type ConnectionErrorCode =
  | 'CONNECTION_CLOSED'
  | 'CONNECT_TIMEOUT'
  | 'REQUEST_TIMEOUT'
  | 'AUTHENTICATION_FAILED'
  | 'AUTHENTICATION_UNAVAILABLE'
  | 'CLOSED'

export function connectionError(
  code: ConnectionErrorCode,
  message: string,
  outcome: WriteOutcome,
  cause?: unknown,
): KafkaError {
  return new KafkaError(message, { code, action: actionOf(code), outcome, cause })
}

/** The same reason for a request with another outcome. */
export function withOutcome(error: KafkaError, outcome: WriteOutcome): KafkaError {
  const { code, brokerCode, action, message, missingRight } = error
  return new KafkaError(message, {
    code,
    action,
    outcome,
    missingRight,
    cause: error,
    ...(brokerCode === undefined ? {} : { brokerCode }),
  })
}

function actionOf(code: ConnectionErrorCode): ErrorAction {
  return code === 'AUTHENTICATION_FAILED' || code === 'CLOSED' ? 'fatal' : 'refresh'
}

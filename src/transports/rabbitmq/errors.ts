import { isCertificateError } from '../../core/util/certificate-error.ts'
import {
  AuthorizationError,
  BusbarError,
  ConfigurationError,
  ConnectionError,
  SettlementError,
  UnsupportedError,
} from '../../core/errors.ts'

/** The AMQP reply code that amqplib sets on an error caused by the broker. */
export function replyCode(error: unknown): number | undefined {
  const code = (error as { code?: unknown } | null | undefined)?.code
  return typeof code === 'number' ? code : undefined
}

export const REPLY = {
  accessRefused: 403,
  notFound: 404,
  resourceLocked: 405,
  preconditionFailed: 406,
  commandInvalid: 503,
  notAllowed: 530,
  notImplemented: 540,
} as const

/** The broker's own words, without the client library's wrapping. */
export function reasonOf(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error)
  return /with message "(.*)"$/s.exec(text)?.[1] ?? (text === '' ? 'no reason was given' : text)
}

function isRefusal(error: unknown): boolean {
  const code = replyCode(error)
  if (code === REPLY.accessRefused || code === REPLY.notAllowed) return true
  // During the handshake the library provides only the text.
  return /\b(403 \(ACCESS-REFUSED\)|530 \(NOT-ALLOWED\)|ACCESS_REFUSED|SASL mechanism)/.test(
    error instanceof Error ? error.message : '',
  )
}

/** Why a connection could not be made. `where` contains no credentials. */
export function toConnectError(error: unknown, where: string): BusbarError {
  if (BusbarError.is(error)) return error
  if (isRefusal(error))
    return new AuthorizationError(`RabbitMQ at ${where} refused the login: ${reasonOf(error)}`, { cause: error })
  // The library does not pass on why the broker refused to open the virtual host.
  if (error instanceof Error && /Expected ConnectionOpenOk; got <ConnectionClose/.test(error.message))
    return new AuthorizationError(
      `RabbitMQ at ${where} did not open the virtual host: it does not exist, the user has no permissions there, or it is down`,
      { cause: error },
    )
  return new ConnectionError(`RabbitMQ at ${where} can't be reached: ${detailOf(error)}`, {
    cause: error,
    retryable: !isCertificateError(error),
  })
}

/** Why a request to the broker failed. */
export function toBrokerError(error: unknown, doing: string): BusbarError {
  if (BusbarError.is(error)) return error
  const text = `${doing}: ${reasonOf(error)}`
  if (isRefusal(error)) return new AuthorizationError(text, { cause: error })
  const code = replyCode(error)
  if (code === REPLY.preconditionFailed) return new ConfigurationError('RabbitMQ', [{ path: '', message: text }])
  if (code === REPLY.notImplemented || code === REPLY.commandInvalid)
    return new UnsupportedError(`${text}. The broker does not know this.`)
  return new ConnectionError(text, { cause: error })
}

export function lostError(): SettlementError {
  return new SettlementError('The channel of the delivery was closed; the broker delivers the message again')
}

/** Connecting to a name with several addresses fails with an AggregateError whose own message is empty. */
function detailOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0)
    return error.errors.map((each) => (each instanceof Error ? each.message : String(each))).join('; ')
  return reasonOf(error)
}

/**
 * True for failures caused by the loss of the connection. The loss itself is reported once, not again for everything in
 * progress.
 */
export function isLoss(error: unknown): boolean {
  if (!(error instanceof Error) || BusbarError.is(error) || replyCode(error) !== undefined) return false
  if (error.name === 'IllegalOperationError' || ABSENT.has((error as NodeJS.ErrnoException).code ?? '')) return true
  return /^(channel closed|channel ended|unexpected close|heartbeat timeout|the broker did not answer)/i.test(
    error.message,
  )
}

const ABSENT = new Set(['ECONNREFUSED', 'ECONNRESET', 'EPIPE', 'EHOSTUNREACH', 'ENETUNREACH'])

/**
 * The broker is unreachable: the port is closed, or something in front of it (a balancer, a proxy) hangs up. Unlike a
 * broker that is slow or refuses the connection.
 */
export function isAbsent(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException | undefined)?.code
  if (code !== undefined && ABSENT.has(code)) return true
  if (error instanceof AggregateError) return error.errors.length > 0 && error.errors.every(isAbsent)
  if (error instanceof Error && /Socket closed abruptly|Unexpected close/.test(error.message)) return true
  const { cause } = (error ?? {}) as { cause?: unknown }
  return cause !== undefined && isAbsent(cause)
}

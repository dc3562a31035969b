// How a publish fails when it is not the broker that refuses it.
import { formatMs } from '../clock.ts'
import { PublishError, StateError } from '../errors.ts'
import type { PublishFailure } from '../errors.ts'
import type { TransportHealth, TransportIdentity } from '../transport.ts'

export function closedError(outcome: PublishFailure): PublishError {
  const fate =
    outcome === 'not-sent' ? 'before the message was sent' : 'before the broker confirmed the message; it may have it'
  return new PublishError(`The bus was closed ${fate}`, { outcome, cause: new StateError('The bus is closed') })
}

/** The caller's signal ended the wait. */
export function abortedError(topic: string, outcome: PublishFailure, cause: unknown): PublishError {
  return new PublishError(`Publishing to "${topic}" was aborted (${outcome})`, { outcome, cause })
}

/** Its deadline passed before there was room for it. */
export function noRoomError(topic: string, timeoutMs: number, bufferedBytes: number, transport: string): PublishError {
  return new PublishError(
    `Publishing to "${topic}" found no room for ${timeoutMs} ms: ${bufferedBytes} bytes wait for transport "${transport}". It was not sent.`,
    { outcome: 'not-sent', retryable: true },
  )
}

/** Its deadline passed while the transport had it. */
export function unconfirmedError(
  topic: string,
  outcome: PublishFailure,
  timeoutMs: number,
  { name, system }: TransportIdentity,
  { connected, detail }: TransportHealth,
  cause?: PublishError,
): PublishError {
  const reason = connected ? 'got no answer' : `is not connected${detail === undefined ? '' : `, ${detail}`}`
  return new PublishError(
    `Publishing to "${topic}" was not confirmed within ${formatMs(timeoutMs)} (publish.deliveryTimeoutMs): transport "${name}" (${system}) ${reason}. ${outcome === 'not-sent' ? 'It was not sent.' : 'The broker may have it.'}`,
    { outcome, retryable: true, cause },
  )
}

/** A transport whose `publish` rejects, or returns too few outcomes, breaks the contract; its messages must not hang. */
export function brokenTransport(name: string, failure: unknown): PublishError {
  if (failure instanceof PublishError) return failure
  const detail = failure instanceof Error ? failure.message : 'it gave no outcome for the message'
  return new PublishError(`Transport "${name}" failed while publishing: ${detail}`, {
    outcome: 'unknown',
    cause: failure,
  })
}

import { KafkaError } from '../errors.ts'
import type { ErrorAction } from '../errors.ts'

/**
 * - `BROKER_UNKNOWN`: the metadata has no broker with this id (any more).
 * - `CLUSTER_UNREACHABLE`: no broker could be asked; `cause` is why the last one could not.
 * - `NOT_FOUND`: a topic, or a leader, that the cluster does not have, or not yet.
 * - `WAIT_TIMEOUT`: what was waited for did not come in time.
 * - `ABORTED`: the signal that the caller gave.
 * - `CLOSED`: the client, or this part of it, was closed.
 */
export type ClusterErrorCode =
  'BROKER_UNKNOWN' | 'CLUSTER_UNREACHABLE' | 'NOT_FOUND' | 'WAIT_TIMEOUT' | 'ABORTED' | 'CLOSED'

const ACTIONS: Readonly<Record<ClusterErrorCode, ErrorAction>> = {
  BROKER_UNKNOWN: 'refresh',
  CLUSTER_UNREACHABLE: 'refresh',
  NOT_FOUND: 'retry',
  WAIT_TIMEOUT: 'retry',
  ABORTED: 'fatal',
  CLOSED: 'fatal',
}

/** All of them are `not-sent`: they end what has not left this process. */
export function clusterError(code: ClusterErrorCode, message: string, cause?: unknown): KafkaError {
  return new KafkaError(message, { code, action: ACTIONS[code], outcome: 'not-sent', cause })
}

export function closedError(): KafkaError {
  return clusterError('CLOSED', 'the Kafka client was closed')
}

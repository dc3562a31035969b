import type { KafkaError } from '../errors.ts'
import type { Address } from '../network/sockets.ts'
import type { ApiName } from '../protocol/generated/api-types.ts'

/** Which broker an event is about. `nodeId` is undefined for a bootstrap address: its node is not known yet. */
export interface BrokerIdentity {
  readonly nodeId: number | undefined
  readonly host: string
  readonly port: number
}

export type ConnectionEvent =
  | { readonly type: 'connected'; readonly broker: BrokerIdentity; readonly purpose: string; readonly address: Address }
  /** An attempt has failed, at one address; the next one or the next attempt follows. */
  | {
      readonly type: 'failed'
      readonly broker: BrokerIdentity
      readonly purpose: string
      readonly address: Address | undefined
      readonly error: KafkaError
    }
  | { readonly type: 'closed'; readonly broker: BrokerIdentity; readonly purpose: string; readonly error: KafkaError }

export interface RequestEvent {
  readonly broker: BrokerIdentity
  readonly purpose: string
  readonly api: ApiName
  /** -1 if it was not written. */
  readonly version: number
  /** From the call to the answer or the error, the time in queues included. */
  readonly durationMs: number
  /** Undefined if the broker answered; the answer itself may contain errors. */
  readonly error: KafkaError | undefined
}

export interface ThrottleEvent {
  readonly broker: BrokerIdentity
  readonly purpose: string
  readonly api: ApiName
  /** Nothing is sent on this connection for so long (KIP-219). */
  readonly ms: number
}

/** Called synchronously, where it happens. A hook must not throw: what it throws is ignored. */
export interface ClusterHooks {
  readonly onConnection?: (event: ConnectionEvent) => void
  readonly onRequest?: (event: RequestEvent) => void
  readonly onThrottle?: (event: ThrottleEvent) => void
}

/** Runs code of the user's that must not disturb the caller. */
export function callHook<T>(hook: ((value: T) => void) | undefined, value: T): void {
  try {
    hook?.(value)
  } catch {
    // Nothing here could do better than go on.
  }
}

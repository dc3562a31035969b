import type { KafkaError } from '../errors.ts'
import type { Address } from '../network/sockets.ts'

/** Which broker an event is about. `nodeId` is undefined for a bootstrap address: its node is not known yet. */
export interface BrokerIdentity {
  readonly nodeId: number | undefined
  readonly host: string
  readonly port: number
}

/** What became of a connection. `purpose` is what it is for: `data`, `fetch`, `group` and so on. */
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

/** A request that has been answered, or has failed. */
export interface RequestEvent {
  readonly broker: BrokerIdentity
  readonly purpose: string
  /** Its name in the protocol: `Produce`, `Fetch` and so on. */
  readonly api: string
  /** -1 if it was not written. */
  readonly version: number
  /** From the call to the answer or the error, the time in queues included. */
  readonly durationMs: number
  /** Undefined if the broker answered; the answer itself may contain errors. */
  readonly error: KafkaError | undefined
}

/** A broker asks to slow down. */
export interface ThrottleEvent {
  readonly broker: BrokerIdentity
  readonly purpose: string
  readonly api: string
  /** Nothing is sent on this connection for so long (KIP-219). */
  readonly ms: number
}

/** Why nothing happens, or that it is over. */
export interface TroubleEvent {
  /**
   * - `trouble`: it does not work. The client goes on trying; it is reported again every 30 s while it lasts, and after 5 s for another
   *   reason.
   * - `over`: it works again, or this client does not need it any more. Only after a `trouble`.
   */
  readonly type: 'trouble' | 'over'
  /**
   * - `cluster`: no broker says who the brokers are. None can be reached, TLS or SASL do not fit, or credentials are refused.
   * - `broker`: one broker can't be connected to. The others answer, so perhaps the address that it advertises is not one for this
   *   machine.
   * - `topic`: it does not exist, must not be read, or a partition of it has no leader.
   * - `coordinator`: no broker coordinates a group or a transactional id, or this client must not ask which one does.
   */
  readonly about: 'cluster' | 'broker' | 'topic' | 'coordinator'
  /** The topic; the broker as `2 (host:9092)`; `group billing` for a coordinator; the addresses in `brokers` for the cluster. */
  readonly name: string
  /** Why: the last reason if it is over. */
  readonly error: KafkaError
  /** Since it began. In milliseconds. */
  readonly durationMs: number
}

/** Called synchronously, where it happens. A hook must not throw: what it throws is ignored. */
export interface ClusterHooks {
  /** A connection was made, could not be made at one address, or ended. */
  readonly onConnection?: ((event: ConnectionEvent) => void) | undefined
  /** A request was answered, or failed. */
  readonly onRequest?: ((event: RequestEvent) => void) | undefined
  /** A broker has asked for silence: a quota is exceeded (KIP-219). The client obeys. */
  readonly onThrottle?: ((event: ThrottleEvent) => void) | undefined
  /** Something does not work, which is why calls wait, or it is over. Seldom enough to log each one. */
  readonly onTrouble?: ((event: TroubleEvent) => void) | undefined
}

/** `2 (host:9092)`, or the address alone while the node is not known. */
export function brokerName({ nodeId, host, port }: BrokerIdentity): string {
  return nodeId === undefined ? `${host}:${port}` : `${nodeId} (${host}:${port})`
}

/** Runs code of the user's that must not disturb the caller. */
export function callHook<T>(hook: ((value: T) => void) | undefined, value: T): void {
  try {
    hook?.(value)
  } catch {
    // Nothing here could do better than go on.
  }
}

import type { KafkaError } from '../errors.ts'
import type { Address } from '../network/sockets.ts'

/** Which broker an event is about. `nodeId` is undefined for a bootstrap address: its node is not known yet. */
export interface BrokerIdentity {
  readonly nodeId: number | undefined
  readonly host: string
  readonly port: number
}

/**
 * A connection was opened, could not be opened, or ended. `purpose` is what it is for: `data`, `fetch`, `group` and
 * so on.
 */
export type ConnectionEvent =
  | { readonly type: 'connected'; readonly broker: BrokerIdentity; readonly purpose: string; readonly address: Address }
  /** An attempt to connect to one address failed. The client tries the next address, or this one again later. */
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
  /** From the call to the answer or the error, including time in queues. */
  readonly durationMs: number
  /** Undefined if the broker answered; the answer itself may contain errors. */
  readonly error: KafkaError | undefined
}

/** A broker throttles this client. */
export interface ThrottleEvent {
  readonly broker: BrokerIdentity
  readonly purpose: string
  readonly api: string
  /** For this time, nothing is sent on this connection (KIP-219). */
  readonly ms: number
}

/** Why calls have to wait, or that they no longer do. */
export interface TroubleEvent {
  /**
   * `trouble`: it can't be used, and the client keeps trying; reported again every 30 s while it lasts, and after 5 s
   * if the reason changes. `over`: it can be used again, or this client no longer needs it; only after a `trouble`.
   */
  readonly type: 'trouble' | 'over'
  /**
   * `cluster`: no broker answers a request for metadata, because none can be reached, TLS or SASL is configured
   * differently, or the credentials are refused. `broker`: the client can't connect to one broker, while others
   * answer; perhaps this machine can't reach the address that the broker advertises. `topic`: it doesn't exist, may
   * not be read, or one of its partitions has no leader. `coordinator`: no broker coordinates a group or a
   * transactional id, or this client may not ask which one does.
   */
  readonly about: 'cluster' | 'broker' | 'topic' | 'coordinator'
  /** The topic; the broker as `2 (host:9092)`; `group billing` for a coordinator; the addresses in `brokers` for the cluster. */
  readonly name: string
  /** Why; once it is over, the last reason. */
  readonly error: KafkaError
  /** Time since it began. In milliseconds. */
  readonly durationMs: number
}

/** Called synchronously. Errors that a hook throws are ignored. */
export interface ClusterHooks {
  /** A connection was opened, could not be opened at one address, or ended. */
  readonly onConnection?: ((event: ConnectionEvent) => void) | undefined
  /** A request was answered or failed. */
  readonly onRequest?: ((event: RequestEvent) => void) | undefined
  /** A broker throttles this client because of a quota (KIP-219); the client sends nothing for that time. */
  readonly onThrottle?: ((event: ThrottleEvent) => void) | undefined
  /**
   * The cluster, a broker, a topic or a coordinator can't be used, so calls wait; or it can be used again. Rare
   * enough to log every event.
   */
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

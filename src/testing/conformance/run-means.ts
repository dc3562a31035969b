/** Name of a fault hook. */
export type FaultName = keyof BrokerFaults

/** What the run can do to the broker. Each hook enables the scenarios of group `reconnect` that need it. */
export interface BrokerFaults {
  /** Stops the broker as an operator would, and starts it again. Resolves when it is ready. */
  readonly restartBroker?: (() => Promise<void>) | undefined
  /** Kills the broker (SIGKILL), and starts it again. Resolves when it is ready. */
  readonly killBroker?: (() => Promise<void>) | undefined
  /** Cuts all of our connections to the broker, once. They may reconnect at once. */
  readonly cutConnections?: (() => Promise<void> | void) | undefined
  /** Freezes the broker for `ms` (SIGSTOP, SIGCONT), with all connections open. Resolves when it runs again. */
  readonly pauseBroker?: ((ms: number) => Promise<void>) | undefined
}

/** A program that does not use Busbar, on the same broker. */
export interface ForeignClient {
  /** Sends a bare native message to where our consumers of `topic` read: no CloudEvents headers, no content type. */
  publish(topic: string, body: Uint8Array, headers?: Readonly<Record<string, string>>): Promise<void>
}

export interface FenceSettings {
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly heartbeatIntervalMs: number
}

/**
 * Until when a member may believe that its partitions are its own. The coordinator counts a session from the moment in which it has
 * received a heartbeat, which is not before it was sent.
 */
export class SessionFence {
  readonly #settings: FenceSettings
  #acknowledged = -Infinity
  #settled = -Infinity
  #isRebalancing = false

  constructor(settings: FenceSettings) {
    this.#settings = settings
  }

  /** A request that was sent then has been answered by a coordinator that knows the member. */
  acknowledged(sentAt: number): void {
    this.#acknowledged = Math.max(this.#acknowledged, sentAt)
  }

  /** At that time, the group was not rebalancing. */
  settled(sentAt: number): void {
    this.acknowledged(sentAt)
    this.#settled = Math.max(this.#settled, sentAt)
    this.#isRebalancing = false
  }

  /** A member that does not join within the rebalance timeout is out, whatever its heartbeats. */
  rebalancing(): void {
    this.#isRebalancing = true
  }

  get expiresAt(): number {
    const { sessionTimeoutMs, rebalanceTimeoutMs, heartbeatIntervalMs } = this.#settings
    const session = this.#acknowledged + sessionTimeoutMs
    if (!this.#isRebalancing) return session
    // Its join may be lost. As long as heartbeats are answered, they would say so.
    const silent = this.#acknowledged + 2 * heartbeatIntervalMs
    return Math.min(session, Math.max(this.#settled + rebalanceTimeoutMs, silent))
  }
}

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
  #phase: 'settled' | 'rebalancing' | 'joining' = 'settled'

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
    this.#phase = 'settled'
  }

  /** The group waits for this member to join or to release: without that, it is out after the rebalance timeout, whatever its heartbeats. */
  rebalancing(): void {
    this.#phase = 'rebalancing'
  }

  /** Its join is on its way. */
  joining(): void {
    this.#phase = 'joining'
  }

  get expiresAt(): number {
    const { sessionTimeoutMs, rebalanceTimeoutMs, heartbeatIntervalMs } = this.#settings
    const session = this.#acknowledged + sessionTimeoutMs
    if (this.#phase === 'settled') return session
    const rebalance = this.#settled + rebalanceTimeoutMs
    if (this.#phase === 'rebalancing') return Math.min(session, rebalance)
    // The join may be lost. As long as heartbeats are answered, they would say so.
    return Math.min(session, Math.max(rebalance, this.#acknowledged + 2 * heartbeatIntervalMs))
  }
}

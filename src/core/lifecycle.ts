/**
 * Where a consumer is in its life. `idle`: not started. `running`: takes messages. `draining`: takes none, finishes what
 * runs. `closed`: nothing is settled any more. `failed`: it could not subscribe.
 */
export type ConsumerState = 'idle' | 'starting' | 'running' | 'draining' | 'closed' | 'failed'

/** The state of one consumer, set by the consumer alone and read by its parts. */
export class Lifecycle {
  state: ConsumerState = 'idle'
  /** By `pause()`, not by a limit: what waits here goes back to the broker. */
  isPaused = false

  /** Messages may be taken in and handlers may start. */
  get isOpen(): boolean {
    return this.state === 'starting' || this.state === 'running'
  }

  get isClosed(): boolean {
    return this.state === 'closed'
  }

  /** It has begun to end, or has ended: it can't be started any more. */
  get hasEnded(): boolean {
    return this.state === 'closed' || this.state === 'failed'
  }
}

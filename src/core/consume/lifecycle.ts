/**
 * State of a consumer. `idle`: not started. `running`: takes messages. `draining`: takes none, and waits for running handlers.
 * `closed`: settles nothing more. `failed`: could not subscribe.
 */
export type ConsumerState = 'idle' | 'starting' | 'running' | 'draining' | 'closed' | 'failed'

/** The state of one consumer: written only by `Consumer`, read by its parts. */
export class Lifecycle {
  state: ConsumerState = 'idle'
  /** Set by `pause()`, not by a limit: waiting messages go back to the broker. */
  isPaused = false

  /** True when messages may be accepted and handlers may start. */
  get isOpen(): boolean {
    return this.state === 'starting' || this.state === 'running'
  }

  get isClosed(): boolean {
    return this.state === 'closed'
  }

  /** True when it is closing or has ended: it can't be started again. */
  get hasEnded(): boolean {
    return this.state === 'closed' || this.state === 'failed'
  }
}

import type { TransportHost } from '../transport.ts'

/**
 * The connection of a transport, as users see it: reports `connect` once, then `disconnect` and `reconnect` in turns, each once
 * however often the same change is stated here. Measures how long the connection was lost.
 *
 *     const connection = new ConnectionState(host)
 *     client.on('ready', () => connection.up())
 *     client.on('lost', (error) => connection.down(error.message))
 */
export class ConnectionState {
  readonly #host: Pick<TransportHost, 'name' | 'clock' | 'events'>
  #phase: 'opening' | 'up' | 'down' | 'closed' = 'opening'
  #downSince = 0

  constructor(host: Pick<TransportHost, 'name' | 'clock' | 'events'>) {
    this.#host = host
  }

  get isUp(): boolean {
    return this.#phase === 'up'
  }

  /** The connection is there, and everything on it is restored. `attempts`: how many it took to connect again. */
  up(attempts = 1): void {
    const { name: transport, clock, events } = this.#host
    const before = this.#phase
    if (before === 'up' || before === 'closed') return
    this.#phase = 'up'
    if (before === 'opening') events.emit('connect', { transport })
    else {
      const downMs = clock.monotonic() - this.#downSince
      events.emit('reconnect', { transport, downMs, attempts: Math.max(1, attempts) })
    }
  }

  /** The connection is lost, for that reason. Ignored unless it was there. */
  down(reason: string): void {
    if (this.#phase !== 'up') return
    this.#phase = 'down'
    this.#downSince = this.#host.clock.monotonic()
    this.#host.events.emit('disconnect', { transport: this.#host.name, planned: false, reason })
  }

  /** The transport is closed: its disconnect is planned, and the last thing that is reported. */
  close(): void {
    const wasUp = this.isUp
    this.#phase = 'closed'
    if (wasUp) this.#host.events.emit('disconnect', { transport: this.#host.name, planned: true, reason: 'closed' })
  }
}

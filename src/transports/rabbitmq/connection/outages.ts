import type { BusbarError } from '../../../core/errors.ts'
import { ConnectionError } from '../../../core/errors.ts'
import { ConnectionState } from '../../../core/util/connection-state.ts'
import type { TransportHost } from '../../../core/transport.ts'
import { reasonOf } from '../errors.ts'
import type { Connection } from './connection.ts'

/** Several connections as one to users: the transport is disconnected while any of them is down. */
export class Outages {
  readonly #state: ConnectionState
  /** Reports what needs someone to act. */
  readonly #failed: (error: BusbarError) => void
  readonly #down = new Set<Connection>()
  /** Attempts to connect during this outage. */
  #attempts = 0
  #isClosing = false

  constructor(host: TransportHost, failed: (error: BusbarError) => void) {
    this.#state = new ConnectionState(host)
    this.#failed = failed
  }

  /** Why the transport is disconnected; undefined while it is not. */
  get reason(): string | undefined {
    for (const { lastError } of this.#down) return lastError === undefined ? 'not connected' : reasonOf(lastError)
    return undefined
  }

  /** The first connection is there. */
  opened(): void {
    this.#state.up()
  }

  up(connection: Connection): void {
    if (this.#down.delete(connection) && this.#down.size === 0) this.#state.up(this.#attempts)
  }

  down(connection: Connection, error: Error): void {
    if (this.#isClosing) return
    const isFirst = this.#down.size === 0
    this.#down.add(connection)
    if (!isFirst) return
    this.#attempts = 1
    this.#state.down(reasonOf(error))
  }

  /** An attempt to connect again has failed. */
  trouble(error: BusbarError): void {
    this.#attempts++
    // The loss of the broker was reported. That it refuses us now is news.
    if (!ConnectionError.is(error)) this.#failed(error)
  }

  /** Connections that end from now on are no outage. */
  closing(): void {
    this.#isClosing = true
  }

  /** All connections have ended. */
  close(): void {
    this.#state.close()
  }
}

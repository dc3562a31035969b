import { sleep } from '../../core/clock.ts'
import type { ServerAddress, TransportHealth, TransportHost } from '../../core/transport.ts'
import { ConnectionState } from '../../core/util/connection-state.ts'
import type { ClientHooks, ConnectionEvent } from '../../kafka/index.ts'

/** Pause between attempts to reach a broker, when nothing else tries to. */
const PROBE_MS = 250

/**
 * Whether the cluster can be reached: while this client has a connection to any of its brokers. The connection to one broker may come
 * and go without a word, as with each election; it is lost when there is none.
 */
export class Connectivity {
  readonly hooks: ClientHooks
  readonly #host: TransportHost
  readonly #state: ConnectionState
  readonly #closing = new AbortController()
  /** Open connections, by broker. */
  readonly #open = new Map<string, number>()
  #probe: (() => Promise<unknown>) | undefined
  #isProbing = false
  #attempts = 0
  #reason: string | undefined
  #server: ServerAddress | undefined

  /** `given`: hooks of the user, which are called as well. */
  constructor(host: TransportHost, given: ClientHooks | undefined) {
    this.#host = host
    this.#state = new ConnectionState(host)
    this.hooks = {
      ...given,
      onConnection: (event) => {
        this.#changed(event)
        given?.onConnection?.(event)
      },
    }
  }

  get server(): ServerAddress | undefined {
    return this.#open.size === 0 ? undefined : this.#server
  }

  health(): TransportHealth {
    return this.#state.isUp ? { connected: true } : { connected: false, detail: this.#reason }
  }

  /** It was reached. `probe` asks a broker anything. */
  open(probe: () => Promise<unknown>): void {
    this.#probe = probe
    this.#state.up()
  }

  /** What ends from now on was meant to. */
  closing(): void {
    this.#closing.abort()
  }

  closed(): void {
    this.#closing.abort()
    this.#state.close()
  }

  #changed(event: ConnectionEvent): void {
    if (this.#closing.signal.aborted) return
    const { host, port } = event.broker
    const name = `${host}:${port}`
    if (event.type === 'failed') {
      this.#attempts++
      this.#reason = event.error.message
      return
    }
    const count = (this.#open.get(name) ?? 0) + (event.type === 'connected' ? 1 : -1)
    if (count > 0) this.#open.set(name, count)
    else this.#open.delete(name)
    if (event.type === 'connected') {
      this.#server = { host, port }
      this.#reason = undefined
      if (this.#probe !== undefined) this.#state.up(this.#attempts + 1)
      this.#attempts = 0
    } else if (this.#open.size === 0 && this.#probe !== undefined) {
      this.#reason = event.error.message
      this.#state.down(event.error.message)
      void this.#untilUp()
    }
  }

  /** A client that has nothing to do would not notice that the brokers are back. */
  async #untilUp(): Promise<void> {
    if (this.#isProbing) return
    this.#isProbing = true
    while (!this.#state.isUp && !this.#closing.signal.aborted) {
      // Its connection says whether it has succeeded.
      await this.#probe?.().catch(() => {})
      if (!this.#state.isUp) await sleep(this.#host.clock, PROBE_MS, this.#closing.signal).catch(() => {})
    }
    this.#isProbing = false
  }
}

import type { KafkaError } from '../errors.ts'
import type { BrokerApis } from '../protocol/api-versions.ts'
import type { ApiName, Requests, Responses } from '../protocol/generated/api-types.ts'
import type { Clock } from './clock.ts'
import { connectionError } from './connection-errors.ts'
import { ConnectionState } from './connection-state.ts'
import type { ConnectionSettings, RequestOptions } from './connection-state.ts'
import { mechanismOf, startSasl } from './sasl/sasl.ts'
import type { SaslOptions } from './sasl/sasl.ts'
import type { SaslExchange } from './sasl/sasl-exchange.ts'
import type { Address, KafkaSocket, OpenSocket } from './sockets.ts'

export interface ConnectionOptions {
  readonly address: Address
  readonly settings: Omit<ConnectionSettings, 'saslMechanism'>
  readonly sasl: SaslOptions | undefined
  readonly openSocket: OpenSocket
  readonly clock: Clock
  /** A broker asks to slow down: nothing is sent to it for `ms`. */
  readonly onThrottle?: (api: ApiName, ms: number) => void
}

export type SendOptions = Pick<RequestOptions<ApiName>, 'maxVersion' | 'waitMs' | 'writeWithinMs'>

export interface Sent<N extends ApiName> {
  readonly response: Responses[N]
  readonly version: number
}

/** A connection to one broker: the state machine, a socket, one timer. */
export class Connection {
  readonly #state: ConnectionState
  readonly #socket: KafkaSocket
  readonly #clock: Clock
  readonly #ready: PromiseWithResolvers<BrokerApis> = Promise.withResolvers()
  readonly #ended: PromiseWithResolvers<KafkaError> = Promise.withResolvers()
  readonly #sasl: SaslOptions | undefined
  #exchange: SaslExchange | undefined
  #cancelTimer: (() => void) | undefined
  #timerAt = Infinity

  constructor({ address, settings, sasl, openSocket, clock, onThrottle }: ConnectionOptions) {
    this.#clock = clock
    this.#sasl = sasl
    // A connection that fails before anybody asks must not end the process.
    this.#ready.promise.catch(() => {})
    const saslMechanism = sasl === undefined ? undefined : mechanismOf(sasl)
    this.#state = new ConnectionState(
      { ...settings, saslMechanism },
      {
        write: (chunks, written) => this.#socket.write(chunks, written),
        destroy: () => this.#socket.destroy(),
        askSasl: (challenge) => void this.#askSasl(challenge),
        ready: () => this.#becameReady(),
        throttled: (name, ms) => onThrottle?.(name, ms),
        closed: (error) => this.#closed(error),
      },
      clock.now(),
    )
    this.#socket = openSocket(address, {
      connected: () => this.#then((now) => this.#state.connected(now)),
      received: (chunk) => this.#then((now) => this.#state.received(chunk, now)),
      room: () => this.#state.room(),
      closed: (error) => this.#state.disconnected(error),
    })
    this.#setTimer()
  }

  /** Resolves when requests can be sent: connected, versions negotiated, authenticated. Rejects if it ends before. */
  get ready(): Promise<BrokerApis> {
    return this.#ready.promise
  }

  /** Resolves, with the reason, when the connection has ended. */
  get ended(): Promise<KafkaError> {
    return this.#ended.promise
  }

  get apis(): BrokerApis | undefined {
    return this.#state.apis
  }

  get isOpen(): boolean {
    return this.#state.phase !== 'closed'
  }

  /** Since when the next answer is late, the time that its request asked the broker to wait not counted; undefined if none is. */
  get lateSince(): number | undefined {
    return this.#state.lateSince(this.#clock.now())
  }

  /** Written and not answered yet. */
  get inFlight(): number {
    return this.#state.inFlight
  }

  /**
   * Sends a request and waits for its answer. It may be called before the connection is ready. Rejects with a {@link KafkaError} whose
   * `outcome` says whether the broker may have carried it out. Settles after `writeWithinMs`, or the request timeout plus `waitMs` after
   * it was written, at the latest.
   */
  send<N extends ApiName>(
    name: N,
    body: Requests[N] | ((version: number) => Requests[N]),
    options: SendOptions = {},
  ): Promise<Sent<N>> {
    const { promise, resolve, reject } = Promise.withResolvers<Sent<N>>()
    this.request({
      ...options,
      name,
      body,
      done: (error, response, version) => {
        if (response === undefined) reject(error ?? new Error('no answer was asked for'))
        else resolve({ response, version })
      },
    })
    return promise
  }

  /** Like {@link Connection.send}, with a callback in place of a promise. */
  request<N extends ApiName>(options: RequestOptions<N>): void {
    this.#then((now) => this.#state.request(options, now))
  }

  /** Ends the connection at once. What was written ends as `unknown`. */
  close(reason: KafkaError = connectionError('CLOSED', 'the connection was closed by this client', 'unknown')): void {
    this.#state.close(reason)
  }

  #then(run: (now: number) => void): void {
    run(this.#clock.now())
    this.#setTimer()
  }

  async #askSasl(challenge: Buffer | undefined): Promise<void> {
    try {
      if (challenge === undefined) this.#exchange = this.#sasl && (await startSasl(this.#sasl))
      const message = await this.#exchange?.next(challenge)
      this.#then((now) => this.#state.saslMessage(message, now))
    } catch (error) {
      this.#state.saslFailed(error)
    }
  }

  #becameReady(): void {
    const { apis } = this.#state
    if (apis !== undefined) this.#ready.resolve(apis)
  }

  #closed(error: KafkaError): void {
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    this.#ready.reject(error)
    this.#ended.resolve(error)
  }

  /** One timer, for the earliest deadline; it is not moved later, since answers come far more often than it is due. */
  #setTimer(): void {
    const { wakeAt } = this.#state
    if (wakeAt >= this.#timerAt || !this.isOpen) return
    this.#cancelTimer?.()
    this.#timerAt = wakeAt
    this.#cancelTimer = this.#clock.setTimer(() => this.#woke(), Math.max(0, wakeAt - this.#clock.now()))
  }

  #woke(): void {
    this.#cancelTimer = undefined
    this.#timerAt = Infinity
    this.#then((now) => this.#state.tick(now))
  }
}

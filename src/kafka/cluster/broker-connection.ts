import { isIP } from 'node:net'
import type { KafkaError } from '../errors.ts'
import { Connection } from '../network/connection.ts'
import { connectionError, withOutcome } from '../network/connection-errors.ts'
import type { RequestOptions } from '../network/connection-state.ts'
import type { Address } from '../network/sockets.ts'
import type { BrokerApis } from '../protocol/api-versions.ts'
import type { ApiName } from '../protocol/generated/api-types.ts'
import { backoffMs } from './backoff.ts'
import { closedError } from './cluster-errors.ts'
import type { ClusterSettings } from './cluster-options.ts'
import { brokerName, callHook } from './hooks.ts'
import type { BrokerIdentity } from './hooks.ts'
import type { Subject, Troubles } from './troubles.ts'
import { Waits } from './waits.ts'

export interface BrokerConnectionOptions {
  readonly broker: BrokerIdentity
  readonly purpose: string
  readonly maxInFlight: number
  readonly settings: ClusterSettings
  /** Where it is reported that the broker can't be reached. */
  readonly troubles?: Troubles
  /** A connection was lost or can't be made, or the broker is silent: what is known about the cluster may be outdated. */
  readonly onDoubt: () => void
}

interface Waiting {
  readonly request: RequestOptions<ApiName>
  readonly since: number
  readonly deadline: number
}

/**
 * The connection to one broker for one purpose: opened when a request needs it, at any of the broker's addresses, and opened again
 * after a pause. Requests wait while it is being opened, in the order of the calls, and fail as `not-sent` when it could not be.
 */
export class BrokerConnection {
  readonly broker: BrokerIdentity
  readonly #options: BrokerConnectionOptions
  readonly #settings: ClusterSettings
  readonly #waits: Waits
  readonly #waiting: Waiting[] = []
  #opening: Connection | undefined
  #open: Connection | undefined
  #isConnecting = false
  #isClosed = false
  /** Since it is open. */
  #hasAnswered = false
  #failures = 0
  #notBefore = -Infinity
  #addressIndex = 0
  #openedAt = 0
  #lastUsed = 0
  #cancelRetry: (() => void) | undefined
  #cancelExpiry: (() => void) | undefined
  #expiryAt = Infinity
  #cancelIdle: (() => void) | undefined
  #cancelSuspicion: (() => void) | undefined

  constructor(options: BrokerConnectionOptions) {
    this.#options = options
    this.#settings = options.settings
    this.#waits = new Waits(options.settings.clock)
    this.broker = options.broker
  }

  /** Negotiated, authenticated and not lost. */
  get isOpen(): boolean {
    return this.#open !== undefined
  }

  /** What the broker offers, while the connection is open. */
  get apis(): BrokerApis | undefined {
    return this.#open?.apis
  }

  /** Requests that are not settled. */
  get load(): number {
    return this.#waiting.length + (this.#open?.inFlight ?? 0)
  }

  request<N extends ApiName>(options: RequestOptions<N>): void {
    const request = this.#observed(options)
    if (this.#isClosed) return request.done(closedError(), undefined, -1)
    const { clock, requestTimeoutMs } = this.#settings
    const now = clock.now()
    this.#lastUsed = now
    this.#watchSilence()
    if (this.#open !== undefined) return this.#open.request(request)
    const deadline = now + (options.writeWithinMs ?? requestTimeoutMs)
    this.#waiting.push({ request, since: now, deadline })
    this.#expireBy(deadline)
    this.#connectSoon()
  }

  /** Ends it; what was written is `unknown`, the rest `not-sent`. It can't be used again. */
  close(error: KafkaError = closedError()): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#cancelRetry?.()
    this.#cancelSuspicion?.()
    this.#waits.close()
    this.#opening?.close(error)
    this.#endOpen(error)?.close(error)
    this.#failWaiting(error)
  }

  #connectSoon(): void {
    if (this.#isConnecting || this.#cancelRetry !== undefined) return
    const wait = this.#notBefore - this.#settings.clock.now()
    if (wait <= 0) return void this.#connect()
    this.#cancelRetry = this.#settings.clock.setTimer(() => {
      this.#cancelRetry = undefined
      if (this.#waiting.length > 0) void this.#connect()
    }, wait)
  }

  /** Tries the addresses one after the other, starting with the one that worked last. */
  async #connect(): Promise<void> {
    this.#isConnecting = true
    let error = connectionError('CONNECTION_CLOSED', `${this.#name()} has no address`, 'not-sent')
    const addresses = await this.#addresses().catch((cause: unknown) => {
      error = connectionError('CONNECTION_CLOSED', `${this.#name()} could not be resolved`, 'not-sent', cause)
      this.#hookFailed(undefined, error)
      return []
    })
    for (let tried = 0; tried < addresses.length && !this.#isClosed; tried++) {
      const address = addresses[this.#addressIndex % addresses.length]
      if (address === undefined) break
      const connection = this.#dial(address)
      const failure = await connection.ready.then(
        () => undefined,
        (reason: unknown) => reason as KafkaError,
      )
      this.#opening = undefined
      if (failure === undefined) return this.#opened(connection, address)
      error = failure
      if (this.#isClosed) break
      this.#addressIndex++
      this.#hookFailed(address, error)
      // The broker has answered: another address of it would say the same.
      if (error.action === 'fatal') break
    }
    this.#isConnecting = false
    if (!this.#isClosed) this.#couldNotConnect(error)
  }

  async #addresses(): Promise<readonly Address[]> {
    const { host, port } = this.broker
    if (isIP(host) !== 0) return [{ host, port }]
    const { resolve, connectTimeoutMs } = this.#settings
    const found = await this.#waits.within(resolve(host), `the look-up of ${host}`, { timeoutMs: connectTimeoutMs })
    return found.map((ip) => ({ host: ip, port, serverName: host }))
  }

  #dial(address: Address): Connection {
    const { settings } = this.#options
    const connection = new Connection({
      address,
      sasl: settings.sasl,
      openSocket: settings.openSocket,
      clock: settings.clock,
      settings: {
        name: this.#name(),
        clientId: settings.clientId,
        softwareName: 'busbar',
        softwareVersion: SOFTWARE_VERSION,
        requestTimeoutMs: settings.requestTimeoutMs,
        connectTimeoutMs: settings.connectTimeoutMs,
        maxInFlight: this.#options.maxInFlight,
        maxFrameBytes: settings.maxResponseBytes,
      },
      onThrottle: (api, ms) => {
        const { broker, purpose } = this.#options
        callHook(settings.hooks.onThrottle, { broker, purpose, api, ms })
      },
    })
    this.#opening = connection
    return connection
  }

  #opened(connection: Connection, address: Address): void {
    const { clock, hooks } = this.#settings
    const { broker, purpose } = this.#options
    this.#isConnecting = false
    if (this.#isClosed) return connection.close()
    this.#open = connection
    this.#hasAnswered = false
    this.#openedAt = this.#lastUsed = clock.now()
    this.#watchIdle()
    void connection.ended.then((error) => this.#lost(connection, error))
    callHook(hooks.onConnection, { type: 'connected', broker, purpose, address })
    const now = clock.now()
    for (const { request, deadline } of this.#takeWaiting()) {
      connection.request({ ...request, writeWithinMs: Math.max(0, deadline - now) })
    }
  }

  #lost(connection: Connection, error: KafkaError): void {
    if (this.#open !== connection) return
    this.#endOpen(error)
    const now = this.#settings.clock.now()
    const isEarly = now - this.#openedAt < this.#settings.backoff.maxMs
    // One that ends as soon as it is open is no better than one that can't be opened.
    this.#failures = isEarly ? this.#failures + 1 : 0
    if (isEarly && !this.#hasAnswered) this.#options.troubles?.failed(this.#subject, error)
    this.#pauseFrom(now)
    this.#options.onDoubt()
    if (this.#waiting.length > 0) this.#connectSoon()
  }

  #couldNotConnect(error: KafkaError): void {
    this.#failures++
    this.#options.troubles?.failed(this.#subject, error)
    this.#pauseFrom(this.#settings.clock.now())
    this.#failWaiting(error)
    this.#options.onDoubt()
  }

  #pauseFrom(now: number): void {
    this.#notBefore = now + backoffMs(this.#failures, this.#settings.random(), this.#settings.backoff)
  }

  #endOpen(error: KafkaError): Connection | undefined {
    const connection = this.#open
    if (connection === undefined) return undefined
    this.#open = undefined
    this.#cancelIdle?.()
    const { broker, purpose } = this.#options
    callHook(this.#settings.hooks.onConnection, { type: 'closed', broker, purpose, error })
    return connection
  }

  #watchIdle(): void {
    const { clock, maxIdleMs } = this.#settings
    const left = this.#lastUsed + maxIdleMs - clock.now()
    this.#cancelIdle = clock.setTimer(
      () => {
        const isUsed = this.load > 0 || clock.now() < this.#lastUsed + maxIdleMs
        if (isUsed) this.#watchIdle()
        else this.#endIdle()
      },
      left > 0 ? left : maxIdleMs,
    )
  }

  #endIdle(): void {
    const error = connectionError('CONNECTION_CLOSED', `the connection to ${this.#name()} was not used`, 'not-sent')
    this.#endOpen(error)?.close(error)
  }

  #watchSilence(): void {
    const { clock, suspectAfterMs } = this.#settings
    this.#cancelSuspicion ??= clock.setTimer(() => {
      this.#cancelSuspicion = undefined
      if (this.load === 0) return
      const since = this.#open === undefined ? this.#waiting[0]?.since : this.#open.lateSince
      if (since !== undefined && clock.now() - since >= suspectAfterMs) this.#options.onDoubt()
      this.#watchSilence()
    }, suspectAfterMs)
  }

  #expireBy(at: number): void {
    if (at >= this.#expiryAt) return
    this.#cancelExpiry?.()
    this.#expiryAt = at
    this.#cancelExpiry = this.#settings.clock.setTimer(() => this.#expire(), at - this.#settings.clock.now())
  }

  #expire(): void {
    const now = this.#settings.clock.now()
    const all = this.#takeWaiting()
    for (const waiting of all) {
      if (waiting.deadline <= now) continue
      this.#waiting.push(waiting)
      this.#expireBy(waiting.deadline)
    }
    for (const { request, deadline } of all) {
      if (deadline > now) continue
      const message = `${request.name} could not be sent to ${this.#name()} in time: there is no connection yet`
      request.done(connectionError('REQUEST_TIMEOUT', message, 'not-sent'), undefined, -1)
    }
  }

  #failWaiting(error: KafkaError): void {
    for (const { request } of this.#takeWaiting()) request.done(withOutcome(error, 'not-sent'), undefined, -1)
  }

  #takeWaiting(): Waiting[] {
    this.#cancelExpiry?.()
    this.#cancelExpiry = undefined
    this.#expiryAt = Infinity
    return this.#waiting.splice(0)
  }

  /** The request, with its end reported to the hooks. */
  #observed<N extends ApiName>(options: RequestOptions<N>): RequestOptions<ApiName> {
    const { clock, hooks } = this.#settings
    const { onRequest, onTrouble } = hooks
    if (onRequest === undefined && onTrouble === undefined) return options as unknown as RequestOptions<ApiName>
    const { broker, purpose } = this.#options
    const start = clock.now()
    const done: RequestOptions<N>['done'] = (error, response, version) => {
      callHook(onRequest, { broker, purpose, api: options.name, version, durationMs: clock.now() - start, error })
      if (error === undefined) this.#answered()
      options.done(error, response, version)
    }
    return { ...options, done } as unknown as RequestOptions<ApiName>
  }

  #answered(): void {
    this.#hasAnswered = true
    const { troubles } = this.#options
    if (troubles?.isLasting(this.#subject) === true) troubles.ended(this.#subject)
  }

  get #subject(): Subject {
    return { about: 'broker', name: brokerName(this.broker) }
  }

  #hookFailed(address: Address | undefined, error: KafkaError): void {
    const { broker, purpose } = this.#options
    callHook(this.#settings.hooks.onConnection, { type: 'failed', broker, purpose, address, error })
  }

  #name(): string {
    return this.broker.nodeId === undefined ? brokerName(this.broker) : `broker ${brokerName(this.broker)}`
  }
}

/** Shown in the brokers' metrics (KIP-511). */
const SOFTWARE_VERSION = '0.1.0'

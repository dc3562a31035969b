import { createInbox } from '@nats-io/transport-node'
import type { Msg, NatsConnection, RequestOptions, Status, Subscription } from '@nats-io/transport-node'
import type { Timer } from '../../../core/clock.ts'
import { growingDelay, halfRandom } from '../../../core/util/backoff.ts'
import { AuthorizationError, ConnectionError, StateError } from '../../../core/errors.ts'
import type { ServerAddress, TransportHealth, TransportHost } from '../../../core/transport.ts'
import { ConnectionState } from '../../../core/util/connection-state.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { connectTo, serverOf } from './connect.ts'
import { isPermission, toBusbarError } from '../errors.ts'
import { Incoming } from './incoming.ts'
import type { ResolvedNatsOptions } from '../options.ts'
import { WriteBuffer } from './write-buffer.ts'
import { WireReader } from './wire-reader.ts'

/** A part of the transport that survives reconnects. */
export interface SessionPart {
  /** The connection is lost, for that reason. Synchronous; must not throw. */
  down(reason: string): void
  /**
   * The connection is back: restore what the server lost. Rejects when that is not possible yet; it is called again
   * then.
   */
  restore?(): Promise<void>
  /** Everything of every part is restored: writing may continue. Synchronous; must not throw. */
  up(): void
}

/** First pause before restoring is tried again; doubled up to a limit. The server may be up before its JetStream is. */
const RESTORE_BASE_MS = 50
const RESTORE_MAX_MS = 2_000
/** An unanswered request is sent again after the first pause, then after the longer one each time. */
const AGAIN_BASE_MS = 500
const AGAIN_MAX_MS = 1_000
/** Minimum interval between reports of the same problem. */
const SAME_ERROR_MS = 5_000
const MAX_REPORTED = 1_000

/**
 * The connection over its whole life. `ready` is true from the moment when everything on it is restored until it is
 * lost: nothing may be written otherwise, so that nothing of an old session reaches a new one unnoticed.
 */
export class Session {
  readonly options: ResolvedNatsOptions
  readonly host: TransportHost
  connection!: NatsConnection
  writeBuffer!: WriteBuffer
  ready = false
  /** Number of consumers on the server that are read. */
  readers = 0
  /** Also while the parts are restored. */
  #isConnected = true
  /** That of the server, as numbers. */
  #version: readonly [text: string, ...numbers: number[]] = ['']
  readonly #state: ConnectionState
  #reader: WireReader | undefined
  readonly #parts = new Set<SessionPart>()
  readonly #requests = new Set<(error: unknown) => void>()
  #owned = true
  #closing = false
  #closed = false
  #attempts = 0
  #delayMs = 0
  #detail: string | undefined
  /** Problems although the server answers, by the part that reported them. */
  readonly #troubles = new Map<object, string>()
  readonly #remarks = new Map<object, string>()
  #reportedError = ''
  /** The server's last error before it closed the connection. */
  #lastWord = ''
  readonly #reportedAt = new Map<string, number>()
  #status: AsyncIterable<Status> | undefined
  #statusDone: Promise<void> = Promise.resolve()
  #epoch = 0
  #retry: Timer | undefined
  #wakeRetry: (() => void) | undefined

  constructor(options: ResolvedNatsOptions, host: TransportHost) {
    this.options = options
    this.host = host
    this.#state = new ConnectionState(host)
  }

  /** Rejects with `ConnectionError` or `AuthorizationError`. */
  async open(): Promise<void> {
    const { options, host } = this
    this.#owned = options.client === undefined
    try {
      this.connection = options.client ?? (await connectTo(options, host.service, () => this.#delayMs))
    } catch (error) {
      throw toBusbarError(error, `Connecting to NATS at ${options.servers.join(', ')}`)
    }
    if (this.connection.isClosed())
      throw new ConnectionError('The NATS connection that was given is closed', { retryable: false })
    this.writeBuffer = new WriteBuffer(this.connection)
    // How a connection passed by the user is read is up to the user.
    if (this.#owned)
      this.#reader = WireReader.attach(this.connection, (error) => this.error(error, 'receiving a message'))
    this.#statusDone = this.#watch()
  }

  /** The server's `max_payload`. */
  get maxPayload(): number {
    return this.connection.info?.max_payload ?? 1_048_576
  }

  get serverVersion(): string {
    return this.connection.info?.version ?? ''
  }

  /** False when the server does not report its version. */
  isOlderThan(major: number, minor: number): boolean {
    const { serverVersion } = this
    if (serverVersion !== this.#version[0]) this.#version = [serverVersion, ...serverVersion.split('.').map(Number)]
    const [, ofServer = 0, minorOfServer = 0] = this.#version
    return ofServer > 0 && (ofServer < major || (ofServer === major && minorOfServer < minor))
  }

  get serverName(): string {
    return this.connection.getServer()
  }

  /** The server of the current connection. */
  get server(): ServerAddress | undefined {
    return this.ready ? serverOf(this.serverName) : undefined
  }

  health(): TransportHealth {
    if (this.#closed || this.#closing) return { connected: false, detail: 'closed' }
    const [trouble] = this.#troubles.values()
    const [remark] = this.#remarks.values()
    return { connected: this.ready && trouble === undefined, detail: this.#detail ?? trouble ?? remark }
  }

  /** Everything that was set up while opening is in place. */
  begin(): void {
    this.ready = true
    this.#state.up()
  }

  add(part: SessionPart): void {
    this.#parts.add(part)
  }

  remove(part: SessionPart): void {
    this.#parts.delete(part)
  }

  inbox(): string {
    return createInbox(this.options.native.connect?.inboxPrefix)
  }

  /** `receive` must not throw, and must not keep its argument. `failed`: the server ended the subscription. */
  subscribe(
    subject: string,
    receive: (message: Incoming) => void,
    failed: (error: Error) => void,
    queue?: string,
  ): Subscription {
    const incoming = new Incoming()
    const callback: Subscription['callback'] = (error, native) => {
      if (error !== null) return failed(error)
      incoming.take(native)
      receive(incoming)
    }
    const subscription = this.connection.subscribe(subject, { callback, ...(queue === undefined ? {} : { queue }) })
    this.#reader?.add(subscription, receive)
    return subscription
  }

  /**
   * A request that fails as soon as the connection is lost, and at once while there is none: the client itself would drop
   * it, and let it wait for its timeout.
   */
  request(subject: string, body: string | Uint8Array, options: RequestOptions): Promise<Msg> {
    if (!this.#isConnected) return Promise.reject(new ConnectionError(this.#detail ?? 'there is no connection'))
    // The server gets it after what was written before it.
    this.writeBuffer.flush()
    return new Promise((resolve, reject) => {
      const fail = (error: unknown): void => {
        this.#requests.delete(fail)
        reject(error)
      }
      this.#requests.add(fail)
      this.connection.request(subject, body, options).then((answer) => {
        this.#requests.delete(fail)
        resolve(answer)
      }, fail)
    })
  }

  /**
   * A request that may be executed more than once. Until there is an answer it is sent again and again, within the time
   * for one request: a request to a cluster node that has just died is never answered, and the next leader is elected
   * some seconds later. The first answer to any copy counts, so that a slow server is not given up.
   */
  async requestAgain(
    subject: string,
    body: string | Uint8Array,
    options: RequestOptions,
    againMs: number = AGAIN_BASE_MS,
  ): Promise<Msg> {
    const { clock } = this.host
    const endsAt = clock.monotonic() + options.timeout
    const first = Promise.withResolvers<Msg>()
    let timer: Timer | undefined
    const send = (pauseMs: number, timeout: number): void => {
      this.request(subject, body, { ...options, timeout }).then(first.resolve, first.reject)
      const left = endsAt - clock.monotonic() - pauseMs
      if (left > 0)
        timer = clock.setTimer(pauseMs, () => send(Math.max(againMs, Math.min(AGAIN_MAX_MS, pauseMs * 2)), left))
    }
    send(againMs, options.timeout)
    try {
      return await first.promise
    } finally {
      timer?.cancel()
    }
  }

  /** Resolves when the server has processed everything written before. */
  async flush(): Promise<void> {
    this.writeBuffer.flush()
    await this.connection.flush()
  }

  requireOpen(): void {
    if (this.#closing || this.#closed) throw new StateError('The NATS transport is closed')
  }

  /** Changes when the connection is lost, and when it is back. */
  get epoch(): number {
    return this.#epoch
  }

  get closing(): boolean {
    return this.#closing
  }

  /** Reports a fault; one that lasts is repeated only occasionally. */
  error(error: unknown, doing: string): void {
    const now = this.host.clock.monotonic()
    const kind = `${doing}: ${error instanceof Error ? error.name : 'unknown'}`
    const last = this.#reportedAt.get(kind)
    if (last !== undefined && now - last < SAME_ERROR_MS) return
    if (this.#reportedAt.size >= MAX_REPORTED) this.#reportedAt.clear()
    this.#reportedAt.set(kind, now)
    this.host.events.emit('error', { transport: this.host.name, error, doing })
  }

  /** The server answers, but `source` can't do its work; undefined when it can again. */
  trouble(source: object, detail: string | undefined): void {
    if (detail === undefined) this.#troubles.delete(source)
    else this.#troubles.set(source, detail)
  }

  /** Something to report while everything continues to work; undefined when it is over. */
  remark(source: object, detail: string | undefined): void {
    if (detail === undefined) this.#remarks.delete(source)
    else this.#remarks.set(source, detail)
  }

  warning(code: string, detail: string): void {
    this.host.events.emit('warning', { transport: this.host.name, code, detail })
  }

  // --- status ------------------------------------------------------------------------------------------------------

  async #watch(): Promise<void> {
    this.#status = this.connection.status()
    for await (const status of this.#status) this.#onStatus(status)
    if (!this.#closing) this.#lost('the connection was closed for good')
  }

  #onStatus(status: Status): void {
    switch (status.type) {
      case 'disconnect':
        this.#lost(`the connection to the server was lost${this.#lastWord === '' ? '' : `: ${this.#lastWord}`}`)
        this.#lastWord = ''
        return
      case 'reconnecting':
        this.#attempts++
        this.#delayMs = this.#nextDelay()
        return
      case 'reconnect':
        this.#isConnected = true
        this.#lastWord = ''
        this.#restore().catch((error: unknown) => this.error(error, 'restoring the session'))
        return
      case 'staleConnection':
        this.#detail = 'the server does not answer'
        return
      case 'ldm':
        this.warning('nats-lame-duck', 'the server is about to shut down and asked its clients to go elsewhere')
        return
      case 'error':
        this.#onError(status.error)
        return
      default:
        return
    }
  }

  #onError(error: Error): void {
    // A missing permission does not end the connection.
    if (!isPermission(error)) this.#lastWord = error.message
    const ours = toBusbarError(error, 'Working with the NATS server')
    this.#detail = AuthorizationError.is(ours) ? ours.message : this.#detail
    // While refused, every attempt is refused; one report per episode is enough.
    if (error.message === this.#reportedError) return
    this.#reportedError = error.message
    this.error(ours, this.ready ? 'using the connection' : 'reconnecting')
  }

  #nextDelay(): number {
    return Math.round(halfRandom(growingDelay(this.options.reconnect, this.#attempts)))
  }

  #lost(reason: string): void {
    if (this.#closed) return
    const wasReady = this.ready
    this.ready = false
    this.#isConnected = false
    this.#epoch++
    this.writeBuffer.discard()
    if (wasReady) {
      this.#attempts = 0
      this.#delayMs = 0
    }
    this.#detail = reason
    for (const part of this.#parts) part.down(reason)
    for (const fail of this.#requests) fail(new ConnectionError(reason))
    this.#wakeRetry?.()
    if (this.#closing) this.#state.close()
    else this.#state.down(reason)
  }

  async #restore(): Promise<void> {
    const epoch = ++this.#epoch
    for (let tries = 0; ; tries++) {
      try {
        await this.#restoreParts()
        if (this.#epoch !== epoch || this.#closing) return
        break
      } catch (error) {
        if (this.#epoch !== epoch || this.#closing) return
        this.#detail = toBusbarError(error, 'Restoring the session').message
        await this.#pause(Math.min(RESTORE_MAX_MS, RESTORE_BASE_MS * 2 ** tries))
        if (this.#epoch !== epoch || this.#closing) return
      }
    }
    this.#detail = undefined
    this.#troubles.clear()
    this.#reportedError = ''
    this.ready = true
    this.#state.up(this.#attempts)
    for (const part of this.#parts) part.up()
  }

  /** In parallel: in a cluster, each may have to wait for its own leader. No part continues in the background. */
  async #restoreParts(): Promise<void> {
    const results = await Promise.allSettled([
      // The client has subscribed again; after this, the server knows it.
      this.connection.flush(),
      ...[...this.#parts].map(async (part) => part.restore?.()),
    ])
    for (const result of results) if (result.status === 'rejected') throw result.reason
  }

  #pause(delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeRetry = () => {
        this.#retry?.cancel()
        this.#wakeRetry = undefined
        resolve()
      }
      this.#retry = this.host.clock.setTimer(delayMs, () => this.#wakeRetry?.())
    })
  }

  // --- close -------------------------------------------------------------------------------------------------------

  /** Closes the connection unless the user passed it; `deadlineMs` limits the last flush. */
  async close(deadlineMs: number): Promise<void> {
    if (this.#closed) return
    this.#closing = true
    this.#wakeRetry?.()
    // A connection that breaks now is closed anyway.
    if (this.ready) await settledWithin(this.host.clock, deadlineMs, this.flush()).catch(() => false)
    this.ready = false
    this.#closed = true
    if (this.#owned) await this.connection.close()
    // A connection that stays open continues to report its state; the client's type does not show that listening can be
    // stopped.
    ;(this.#status as { stop?: () => void } | undefined)?.stop?.()
    await this.#statusDone
    this.#state.close()
  }
}

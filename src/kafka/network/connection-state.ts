// Over 250 lines: one state machine, whose states and queues are not to be changed from two places.
import { errorFromBroker, KafkaError, UnencodableError } from '../errors.ts'
import { firstApiVersionsVersion, negotiate, readApiVersions } from '../protocol/api-versions.ts'
import type { BrokerApis } from '../protocol/api-versions.ts'
import { correlationIdOf, decodeResponse, encodeRequest } from '../protocol/frames.ts'
import type { ApiName, Requests, Responses } from '../protocol/generated/api-types.ts'
import { connectionError, withOutcome } from './connection-errors.ts'
import { FrameSplitter } from './frame-splitter.ts'

export interface ConnectionSettings {
  /** For messages: `broker 3 (host:9092)`. */
  readonly name: string
  readonly clientId: string | null
  readonly softwareName: string
  readonly softwareVersion: string
  readonly requestTimeoutMs: number
  /** Until the socket is connected, TLS included. */
  readonly connectTimeoutMs: number
  readonly maxInFlight: number
  readonly maxFrameBytes: number
  /** The mechanism's name in SaslHandshake; undefined: no authentication. */
  readonly saslMechanism: string | undefined
}

/** What the machine asks its driver to do. */
export interface ConnectionEffects {
  /** `written` is called when the chunks are no longer needed. */
  write(chunks: readonly Buffer[], written?: () => void): void
  /** Ends the socket; nothing is called on the machine after it but timers. */
  destroy(): void
  /** The next SASL message for the server's last one; the first of a new exchange for undefined. Answered by `saslMessage`. */
  askSasl(challenge: Buffer | undefined): void
  ready(): void
  throttled(name: ApiName, ms: number): void
  closed(error: KafkaError): void
}

export interface RequestOptions<N extends ApiName> {
  readonly name: N
  /** For the version that is spoken, which is known only when the request is written. */
  readonly body: Requests[N] | ((version: number) => Requests[N])
  readonly maxVersion?: number
  /** How long the request asks the broker to wait, beside the timeout. @default 0 */
  readonly waitMs?: number
  /** If it can't be written within this time, it fails as `not-sent`. @default the request timeout */
  readonly writeWithinMs?: number
  /** False for Produce with acks 0: done when the operating system has taken its bytes. @default true */
  readonly hasAnswer?: boolean
  readonly done: (error: KafkaError | undefined, response: Responses[N] | undefined, version: number) => void
}

type AnyRequest = RequestOptions<ApiName>

interface Queued {
  readonly request: AnyRequest
  /** To be written. */
  readonly deadline: number
}

interface InFlight {
  readonly correlationId: number
  readonly request: AnyRequest
  readonly version: number
  /** To be answered. Counted from when it's written: a wait in the queue says nothing about the broker. */
  readonly deadline: number
}

type Phase = 'connecting' | 'negotiating' | 'authenticating' | 'ready' | 'draining' | 'closed'

/** Of a session's lifetime, after which the client authenticates again (KIP-368). */
const REAUTHENTICATE_AT = 0.85
const DRAIN_LIMIT_MS = 10_000
/** Brokers count quotas in windows of seconds: more is a broken answer, which must not silence the connection for days. */
const MAX_THROTTLE_MS = 60_000

/**
 * One connection: frames, correlation, pipelining, deadlines, throttling, authentication. Pure: its caller
 * reports what happens and when, and it calls its effects. It reads no clock.
 */
export class ConnectionState {
  readonly #settings: ConnectionSettings
  readonly #effects: ConnectionEffects
  readonly #splitter: FrameSplitter
  readonly #inFlight: InFlight[] = []
  readonly #queue: Queued[] = []
  /** Written without an answer to come, and the socket still has their bytes. */
  readonly #unflushed = new Set<InFlight>()
  #phase: Phase = 'connecting'
  #phaseDeadline: number
  #nextCorrelationId = 0
  #apiVersionsVersion = firstApiVersionsVersion()
  #apis: BrokerApis | undefined
  #mutedUntil = 0
  #reauthenticateAt = Infinity
  #wakeAt: number
  #error: KafkaError | undefined
  /** Another request than those before it is ready. */
  #hasAnswered = false

  constructor(settings: ConnectionSettings, effects: ConnectionEffects, now: number) {
    this.#settings = settings
    this.#effects = effects
    this.#splitter = new FrameSplitter(settings.maxFrameBytes)
    this.#phaseDeadline = now + settings.connectTimeoutMs
    this.#wakeAt = this.#phaseDeadline
  }

  get phase(): Phase {
    return this.#phase
  }

  /** Known once it is ready. */
  get apis(): BrokerApis | undefined {
    return this.#apis
  }

  get inFlight(): number {
    return this.#inFlight.length
  }

  get queued(): number {
    return this.#queue.length
  }

  /** Since when the next answer is late: the time that its request asked the broker to wait is over. Undefined if none is. */
  lateSince(now: number): number | undefined {
    const [oldest] = this.#inFlight
    const due = oldest === undefined ? Infinity : oldest.deadline - this.#settings.requestTimeoutMs
    return due <= now ? due : undefined
  }

  /** When `tick` must be called at the latest; Infinity if nothing waits. */
  get wakeAt(): number {
    return this.#wakeAt
  }

  request<N extends ApiName>(options: RequestOptions<N>, now: number): void {
    if (this.#error !== undefined) return options.done(withOutcome(this.#error, 'not-sent'), undefined, -1)
    const deadline = now + (options.writeWithinMs ?? this.#settings.requestTimeoutMs)
    this.#queue.push({ request: options as unknown as AnyRequest, deadline })
    this.#wakeBy(deadline)
    this.#flush(now)
  }

  connected(now: number): void {
    if (this.#phase !== 'connecting') return
    this.#enter('negotiating', now)
    this.#askApiVersions()
  }

  received(chunk: Buffer, now: number): void {
    try {
      this.#splitter.push(chunk, (frame) => {
        if (this.#phase !== 'closed') this.#frame(frame, now)
      })
    } catch (error) {
      this.close(error instanceof KafkaError ? error : unexpected(error))
    }
  }

  /** Where the next bytes belong, if they are of a frame that is under way. */
  room(): Buffer | undefined {
    return this.#splitter.room()
  }

  /** The answer to `askSasl`; undefined: the exchange is complete. */
  saslMessage(message: Buffer | undefined, now: number): void {
    if (this.#phase !== 'authenticating') return
    if (message !== undefined) {
      const done: AnyRequest['done'] = (error, response) =>
        this.#authenticated(error, response as Responses['SaslAuthenticate'], now)
      this.#write({ name: 'SaslAuthenticate', body: { authBytes: message }, done }, now)
      return
    }
    this.#phase = 'ready'
    this.#phaseDeadline = Infinity
    this.#effects.ready()
    this.#flush(now)
  }

  /** The exchange can't go on: credentials refused, a server that can't be trusted, or a callback that could not get any. */
  saslFailed(error: unknown): void {
    const why = error instanceof Error ? error.message : String(error)
    const isRefusal = error instanceof KafkaError && !error.retriable
    const code = isRefusal ? 'AUTHENTICATION_FAILED' : 'AUTHENTICATION_UNAVAILABLE'
    const { name, saslMechanism } = this.#settings
    this.close(connectionError(code, `authentication to ${name} by ${saslMechanism} failed: ${why}`, 'unknown', error))
  }

  /** The socket has ended. */
  disconnected(error: unknown): void {
    const why = error instanceof Error ? `: ${error.message}` : ''
    const message = `the connection to ${this.#settings.name} was lost${why}${this.#suspicion()}`
    this.close(connectionError('CONNECTION_CLOSED', message, 'unknown', error))
  }

  /** A broker ends a connection without a word when it expects SASL. */
  #suspicion(): string {
    const isFirst = this.#phase === 'ready' && !this.#hasAnswered && this.#inFlight.length > 0
    return isFirst && this.#settings.saslMechanism === undefined
      ? '; the broker had answered nothing yet: does the port ask for SASL?'
      : ''
  }

  /** Deadlines, the end of a throttle, the time to authenticate again. */
  tick(now: number): void {
    if (this.#phase === 'closed') return
    if (now >= this.#phaseDeadline) return this.#phaseTimedOut()
    const late = [...this.#inFlight, ...this.#unflushed].find(({ deadline }) => deadline <= now)
    if (late !== undefined) {
      const { name, requestTimeoutMs } = this.#settings
      const waited = requestTimeoutMs + (late.request.waitMs ?? 0)
      const message = `${name} did not answer ${late.request.name} within ${waited} ms`
      return this.close(connectionError('REQUEST_TIMEOUT', message, 'unknown'))
    }
    this.#expireQueued(now)
    if (now >= this.#reauthenticateAt && this.#phase === 'ready') this.#drain(now)
    this.#flush(now)
    this.#recomputeWake(now)
  }

  /** Ends the connection; every request is settled. May be called again. */
  close(error: KafkaError): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#error = error
    this.#wakeAt = Infinity
    this.#effects.destroy()
    const written = [...this.#inFlight.splice(0), ...this.#unflushed]
    this.#unflushed.clear()
    const queued = this.#queue.splice(0)
    for (const { request, version } of written) request.done(withOutcome(error, 'unknown'), undefined, version)
    for (const { request } of queued) request.done(withOutcome(error, 'not-sent'), undefined, -1)
    this.#effects.closed(error)
  }

  #enter(phase: Phase, now: number): void {
    this.#phase = phase
    this.#phaseDeadline = now + (phase === 'draining' ? DRAIN_LIMIT_MS : this.#settings.requestTimeoutMs)
    this.#wakeBy(this.#phaseDeadline)
  }

  #phaseTimedOut(): void {
    const { name } = this.#settings
    const what = {
      connecting: `${name} could not be connected to in time`,
      negotiating: `${name} did not say in time which versions it has`,
      authenticating: `${name} did not authenticate in time`,
      draining: `${name} did not answer in time before the next authentication`,
      ready: '',
      closed: '',
    }[this.#phase]
    const code = this.#phase === 'draining' ? 'REQUEST_TIMEOUT' : 'CONNECT_TIMEOUT'
    this.close(connectionError(code, what, 'unknown'))
  }

  #expireQueued(now: number): void {
    if (!this.#queue.some(({ deadline }) => deadline <= now)) return
    const all = this.#queue.splice(0)
    for (const queued of all) if (queued.deadline > now) this.#queue.push(queued)
    for (const { request, deadline } of all) {
      if (deadline > now) continue
      const message = `${request.name} could not be sent to ${this.#settings.name} in time`
      request.done(connectionError('REQUEST_TIMEOUT', message, 'not-sent'), undefined, -1)
    }
  }

  #askApiVersions(): void {
    const { clientId, softwareName, softwareVersion } = this.#settings
    const body = { clientSoftwareName: softwareName, clientSoftwareVersion: softwareVersion }
    const correlationId = this.#takeCorrelationId()
    this.#effects.write(encodeRequest('ApiVersions', this.#apiVersionsVersion, { correlationId, clientId }, body))
  }

  #frame(frame: Buffer, now: number): void {
    const correlationId = correlationIdOf(frame)
    if (this.#phase === 'negotiating') {
      if (correlationId !== this.#nextCorrelationId - 1) throw this.#outOfOrder(correlationId)
      return this.#negotiated(frame, now)
    }
    const answered = this.#inFlight[0]
    if (answered?.correlationId !== correlationId) throw this.#outOfOrder(correlationId)
    const { request, version } = answered
    const response = decodeResponse(request.name, version, frame)
    this.#inFlight.shift()
    this.#hasAnswered = true
    const throttleMs = 'throttleTimeMs' in response ? response.throttleTimeMs : 0
    if (throttleMs > 0) this.#throttle(request.name, throttleMs, now)
    request.done(undefined, response, version)
    if (this.#phase === 'draining' && this.#inFlight.length === 0) this.#authenticate(now)
    this.#flush(now)
  }

  #negotiated(frame: Buffer, now: number): void {
    const answer = readApiVersions(this.#apiVersionsVersion, frame)
    if (answer.type === 'error') throw errorFromBroker(answer.errorCode, `ApiVersions of ${this.#settings.name}`)
    if (answer.type === 'retry') {
      this.#apiVersionsVersion = answer.version
      return this.#askApiVersions()
    }
    this.#apis = answer.apis
    if (this.#settings.saslMechanism !== undefined) return this.#authenticate(now)
    this.#phase = 'ready'
    this.#phaseDeadline = Infinity
    this.#effects.ready()
    this.#flush(now)
  }

  #drain(now: number): void {
    this.#reauthenticateAt = Infinity
    this.#enter('draining', now)
    if (this.#inFlight.length === 0) this.#authenticate(now)
  }

  #authenticate(now: number): void {
    const { saslMechanism, name } = this.#settings
    this.#enter('authenticating', now)
    const done: AnyRequest['done'] = (error, response) => {
      const { errorCode = 0, mechanisms = [] } = (response ?? {}) as Partial<Responses['SaslHandshake']>
      if (error !== undefined) return this.saslFailed(error)
      if (errorCode === 0) return this.#effects.askSasl(undefined)
      const offered = mechanisms.length > 0 ? `it offers ${mechanisms.join(', ')}` : null
      this.saslFailed(errorFromBroker(errorCode, `${saslMechanism} at ${name}`, offered))
    }
    this.#write({ name: 'SaslHandshake', body: { mechanism: saslMechanism ?? '' }, done }, now)
  }

  #authenticated(
    error: KafkaError | undefined,
    response: Responses['SaslAuthenticate'] | undefined,
    now: number,
  ): void {
    if (error !== undefined || response === undefined) return this.saslFailed(error)
    const { errorCode, errorMessage, authBytes, sessionLifetimeMs } = response
    if (errorCode !== 0) return this.saslFailed(errorFromBroker(errorCode, 'SaslAuthenticate', errorMessage))
    this.#reauthenticateAt = sessionLifetimeMs > 0n ? now + REAUTHENTICATE_AT * Number(sessionLifetimeMs) : Infinity
    this.#wakeBy(this.#reauthenticateAt)
    this.#effects.askSasl(authBytes)
  }

  #throttle(name: ApiName, ms: number, now: number): void {
    this.#mutedUntil = Math.max(this.#mutedUntil, now + Math.min(ms, MAX_THROTTLE_MS))
    this.#wakeBy(this.#mutedUntil)
    this.#effects.throttled(name, ms)
  }

  #flush(now: number): void {
    while (
      this.#phase === 'ready' &&
      now >= this.#mutedUntil &&
      this.#inFlight.length < this.#settings.maxInFlight &&
      this.#queue.length > 0
    ) {
      const queued = this.#queue.shift()
      if (queued !== undefined) this.#write(queued.request, now)
    }
  }

  /** What can't be encoded fails alone: nothing of it has been written. */
  #write(request: AnyRequest, now: number): void {
    const { clientId } = this.#settings
    let version = -1
    let chunks: readonly Buffer[]
    const correlationId = this.#nextCorrelationId
    try {
      if (this.#apis === undefined) throw new Error('not negotiated')
      version = negotiate(this.#apis, request.name, request.maxVersion)
      const body = typeof request.body === 'function' ? request.body(version) : request.body
      chunks = encodeRequest(request.name, version, { correlationId, clientId }, body)
    } catch (error) {
      return request.done(error instanceof KafkaError ? error : unencodable(error), undefined, version)
    }
    this.#takeCorrelationId()
    const deadline = now + this.#settings.requestTimeoutMs + (request.waitMs ?? 0)
    const sent: InFlight = { correlationId, request, version, deadline }
    this.#wakeBy(deadline)
    if (request.hasAnswer !== false) {
      this.#inFlight.push(sent)
      return this.#effects.write(chunks)
    }
    this.#unflushed.add(sent)
    this.#effects.write(chunks, () => {
      if (this.#unflushed.delete(sent)) request.done(undefined, undefined, version)
    })
  }

  /** 31 bits, then from the start again. */
  #takeCorrelationId(): number {
    const id = this.#nextCorrelationId
    this.#nextCorrelationId = (id + 1) & 0x7fff_ffff
    return id
  }

  #outOfOrder(correlationId: number): KafkaError {
    const expected = this.#inFlight[0]?.correlationId ?? 'none'
    const message = `${this.#settings.name} answered request ${correlationId} when ${expected} was next`
    return connectionError('CONNECTION_CLOSED', message, 'unknown')
  }

  #wakeBy(at: number): void {
    this.#wakeAt = Math.min(this.#wakeAt, at)
  }

  #recomputeWake(now: number): void {
    if (this.#phase === 'closed') return
    let wakeAt = Math.min(this.#phaseDeadline, this.#phase === 'ready' ? this.#reauthenticateAt : Infinity)
    if (this.#mutedUntil > now) wakeAt = Math.min(wakeAt, this.#mutedUntil)
    for (const { deadline } of [...this.#inFlight, ...this.#unflushed]) wakeAt = Math.min(wakeAt, deadline)
    for (const { deadline } of this.#queue) wakeAt = Math.min(wakeAt, deadline)
    this.#wakeAt = wakeAt
  }
}

function unexpected(error: unknown): KafkaError {
  return connectionError('CONNECTION_CLOSED', 'an unexpected error while reading', 'unknown', error)
}

function unencodable(error: unknown): KafkaError {
  return new UnencodableError(error instanceof Error ? error.message : String(error))
}

import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { Session } from '../../connection/session.ts'

/** A request ends after this time, and another one replaces it. */
const EXPIRES_MS = 30_000
/** The server sends a heartbeat at least this often while a request waits; more rarely when many requests wait. */
const HEARTBEAT_MS = 2_000
const MAX_HEARTBEAT_MS = 30_000
/** What each consumer that a process reads adds to the interval, beyond the first few. */
const HEARTBEAT_PER_READER_MS = 2_000
const FEW_READERS = 2
/** A request lasts for this many heartbeats at least. */
const HEARTBEATS_PER_REQUEST = 5
/** A portion that is used up faster was too small. */
const FAST_MS = 100
/** Pause after a request was refused for an unknown reason. */
const REFUSED_PAUSE_MS = 1_000

/** Old servers answer a request without waiting only when it ends. */
const NO_WAIT_MS = 30

const NANOS = 1_000_000

/** The consumer that is asked. */
export interface PullTarget {
  readonly stream: string
  readonly name: string
}

/** What a consumer has requested from the server. Tracks credit, and finds the portion size that fits the flow. */
export class PullRequests {
  inbox = ''
  /** When the last request has certainly ended (monotonic ms). */
  until = 0
  /** Number of messages requested but not received. */
  asked = 0
  /** Bytes that they may take. */
  askedBytes = 0
  /** How many messages to request: grows with the flow, and drops when it ends. */
  target = 1
  least = 1
  most = 1
  /** The next message is larger than its share of the bytes: it must be requested alone and without a limit. */
  alone = false
  readonly #host: { readonly session: Session; readonly api: JetStreamApi }
  readonly #target: PullTarget
  #heartbeatMs = HEARTBEAT_MS
  #heardAt = 0
  #silences = 0
  #askedAt = 0
  #pausedUntil = 0

  constructor(host: { readonly session: Session; readonly api: JetStreamApi }, target: PullTarget) {
    this.#host = host
    this.#target = target
    host.session.readers++
  }

  /** Its consumer is read no more. */
  close(): void {
    this.#host.session.readers--
  }

  /** True when it is time to request more. */
  get hungry(): boolean {
    return this.asked * 2 <= this.target && this.asked < this.target
  }

  ask(count: number, maxBytes: number): boolean {
    const now = this.#now()
    if (now < this.#pausedUntil) return false
    // Old servers lose requests now and then.
    const isOld = this.#host.session.isOlderThan(2, 10)
    const others = isOld ? 0 : this.#host.session.readers - FEW_READERS
    const heartbeatMs = Math.min(MAX_HEARTBEAT_MS, Math.max(HEARTBEAT_MS, others * HEARTBEAT_PER_READER_MS))
    const expiresMs = Math.max(EXPIRES_MS, heartbeatMs * HEARTBEATS_PER_REQUEST)
    this.#heartbeatMs = heartbeatMs
    // Asked again soon after: the flow is faster than the portion.
    if (now - this.#askedAt < FAST_MS && this.#askedAt > 0) this.target = Math.min(this.most, this.target * 2)
    this.#askedAt = now
    this.until = Math.max(this.until, now + expiresMs)
    if (this.asked === 0) this.#heardAt = now
    this.asked += count
    this.askedBytes += maxBytes
    const limit = maxBytes > 0 ? `,"max_bytes":${maxBytes}` : ''
    this.#request(`{"batch":${count},"expires":${expiresMs * NANOS},"idle_heartbeat":${heartbeatMs * NANOS}${limit}}`)
    return true
  }

  /** Requests one message if there is one, else an answer at once, to a separate inbox. */
  clearStalePulls(inbox: string): void {
    this.#request(`{"batch":1,"no_wait":true,"expires":${NO_WAIT_MS * NANOS}}`, inbox)
  }

  #request(body: string, inbox: string = this.inbox): void {
    const { session, api } = this.#host
    const { stream, name } = this.#target
    session.writeBuffer.publish(api.nextSubject(stream, name), inbox, Buffer.from(body, 'latin1'))
  }

  arrived(pending: number, now: number): void {
    this.#heardAt = now
    this.#silences = 0
    if (this.asked > 0) {
      // What small messages left of their share is free again.
      this.askedBytes -= this.askedBytes / this.asked
      this.asked--
    }
    this.alone = false
    // A backlog: no need to grow step by step.
    if (pending > this.target) this.target = this.most
  }

  heard(): void {
    this.#heardAt = this.#now()
    this.#silences = 0
  }

  /** A request ended with that many messages missing. */
  ended(unanswered: number): void {
    this.asked = Number.isNaN(unanswered) ? 0 : Math.max(0, this.asked - unanswered)
    if (this.asked === 0) this.askedBytes = 0
    this.target = this.least
    this.#askedAt = 0
  }

  tooLarge(): void {
    this.alone = true
  }

  refused(): void {
    this.reset()
    this.#pausedUntil = this.#now() + REFUSED_PAUSE_MS
  }

  reset(): void {
    this.asked = 0
    this.askedBytes = 0
    this.target = this.least
    this.#askedAt = 0
  }

  /** The server has forgotten the requests: it sends no heartbeat while they wait. */
  get isSilent(): boolean {
    return this.asked > 0 && this.#now() - this.#heardAt > 2 * this.#heartbeatMs + 1_000
  }

  /**
   * Sends requests again that the server has forgotten. True when that happened twice in a row: once is normal when a
   * consumer gets another leader.
   */
  checkHeartbeat(): boolean {
    if (!this.isSilent) return false
    this.reset()
    return ++this.#silences > 1
  }

  #now(): number {
    return this.#host.session.host.clock.monotonic()
  }
}

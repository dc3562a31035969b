import type { Lane } from './lane.ts'
import type { LaneHost } from './lane-host.ts'

/** A request ends after this time, and another one replaces it. */
const EXPIRES_MS = 30_000
/** The server sends a heartbeat at least this often while a request waits. */
const HEARTBEAT_MS = 2_000
/** A shorter request is not worth it: the lease is renewed first. */
const SHORTEST_MS = 250
/** A portion that is used up faster was too small. */
const FAST_MS = 100
/** Pause after a request was refused for an unknown reason. */
const REFUSED_PAUSE_MS = 1_000

/** Old servers answer a request without waiting only when it ends. */
const SWEEP_MS = 30

const NANOS = 1_000_000

/** What a lane has requested from the server. Tracks credit, and finds the portion size that fits the flow. */
export class Pulls {
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
  readonly #host: LaneHost
  readonly #lane: Lane
  #heardAt = 0
  #silences = 0
  #askedAt = 0
  #pausedUntil = 0

  constructor(host: LaneHost, lane: Lane) {
    this.#host = host
    this.#lane = lane
  }

  /** True when it is time to request more. */
  get hungry(): boolean {
    return this.asked * 2 <= this.target && this.asked < this.target
  }

  ask(count: number, maxBytes: number): boolean {
    const now = this.#now()
    if (now < this.#pausedUntil) return false
    const expiresMs = Math.min(EXPIRES_MS, Math.floor(this.#host.leaseLeftMs(this.#lane)))
    if (expiresMs < SHORTEST_MS) return false
    // Asked again soon after: the flow is faster than the portion.
    if (now - this.#askedAt < FAST_MS && this.#askedAt > 0) this.target = Math.min(this.most, this.target * 2)
    this.#askedAt = now
    this.until = Math.max(this.until, now + expiresMs)
    if (this.asked === 0) this.#heardAt = now
    this.asked += count
    this.askedBytes += maxBytes
    const heartbeat = Math.min(HEARTBEAT_MS, Math.floor(expiresMs / 2))
    const limit = maxBytes > 0 ? `,"max_bytes":${maxBytes}` : ''
    this.#request(`{"batch":${count},"expires":${expiresMs * NANOS},"idle_heartbeat":${heartbeat * NANOS}${limit}}`)
    return true
  }

  /** Requests what is available right now, and gets an answer when there is no more. */
  askWithoutWaiting(count: number): void {
    this.#heardAt = this.#now()
    this.asked += count
    this.#request(`{"batch":${count},"no_wait":true}`)
  }

  /** Requests one message if there is one, else an answer at once, to a separate inbox. */
  sweep(inbox: string): void {
    this.#request(`{"batch":1,"no_wait":true,"expires":${SWEEP_MS * NANOS}}`, inbox)
  }

  #request(body: string, inbox: string = this.inbox): void {
    const { session, api } = this.#host
    const { stream, consumer } = this.#lane
    session.outbox.publish(api.nextSubject(stream, consumer), inbox, Buffer.from(body, 'latin1'))
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

  /**
   * Sends requests again that the server has forgotten (no heartbeat while they wait). True when that happened twice in
   * a row: once is normal when a consumer gets another leader.
   */
  checkHeartbeat(): boolean {
    if (this.asked === 0 || this.#now() - this.#heardAt < 2 * HEARTBEAT_MS + 1_000) return false
    this.reset()
    return ++this.#silences > 1
  }

  #now(): number {
    return this.#host.session.host.clock.monotonic()
  }
}

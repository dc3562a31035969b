import type { Incoming } from '../../connection/incoming.ts'
import type { PullRequests } from './pull-requests.ts'
import type { Session } from '../../connection/session.ts'

const HEARTBEAT = 100
const NOT_FOUND = 404
const TIMEOUT = 408
const CONFLICT = 409
const NO_RESPONDERS = 503

/** A consumer that is read. */
export interface StatusTarget {
  readonly name: string
  readonly pulls: PullRequests
}

export interface StatusHost {
  readonly session: Session
  wake(): void
  /** The server does not know the consumer. */
  consumerMissing(): void
}

/** Interprets the server's status replies to a request. */
export class PullStatus {
  readonly #host: StatusHost
  readonly #target: StatusTarget

  constructor(host: StatusHost, target: StatusTarget) {
    this.#host = host
    this.#target = target
  }

  /** True when it means that a request has ended. */
  read(native: Incoming): boolean {
    const { status: code, description } = native
    if (code === 0) return false
    const { pulls } = this.#target
    pulls.heard()
    if (code === HEARTBEAT) return false
    const unanswered = Number(native.header('Nats-Pending-Messages') || Number.NaN)
    if (code === NOT_FOUND || code === TIMEOUT) pulls.ended(unanswered)
    else if (code === CONFLICT) this.#conflict(description, unanswered)
    else if (code === NO_RESPONDERS) {
      pulls.reset()
      this.#host.consumerMissing()
    } else {
      pulls.refused()
      this.#host.session.error(
        new Error(`JetStream answered ${code} ${description}`),
        `asking consumer "${this.#target.name}" for messages`,
      )
    }
    this.#host.wake()
    return true
  }

  #conflict(description: string, unanswered: number): void {
    const { pulls, name } = this.#target
    const text = description.toLowerCase()
    if (text.includes('consumer deleted')) {
      pulls.reset()
      this.#host.consumerMissing()
    } else if (text.includes('maxbytes') || text.includes('batch completed')) {
      if (text.includes('exceeds maxbytes')) pulls.tooLarge()
      pulls.ended(unanswered)
    } else if (text.includes('leadership') || text.includes('shutdown')) pulls.reset()
    else {
      pulls.refused()
      this.#host.session.warning('nats-pull-refused', `consumer "${name}": ${description}`)
    }
  }
}

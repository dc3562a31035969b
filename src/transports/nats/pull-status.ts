import type { Incoming } from './incoming.ts'
import type { Lane } from './lane.ts'
import type { LaneHost } from './lane-host.ts'

const HEARTBEAT = 100
const NOT_FOUND = 404
const TIMEOUT = 408
const CONFLICT = 409
const NO_RESPONDERS = 503

/** Interprets the server's status replies to a request. */
export class PullStatus {
  readonly #host: LaneHost
  readonly #lane: Lane

  constructor(host: LaneHost, lane: Lane) {
    this.#host = host
    this.#lane = lane
  }

  /** True when it means that a request has ended. */
  read(native: Incoming): boolean {
    const { status: code, description } = native
    if (code === 0) return false
    const { pulls } = this.#lane
    pulls.heard()
    if (code === HEARTBEAT) return false
    const unanswered = Number(native.header('Nats-Pending-Messages') || Number.NaN)
    if (code === NOT_FOUND || code === TIMEOUT) pulls.ended(unanswered)
    else if (code === CONFLICT) this.#conflict(description, unanswered)
    else if (code === NO_RESPONDERS) {
      pulls.reset()
      this.#host.consumerMissing(this.#lane)
    } else {
      pulls.refused()
      this.#host.session.error(
        new Error(`JetStream answered ${code} ${description}`),
        `asking consumer "${this.#lane.consumer}" for messages`,
      )
    }
    this.#host.wake()
    return true
  }

  #conflict(description: string, unanswered: number): void {
    const { pulls, consumer } = this.#lane
    const text = description.toLowerCase()
    if (text.includes('consumer deleted')) {
      pulls.reset()
      this.#host.consumerMissing(this.#lane)
    } else if (text.includes('maxbytes') || text.includes('batch completed')) {
      if (text.includes('exceeds maxbytes')) pulls.tooLarge()
      pulls.ended(unanswered)
    } else if (text.includes('leadership') || text.includes('shutdown')) pulls.reset()
    else {
      pulls.refused()
      this.#host.session.warning('nats-pull-refused', `consumer "${consumer}": ${description}`)
    }
  }
}

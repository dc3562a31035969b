import type { Subscription } from '@nats-io/transport-node'
import type { Incoming } from '../../connection/incoming.ts'
import type { Session } from '../../connection/session.ts'

interface Former {
  readonly inbox: string
  /** When the last of its requests has certainly ended (monotonic ms). */
  readonly until: number
  subscription: Subscription | undefined
}

/**
 * Requests that were sent over a lost connection. A server that has not noticed the loss continues to answer them there
 * for as long as they wait: messages would vanish, and come back only after newer ones. So the next connection listens
 * on their inboxes too.
 */
export class FormerRequests {
  readonly #session: Session
  readonly #receive: (message: Incoming) => void
  readonly #failed: (error: Error) => void
  #all: Former[] = []

  constructor(session: Session, receive: (message: Incoming) => void, failed: (error: Error) => void) {
    this.#session = session
    this.#receive = receive
    this.#failed = failed
  }

  /** The connection is lost; requests made with that inbox may be answered until then. */
  add(inbox: string, until: number): void {
    this.#all.push({ inbox, until, subscription: undefined })
  }

  /** There is a new connection, and the server may still know them. */
  listen(): void {
    this.#expire()
    for (const former of this.#all)
      former.subscription ??= this.#session.subscribe(former.inbox, this.#receive, this.#failed)
  }

  /** Removes those that have ended. */
  #expire(): void {
    if (this.#all.length === 0) return
    const now = this.#now()
    for (const former of this.#all) if (former.until <= now) this.#end(former)
    this.#all = this.#all.filter(({ until }) => until > now)
  }

  /** Stops receiving from them. They still count until they have ended. */
  silence(): void {
    for (const former of this.#all) this.#end(former)
  }

  /** The server has none of them any more. */
  clear(): void {
    this.silence()
    this.#all = []
  }

  #end(former: Former): void {
    if (!this.#session.connection.isClosed()) former.subscription?.unsubscribe()
    former.subscription = undefined
  }

  #now(): number {
    return this.#session.host.clock.monotonic()
  }
}

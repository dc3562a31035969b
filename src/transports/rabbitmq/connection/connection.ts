import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { AuthorizationError, BusbarError, ConnectionError } from '../../../core/errors.ts'
import { backoffDelay } from './backoff.ts'
import type { BackoffOptions } from './backoff.ts'
import type { Connector } from './connector.ts'
import { isAbsent, reasonOf, toBrokerError } from '../errors.ts'
import { AmqpConnection } from './live-connection.ts'
import type { LiveConnection } from './live-connection.ts'
import type { Purpose } from '../options.ts'

export interface ConnectionHooks {
  /** Restores what was declared. The connection counts as up when it resolves; when it rejects, the attempt has failed. */
  restore(live: LiveConnection): Promise<void>
  up(live: LiveConnection): void
  /** The live connection has ended. */
  down(live: LiveConnection, error: Error): void
  /** An attempt to reconnect failed. */
  trouble(error: BusbarError, attempt: number): void
  blocked(reason: string | undefined): void
  /** A handler of ours threw inside the client library: a bug. */
  bug(error: unknown): void
}

/**
 * A connection that reconnects by itself. `open` tries once and rejects with the reason if it fails; after that, every
 * loss is followed by attempts until `close`.
 */
export class Connection {
  readonly purpose: Purpose
  readonly #connector: Connector
  readonly #clock: Clock
  readonly #backoff: BackoffOptions
  readonly #hooks: ConnectionHooks
  readonly #closing = new AbortController()
  #opening: Promise<void> | undefined
  #loop: Promise<void> | undefined
  #live: AmqpConnection | undefined
  #epoch = 0
  #attempts = 0
  #waiters: (() => void)[] = []
  /** Why it is down, while it is. */
  lastError: Error | undefined

  constructor(parts: {
    readonly purpose: Purpose
    readonly connector: Connector
    readonly clock: Clock
    readonly backoff: BackoffOptions
    readonly hooks: ConnectionHooks
  }) {
    this.purpose = parts.purpose
    this.#connector = parts.connector
    this.#clock = parts.clock
    this.#backoff = parts.backoff
    this.#hooks = parts.hooks
  }

  /** The live connection, or undefined while there is none. */
  get live(): LiveConnection | undefined {
    return this.#live?.isOpen === true && this.#live.isUp ? this.#live : undefined
  }

  /** Connects, once however often it is called; tries each address once. After a failure the next call tries again. */
  open(): Promise<void> {
    this.#opening ??= this.#connectToAny().catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  /** Resolves with the live connection as soon as there is one; rejects when this is closed, or the signal aborts, first. */
  async whenUp(signal?: AbortSignal): Promise<LiveConnection> {
    for (;;) {
      const { live } = this
      if (live !== undefined) return live
      if (this.#closing.signal.aborted) throw new ConnectionError('The transport is closed')
      signal?.throwIfAborted()
      await new Promise<void>((resolve) => {
        const done = (): void => {
          signal?.removeEventListener('abort', done)
          resolve()
        }
        this.#waiters.push(done)
        signal?.addEventListener('abort', done, { once: true })
      })
    }
  }

  /** Ends the live connection and all attempts, by force after the deadline. */
  async close(deadlineMs: number): Promise<void> {
    if (!this.#closing.signal.aborted) this.#closing.abort(new ConnectionError('The transport is closed'))
    const live = this.#live
    this.#wake()
    await live?.close(this.#clock, deadlineMs)
    await this.#opening?.catch(() => undefined)
    await this.#loop
  }

  async #connectToAny(): Promise<void> {
    let refusal: unknown
    for (let left = this.#connector.hosts; ; left--) {
      try {
        await this.#connect(this.#attempts++)
        return
      } catch (error) {
        // One node may refuse what others allow: its vhost may be down, or it may belong to another system.
        if (AuthorizationError.is(error)) refusal ??= error
        const isFinal = !ConnectionError.is(error) && !AuthorizationError.is(error)
        if (left <= 1 || isFinal || this.#closing.signal.aborted) throw isFinal ? error : (refusal ?? error)
      }
    }
  }

  async #connect(attempt: number): Promise<void> {
    const { signal } = this.#closing
    const connected = await this.#connector.connect(this.purpose, attempt, signal)
    const live = new AmqpConnection(connected, this.#clock, ++this.#epoch, attempt, {
      ended: (error) => this.#ended(live, error),
      blocked: (reason) => this.#hooks.blocked(reason),
      bug: (error) => this.#hooks.bug(error),
    })
    this.#live = live
    try {
      await this.#hooks.restore(live)
      if (!live.isOpen) throw live.error ?? new ConnectionError('The connection was lost while it was set up')
      signal.throwIfAborted()
    } catch (error) {
      this.#live = undefined
      await live.close(this.#clock, 1_000)
      throw toBrokerError(error, 'Setting up the connection')
    }
    live.isUp = true
    this.lastError = undefined
    this.#hooks.up(live)
    this.#wake()
  }

  #ended(live: AmqpConnection, error: Error | undefined): void {
    if (this.#live !== live) return
    this.#live = undefined
    const reason = error ?? new ConnectionError('The connection was closed')
    this.lastError = reason
    // The caller of `open` reports one that never came up.
    if (live.isUp) this.#hooks.down(live, reason)
    if (!live.isUp || this.#closing.signal.aborted) return
    this.#loop = this.#comeBack()
  }

  async #comeBack(): Promise<void> {
    const { signal } = this.#closing
    let refusals = 0
    for (let attempt = 1; !signal.aborted; attempt++) {
      const delay = this.#connector.reconnects ? backoffDelay(this.#backoff, attempt, refusals) : undefined
      if (delay === undefined) return
      try {
        await sleep(this.#clock, delay, signal)
        await this.#connect(this.#attempts++)
        return
      } catch (error) {
        if (signal.aborted) return
        const known = BusbarError.is(error)
          ? error
          : new ConnectionError(`The connection could not be set up: ${reasonOf(error)}`, { cause: error })
        this.lastError = known
        // A broker that is starting or overloaded gets time. How long it was unreachable before does not matter.
        refusals = isAbsent(error) ? 0 : refusals + 1
        this.#hooks.trouble(known, attempt)
      }
    }
  }

  #wake(): void {
    const waiters = this.#waiters
    this.#waiters = []
    for (const wake of waiters) wake()
  }
}

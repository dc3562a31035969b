import type { Channel, ChannelModel, ConfirmChannel } from 'amqplib'
import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { AuthorizationError, BusbarError, ConnectionError } from '../../../core/errors.ts'
import { closeQuietly, destroySocket, heartbeatOf } from './amqp.ts'
import { backoffDelay } from './backoff.ts'
import type { BackoffOptions } from './backoff.ts'
import type { ServerAddress } from '../../../core/transport.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import type { Connected, Connector } from './connector.ts'
import { isAbsent, reasonOf, toBrokerError } from '../errors.ts'
import { LoopWatch } from './loop-watch.ts'
import type { Purpose } from '../options.ts'

/** One live connection. Everything created on it ends with it. */
export interface Session {
  /** Counts the connections of this link, from 1. */
  readonly epoch: number
  /** The attempt that made it: shows which of several addresses works. */
  readonly attempt: number
  readonly model: ChannelModel
  readonly server: ServerAddress | undefined
  readonly isOpen: boolean
  /** A channel whose errors go to `onClosed`, called once when anything but our own close ends it. */
  channel(onClosed?: (error: Error | undefined) => void): Promise<Channel>
  confirmChannel(onClosed?: (error: Error | undefined) => void): Promise<ConfirmChannel>
}

export interface LinkHooks {
  /** Restores what was declared. The link counts as up when it resolves; when it rejects, the connection has failed. */
  restore(session: Session): Promise<void>
  up(session: Session): void
  /** The session has ended. */
  down(session: Session, error: Error): void
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
export class Link {
  readonly purpose: Purpose
  readonly #connector: Connector
  readonly #clock: Clock
  readonly #backoff: BackoffOptions
  readonly #hooks: LinkHooks
  readonly #closing = new AbortController()
  #opening: Promise<void> | undefined
  #loop: Promise<void> | undefined
  #session: LiveSession | undefined
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
    readonly hooks: LinkHooks
  }) {
    this.purpose = parts.purpose
    this.#connector = parts.connector
    this.#clock = parts.clock
    this.#backoff = parts.backoff
    this.#hooks = parts.hooks
  }

  /** The live session, or undefined while there is none. */
  get session(): Session | undefined {
    return this.#session?.isOpen === true && this.#session.isUp ? this.#session : undefined
  }

  /** Connects, once however often it is called; tries each address once. After a failure the next call tries again. */
  open(): Promise<void> {
    this.#opening ??= this.#connectToAny().catch((error: unknown) => {
      this.#opening = undefined
      throw error
    })
    return this.#opening
  }

  /** Resolves with the session as soon as there is one; rejects when the link or the signal ends first. */
  async whenUp(signal?: AbortSignal): Promise<Session> {
    for (;;) {
      const { session } = this
      if (session !== undefined) return session
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

  /** Ends the session and all attempts, by force after the deadline. */
  async close(deadlineMs: number): Promise<void> {
    if (!this.#closing.signal.aborted) this.#closing.abort(new ConnectionError('The transport is closed'))
    const session = this.#session
    this.#wake()
    await session?.close(this.#clock, deadlineMs)
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
    const session = new LiveSession(connected, this.#clock, ++this.#epoch, attempt, {
      ended: (error) => this.#ended(session, error),
      blocked: (reason) => this.#hooks.blocked(reason),
      bug: (error) => this.#hooks.bug(error),
    })
    this.#session = session
    try {
      await this.#hooks.restore(session)
      if (!session.isOpen) throw session.error ?? new ConnectionError('The connection was lost while it was set up')
      signal.throwIfAborted()
    } catch (error) {
      this.#session = undefined
      await session.close(this.#clock, 1_000)
      throw toBrokerError(error, 'Setting up the connection')
    }
    session.isUp = true
    this.lastError = undefined
    this.#hooks.up(session)
    this.#wake()
  }

  #ended(session: LiveSession, error: Error | undefined): void {
    if (this.#session !== session) return
    this.#session = undefined
    const reason = error ?? new ConnectionError('The connection was closed')
    this.lastError = reason
    // The caller of `open` reports a session that never came up.
    if (session.isUp) this.#hooks.down(session, reason)
    if (!session.isUp || this.#closing.signal.aborted) return
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

interface SessionHooks {
  ended(error: Error | undefined): void
  blocked(reason: string | undefined): void
  bug(error: unknown): void
}

class LiveSession implements Session {
  readonly epoch: number
  readonly attempt: number
  readonly model: ChannelModel
  readonly server: ServerAddress | undefined
  readonly #owned: boolean
  readonly #hooks: SessionHooks
  readonly #channels = new Set<Channel>()
  readonly #watch: LoopWatch
  #isEnded = false
  /** It was restored and reported as up. */
  isUp = false
  error: Error | undefined
  /** A connection does not survive an error; its end is reported a moment later, after its channels. */
  readonly #onError = (error: Error): void => {
    this.error ??= error
  }
  readonly #onClose = (error?: Error): void => this.#end(error ?? this.error)
  readonly #onBlocked = (reason: string): void => this.#hooks.blocked(reason)
  readonly #onUnblocked = (): void => this.#hooks.blocked(undefined)
  readonly #onBug = (error: Error): void => this.#hooks.bug(error)

  constructor({ model, owned, server }: Connected, clock: Clock, epoch: number, attempt: number, hooks: SessionHooks) {
    this.model = model
    this.server = server
    this.#watch = new LoopWatch(clock)
    this.#owned = owned
    this.epoch = epoch
    this.attempt = attempt
    this.#hooks = hooks
    model.on('error', this.#onError)
    model.on('close', this.#onClose)
    model.on('blocked', this.#onBlocked)
    model.on('unblocked', this.#onUnblocked)
    model.on('handler-error', this.#onBug)
  }

  get isOpen(): boolean {
    return !this.#isEnded && this.error === undefined
  }

  channel(onClosed?: (error: Error | undefined) => void): Promise<Channel> {
    return this.#open(() => this.model.createChannel(), onClosed)
  }

  confirmChannel(onClosed?: (error: Error | undefined) => void): Promise<ConfirmChannel> {
    return this.#open(() => this.model.createConfirmChannel(), onClosed)
  }

  async #open<Kind extends Channel>(
    create: () => Promise<Kind>,
    onClosed: ((error: Error | undefined) => void) | undefined,
  ): Promise<Kind> {
    if (!this.isOpen) throw this.error ?? new ConnectionError('The connection is closed')
    const channel = await create()
    // The connection may have ended in the same read that brought the answer: the end of this channel was then not
    // reported.
    if (!this.isOpen) throw this.error ?? new ConnectionError('The connection is closed')
    let failure: Error | undefined
    channel.on('error', (error) => {
      failure = error
    })
    channel.on('handler-error', this.#onBug)
    this.#channels.add(channel)
    channel.on('close', () => {
      this.#channels.delete(channel)
      // When the connection ends, its channels end first. A moment later it is clear which of the two it was.
      if (onClosed !== undefined) queueMicrotask(() => onClosed(failure ?? this.error))
    })
    return channel
  }

  /** Never rejects. A connection that the user passed stays open; only our channels on it are closed. */
  async close(clock: Clock, deadlineMs: number): Promise<void> {
    if (this.#isEnded) return
    const closing = this.#owned ? closeQuietly(this.model) : Promise.all([...this.#channels].map(closeQuietly))
    const inTime = await settledWithin(clock, deadlineMs, closing)
    if (this.#owned && !inTime) destroySocket(this.model)
    this.#end(undefined)
  }

  #end(error: Error | undefined): void {
    if (this.#isEnded) return
    this.#isEnded = true
    this.error ??= error
    this.model.off('close', this.#onClose)
    this.model.off('blocked', this.#onBlocked)
    this.model.off('unblocked', this.#onUnblocked)
    if (!this.#owned) {
      this.model.off('error', this.#onError)
      this.model.off('handler-error', this.#onBug)
    }
    this.#hooks.ended(this.#explained(error))
    this.#watch.stop()
  }

  /** Adds our own fault to the error, if we caused the end. */
  #explained(error: Error | undefined): Error | undefined {
    const heartbeatMs = heartbeatOf(this.model)
    const blockedMs = this.#watch.blockedMs(3 * heartbeatMs)
    if (error === undefined || heartbeatMs === 0 || blockedMs < heartbeatMs) return error
    return new ConnectionError(
      `${reasonOf(error)}. The event loop of this process was blocked for ${Math.round(blockedMs)} ms, so it missed heartbeats (heartbeatMs ${heartbeatMs}): move long computations out of handlers, or raise heartbeatMs`,
      { cause: error },
    )
  }
}

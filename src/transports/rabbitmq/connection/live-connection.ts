import type { Channel, ChannelModel, ConfirmChannel } from 'amqplib'
import type { Clock } from '../../../core/clock.ts'
import { ConnectionError } from '../../../core/errors.ts'
import type { ServerAddress } from '../../../core/transport.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { closeQuietly, destroySocket, heartbeatOf } from './amqp.ts'
import type { Connected } from './connector.ts'
import { reasonOf } from '../errors.ts'
import { LoopWatch } from './loop-watch.ts'

/** One live connection. Everything created on it ends with it. */
export interface LiveConnection {
  /** Counts the live connections of one `Connection`, from 1. */
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

interface AmqpConnectionHooks {
  ended(error: Error | undefined): void
  blocked(reason: string | undefined): void
  bug(error: unknown): void
}

/** A connection of the client library, with the channels that we opened on it. */
export class AmqpConnection implements LiveConnection {
  readonly epoch: number
  readonly attempt: number
  readonly model: ChannelModel
  readonly server: ServerAddress | undefined
  readonly #owned: boolean
  readonly #hooks: AmqpConnectionHooks
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

  constructor(
    { model, owned, server }: Connected,
    clock: Clock,
    epoch: number,
    attempt: number,
    hooks: AmqpConnectionHooks,
  ) {
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

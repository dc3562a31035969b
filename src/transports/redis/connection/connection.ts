import { sleep } from '../../../core/clock.ts'
import type { Clock, Timer } from '../../../core/clock.ts'
import type { ServerAddress } from '../../../core/transport.ts'
import { growingDelay, halfRandom } from '../../../core/util/backoff.ts'
import type { BackoffLimits } from '../../../core/util/backoff.ts'
import { LinkedList } from '../../../core/util/linked-list.ts'
import { endConnection, identify } from './connection-identity.ts'
import type { ConnectionIdentity } from './connection-identity.ts'
import { LostReplyError, messageOf, NotSentError, replyCode, toConnectError } from '../errors.ts'
import { serverOf } from './given-client.ts'
import type { Arg, NativeClient } from './given-client.ts'
import { REPLY_OPTIONS } from './reply-options.ts'
import type { CommandWriter } from '../wire/command-writer.ts'
import type { RespClient } from './resp-client.ts'
import { withinLimit } from './within-limit.ts'

export interface ConnectionParts {
  /** Makes a connected client that never reconnects by itself. When the signal aborts, its socket is destroyed. */
  readonly dial: (signal: AbortSignal) => Promise<NativeClient>
  /** Time limit until a new connection is ready for use. */
  readonly dialLimitMs: number
  /** The address as shown to users. */
  readonly where: string
  readonly clock: Clock
  readonly reconnect: BackoffLimits
  /** A reply that is overdue by this time means that the connection is dead, whatever the socket says. */
  readonly responseTimeoutMs: number
  /** Runs on each new client before it is used. */
  readonly prepare: (client: NativeClient) => Promise<void>
  readonly onUp: (first: boolean, attempts: number) => void
  readonly onDown: (reason: string) => void
  readonly onTrouble: (error: Error) => void
  /** The former connection could not be closed at the server, for lack of permission. */
  readonly onForbidden: () => void
}

/** Extra time for a blocking read to end by itself. */
const BLOCK_MARGIN_MS = 100

/** A connection that is not in use yet. */
interface NewConnection {
  readonly client: NativeClient
  identity: ConnectionIdentity | undefined
  /** The server may still deliver messages to a read of the former connection. */
  mayFormerRead: boolean
  broken: Error | undefined
}

type Send = (client: NativeClient) => Promise<unknown>

/** A command that waits for a connection. */
class Waiting {
  previous: Waiting | undefined = undefined
  next: Waiting | undefined = undefined
  readonly send: Send
  readonly resolve: (reply: unknown) => void
  readonly reject: (error: unknown) => void
  stop: () => void = () => {}

  constructor(send: Send, resolve: (reply: unknown) => void, reject: (error: unknown) => void) {
    this.send = send
    this.resolve = resolve
    this.reject = reject
  }
}

/**
 * A connection that reconnects by itself. Commands wait for the next connection, in order, while there is none; those
 * that were handed to a connection which then broke are rejected, because it is unknown whether they were run.
 */
export class Connection {
  readonly #parts: ConnectionParts
  readonly #waiting = new LinkedList<Waiting>()
  #client: NativeClient | undefined
  #state: 'idle' | 'connecting' | 'up' | 'closed' = 'idle'
  #wasUp = false
  #attempts = 0
  /** Aborts the current attempt to connect. */
  #dialing: AbortController | undefined
  #retry: Timer | undefined
  #watch: Timer | undefined
  #pending = 0
  #progressAt = 0
  /** What had arrived by then. */
  #received: number | undefined = 0
  #allowanceMs: number
  #identity: ConnectionIdentity | undefined
  /** Until then (monotonic) the server may deliver messages to the last read that blocks; -Infinity once it was answered. */
  #blockedUntil = -Infinity

  constructor(parts: ConnectionParts) {
    this.#parts = parts
    this.#allowanceMs = parts.responseTimeoutMs
  }

  get up(): boolean {
    return this.#state === 'up'
  }

  get closed(): boolean {
    return this.#state === 'closed'
  }

  /** The server of the current connection. */
  get server(): ServerAddress | undefined {
    return this.#client === undefined ? undefined : serverOf(this.#client)
  }

  /** The server's identification of the current connection, or of the last one. */
  get identity(): ConnectionIdentity | undefined {
    return this.#identity
  }

  /**
   * Until then (monotonic) the server may deliver messages to a read of the connection that was lost last: it may not know of that.
   * In the past while there is a connection, because the former one is ended first.
   */
  get lostReadUntil(): number {
    return this.#client === undefined ? this.#blockedUntil : -Infinity
  }

  /** Connects once; rejects when that fails. After that it reconnects by itself. */
  async open(): Promise<void> {
    this.#state = 'connecting'
    await this.#connect()
  }

  /** `blockMs`: how long the server itself may block this command. */
  call(args: readonly Arg[], signal?: AbortSignal, blockMs = 0): Promise<unknown> {
    return this.#call((client) => client.sendCommand(args, REPLY_OPTIONS), signal, blockMs)
  }

  /** Several commands at once; only with clients that can. Resolves with the replies, errors among them. */
  async batch(
    count: number,
    write: (writer: CommandWriter) => void,
    signal?: AbortSignal,
  ): Promise<readonly unknown[]> {
    const replies = (await this.#call(
      (client) => (client as RespClient).sendBatch(count, write),
      signal,
      0,
    )) as unknown[]
    for (const reply of replies) if (reply instanceof Error) this.#checkRole(this.#client, reply)
    return replies
  }

  #call(send: Send, signal: AbortSignal | undefined, blockMs: number): Promise<unknown> {
    if (this.#state === 'closed') return Promise.reject(new NotSentError('The connection is closed'))
    if (signal?.aborted) return Promise.reject(new NotSentError('The call was aborted'))
    if (this.#client !== undefined) return this.#send(this.#client, send, blockMs)
    return new Promise((resolve, reject) => {
      const waiting = new Waiting(send, resolve, reject)
      this.#waiting.push(waiting)
      if (signal === undefined) return
      const abort = (): void => {
        this.#waiting.remove(waiting)
        reject(new NotSentError('The wait ended before there was a connection'))
      }
      signal.addEventListener('abort', abort, { once: true })
      waiting.stop = () => signal.removeEventListener('abort', abort)
    })
  }

  /** Drops the connection and makes a new one. */
  drop(reason: string): void {
    if (this.#client !== undefined) this.#lost(this.#client, reason)
  }

  close(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#retry?.cancel()
    this.#watch?.cancel()
    this.#dialing?.abort(new NotSentError('The connection was closed while it was made'))
    const client = this.#client
    this.#client = undefined
    client?.destroy()
    for (const waiting of this.#waiting.toArray()) {
      this.#waiting.remove(waiting)
      waiting.stop()
      waiting.reject(new NotSentError('The connection was closed before the command was sent'))
    }
  }

  // --- commands ----------------------------------------------------------------------------------------------------

  #send(client: NativeClient, send: Send, blockMs: number): Promise<unknown> {
    if (this.#pending++ === 0) {
      this.#progressed(client)
      if (this.#watch === undefined) this.#armWatch(this.#allowanceMs)
    }
    this.#allowanceMs = this.#parts.responseTimeoutMs + blockMs
    if (blockMs > 0) this.#blockedUntil = this.#parts.clock.monotonic() + blockMs + BLOCK_MARGIN_MS
    return send(client).then(
      (reply) => {
        this.#answered(client, blockMs)
        return reply
      },
      (error: unknown) => {
        this.#answered(client, blockMs)
        throw this.#toError(client, error)
      },
    )
  }

  #answered(client: NativeClient, blockMs: number): void {
    if (client !== this.#client) return
    if (blockMs > 0) this.#blockedUntil = -Infinity
    this.#pending--
    this.#progressed(client)
  }

  #progressed(client: NativeClient): void {
    this.#progressAt = this.#parts.clock.monotonic()
    this.#received = client.received
  }

  #toError(client: NativeClient, error: unknown): unknown {
    const code = replyCode(error)
    if (code === undefined) return new LostReplyError(messageOf(error), { cause: error })
    this.#checkRole(client, error)
    return error
  }

  /** A primary that became a replica during the connection: reconnecting finds the new one. */
  #checkRole(client: NativeClient | undefined, error: unknown): void {
    if (client !== undefined && replyCode(error) === 'READONLY') this.#lost(client, 'the server has become a replica')
  }

  /** One timer while replies are owed, whatever their number. */
  #armWatch(delayMs: number): void {
    this.#watch = this.#parts.clock.setTimer(delayMs, () => {
      this.#watch = undefined
      if (this.#pending === 0 || this.#client === undefined) return
      // A large reply takes as long as the network needs for it.
      if (this.#client.received !== this.#received) this.#progressed(this.#client)
      const left = this.#progressAt + this.#allowanceMs - this.#parts.clock.monotonic()
      if (left > 0) this.#armWatch(left)
      else this.#lost(this.#client, `no reply for ${this.#allowanceMs} ms`)
    })
  }

  // --- connection --------------------------------------------------------------------------------------------------

  #connect(): Promise<void> {
    return this.#connectOnce().catch((error: unknown) => {
      throw toConnectError(error, this.#parts.where)
    })
  }

  async #connectOnce(): Promise<void> {
    const { clock, dialLimitMs } = this.#parts
    this.#attempts++
    const { signal } = (this.#dialing = new AbortController())
    const made = await withinLimit(clock, dialLimitMs, signal, (limited) => this.#make(limited))
    try {
      const leftMs = this.#blockedUntil - clock.monotonic()
      if (made.mayFormerRead && leftMs > 0) await sleep(clock, leftMs, signal)
      signal.throwIfAborted()
      if (made.broken !== undefined) throw made.broken
    } catch (error) {
      made.client.destroy()
      throw error
    }
    this.#identity = made.identity
    this.#established(made.client)
  }

  async #make(signal: AbortSignal): Promise<NewConnection> {
    const client = await this.#parts.dial(signal)
    const made: NewConnection = { client, identity: undefined, mayFormerRead: false, broken: undefined }
    const onError = (error: unknown): void => {
      made.broken ??= error instanceof Error ? error : new Error(messageOf(error))
      this.#lost(client, messageOf(error))
    }
    client.on('error', onError)
    client.on('end', () => onError(new Error('the connection was closed')))
    try {
      await this.#parts.prepare(client)
      made.identity = await identify((args) => client.sendCommand(args, REPLY_OPTIONS))
      made.mayFormerRead = !(await this.#endFormer(client))
    } catch (error) {
      client.destroy()
      throw error
    }
    return made
  }

  /**
   * The server may not know that the former connection is lost. A read that blocks there would receive messages, under
   * our name, after we have looked for what was lost: newer ones would overtake them. False when it could not be ended.
   */
  async #endFormer(client: NativeClient): Promise<boolean> {
    if (this.#identity === undefined) return false
    const ended = await endConnection((args) => client.sendCommand(args, REPLY_OPTIONS), this.#identity)
    if (ended === 'ended') return true
    if (this.#identity.address !== '') this.#parts.onForbidden()
    return false
  }

  #established(client: NativeClient): void {
    const first = !this.#wasUp
    this.#wasUp = true
    const attempts = this.#attempts
    this.#attempts = 0
    this.#dialing = undefined
    this.#client = client
    this.#state = 'up'
    this.#pending = 0
    for (const waiting of this.#waiting.toArray()) {
      this.#waiting.remove(waiting)
      waiting.stop()
      this.#send(client, waiting.send, 0).then(waiting.resolve, waiting.reject)
    }
    this.#parts.onUp(first, attempts)
  }

  #lost(client: NativeClient, reason: string): void {
    if (client !== this.#client) return
    this.#client = undefined
    this.#pending = 0
    this.#watch?.cancel()
    this.#watch = undefined
    client.destroy()
    this.#state = 'connecting'
    this.#parts.onDown(reason)
    this.#again()
  }

  #again(): void {
    const { clock, reconnect, onTrouble } = this.#parts
    if (this.#state === 'closed') return
    this.#retry = clock.setTimer(halfRandom(growingDelay(reconnect, this.#attempts)), () => {
      this.#connect().catch((error: Error) => {
        if (this.#state === 'closed') return
        onTrouble(error)
        this.#again()
      })
    })
  }
}

import { EventEmitter } from 'node:events'
import { connect as connectTcp } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ConnectionOptions } from 'node:tls'
import { Queue } from '../../../core/util/queue.ts'
import { CommandWriter } from '../wire/command-writer.ts'
import type { Arg, NativeClient, NativeSocket } from './given-client.ts'
import { ReplyParser } from '../wire/reply-parser.ts'

export interface RespClientOptions {
  readonly host: string
  readonly port: number
  /** Unix socket. */
  readonly path: string | undefined
  readonly tls: boolean | ConnectionOptions
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
  /** For the list of connections of the server. */
  readonly name: string | undefined
  readonly connectTimeoutMs: number
  /** When it aborts, the socket is destroyed. */
  readonly signal: AbortSignal
}

/** Replies that one promise waits for. */
interface Expected {
  left: number
  readonly replies: unknown[] | undefined
  readonly resolve: (reply: unknown) => void
  readonly reject: (error: Error) => void
}

/**
 * A connection to one server, with no more than this transport needs: commands of a turn are written in one piece, and a
 * batch of commands is one promise. It never reconnects: that is the connection's task.
 */
export class RespClient implements NativeClient {
  readonly options: { readonly socket: NativeSocket }
  readonly #options: RespClientOptions
  readonly #events = new EventEmitter()
  readonly #writer = new CommandWriter()
  readonly #expected = new Queue<Expected>()
  received = 0
  #socket: Socket | undefined
  #flushing = false
  #error: Error | undefined

  constructor(options: RespClientOptions) {
    this.#options = options
    this.options = { socket: { host: options.host, port: options.port, path: options.path } }
  }

  get isOpen(): boolean {
    return this.#socket !== undefined && this.#error === undefined
  }

  get isReady(): boolean {
    return this.isOpen
  }

  async connect(): Promise<this> {
    await this.#open()
    const { username, password, database, name } = this.#options
    const first: Promise<unknown>[] = []
    if (password !== undefined || username !== undefined)
      first.push(this.sendCommand(['AUTH', ...(username === undefined ? [] : [username]), password ?? '']))
    if (database !== 0) first.push(this.sendCommand(['SELECT', String(database)]))
    // A user may lack the permission, and does without.
    if (name !== undefined) first.push(this.sendCommand(['CLIENT', 'SETNAME', name]).catch(() => {}))
    try {
      await Promise.all(first)
    } catch (error) {
      this.destroy()
      throw error
    }
    return this
  }

  sendCommand(args: readonly Arg[]): Promise<unknown> {
    return this.#send(1, undefined, () => this.#writer.command(args))
  }

  /** Sends several commands that `write` encodes. Resolves with their replies, errors among them. */
  sendBatch(count: number, write: (writer: CommandWriter) => void): Promise<readonly unknown[]> {
    return this.#send(count, [], () => write(this.#writer)) as Promise<readonly unknown[]>
  }

  on(event: string, listener: (...args: never[]) => void): this {
    this.#events.on(event, listener as (...args: unknown[]) => void)
    return this
  }

  off(event: string, listener: (...args: never[]) => void): this {
    this.#events.off(event, listener as (...args: unknown[]) => void)
    return this
  }

  duplicate(): NativeClient {
    return new RespClient(this.#options)
  }

  destroy(): void {
    this.#end(new Error('the connection was closed'))
  }

  #send(count: number, replies: unknown[] | undefined, write: () => void): Promise<unknown> {
    if (this.#error !== undefined || this.#socket === undefined)
      return Promise.reject(this.#error ?? new Error('the connection is not open'))
    write()
    if (!this.#flushing) {
      this.#flushing = true
      // After everything else of this turn, so that all of it is one write.
      process.nextTick(() => this.#flush())
    }
    return new Promise((resolve, reject) => this.#expected.push({ left: count, replies, resolve, reject }))
  }

  #flush(): void {
    this.#flushing = false
    const socket = this.#socket
    if (socket === undefined || this.#error !== undefined) return
    const pieces = this.#writer.take()
    if (pieces.length > 1) socket.cork()
    for (const piece of pieces) socket.write(piece)
    if (pieces.length > 1) socket.uncork()
  }

  #received(reply: unknown): void {
    const expected = this.#expected.peek()
    if (expected === undefined) {
      this.#end(new Error('the server sent a reply that nothing has asked for'))
      return
    }
    if (expected.replies !== undefined) expected.replies.push(reply)
    if (--expected.left > 0) return
    this.#expected.shift()
    if (expected.replies !== undefined) expected.resolve(expected.replies)
    else if (reply instanceof Error) expected.reject(reply)
    else expected.resolve(reply)
  }

  #open(): Promise<void> {
    const { host, port, path, tls, signal, connectTimeoutMs } = this.#options
    signal.throwIfAborted()
    const address = path === undefined ? { host, port } : { path }
    const options = typeof tls === 'object' ? tls : {}
    const isSecure = tls !== false
    const socket = isSecure
      ? connectTls({ ...address, ...(path === undefined && isName(host) ? { servername: host } : {}), ...options })
      : connectTcp(address)
    this.#socket = socket
    socket.setNoDelay(true)
    socket.setKeepAlive(true, 5_000)
    const abort = (): void => this.#end(signal.reason instanceof Error ? signal.reason : new Error('aborted'))
    signal.addEventListener('abort', abort, { once: true })
    const parser = new ReplyParser((reply) => this.#received(reply))
    return new Promise((resolve, reject) => {
      const failed = (error: Error): void => {
        signal.removeEventListener('abort', abort)
        this.#end(error)
        reject(error)
      }
      socket.setTimeout(connectTimeoutMs, () => failed(new ConnectTimeoutError('Connection timeout')))
      socket.once(isSecure ? 'secureConnect' : 'connect', () => {
        socket.setTimeout(0)
        resolve()
      })
      socket.on('data', (chunk: Buffer) => {
        this.received += chunk.length
        try {
          parser.push(chunk)
        } catch (error) {
          failed(error as Error)
        }
      })
      socket.on('error', failed)
      socket.on('close', () => failed(new Error('the connection was closed by the server')))
    })
  }

  /** The first reason counts: what is owed is rejected with it. */
  #end(error: Error): void {
    if (this.#error !== undefined) return
    this.#error = error
    this.#socket?.destroy()
    for (let next = this.#expected.shift(); next !== undefined; next = this.#expected.shift()) next.reject(error)
    this.#events.emit('end', error)
  }
}

/** The socket did not connect in time. */
export class ConnectTimeoutError extends Error {}

function isName(host: string): boolean {
  return !/^[\d.]+$|:/.test(host)
}

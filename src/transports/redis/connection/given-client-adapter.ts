import { createCluster } from 'redis'
import type { Clock } from '../../../core/clock.ts'
import { growingDelay, halfRandom } from '../../../core/util/backoff.ts'
import type { ServerAddress } from '../../../core/transport.ts'
import { Deadline, Deadlines } from '../../../core/util/deadlines.ts'
import { connect, describeServer, dialLimitMs, socketOptions } from './dial.ts'
import { LostReplyError, messageOf, NotSentError, replyCode, toConnectError } from '../errors.ts'
import { isCluster, serverOf } from './given-client.ts'
import type { Arg, NativeClient, NativeCluster } from './given-client.ts'
import { dedicatedConnection } from './single-server.ts'
import type { Connection } from './connection.ts'
import type { ResolvedRedisOptions } from '../options.ts'
import { REPLY_OPTIONS } from './reply-options.ts'
import type { DedicatedOptions, Commands, ConnectionListener } from './commands.ts'
import { withinLimit } from './within-limit.ts'

/** Client options that need the newer protocol. */
const WITHOUT_PUSH = { clientSideCache: undefined, emitInvalidate: false, maintNotifications: 'disabled' } as const

/**
 * A cluster (ours or the user's), or the user's single client: commands go through that client, which reconnects by
 * itself.
 */
export function givenClientAdapter(
  options: ResolvedRedisOptions,
  clock: Clock,
  listener: ConnectionListener,
): Commands {
  return new GivenClientAdapter(options, clock, listener)
}

class GivenClientAdapter implements Commands {
  readonly cluster: boolean
  readonly batch: undefined
  losses = 0
  readonly #options: ResolvedRedisOptions
  readonly #clock: Clock
  readonly #listener: ConnectionListener
  readonly #client: NativeClient | NativeCluster
  readonly #given: boolean
  readonly #deadlines: Deadlines
  readonly #closing = new AbortController()
  /** Servers whose connection is broken. */
  readonly #down = new Set<string>()
  readonly #listeners: (readonly [event: string, listener: (...args: never[]) => void])[] = []
  #attempts = 0
  #open = false

  constructor(options: ResolvedRedisOptions, clock: Clock, listener: ConnectionListener) {
    this.#options = options
    this.#clock = clock
    this.#listener = listener
    this.#given = options.client !== undefined
    this.#deadlines = new Deadlines(clock, 100)
    this.#client =
      (options.client as NativeClient | NativeCluster | undefined) ?? makeCluster(options, this.#closing.signal)
    this.cluster = isCluster(this.#client)
  }

  get connected(): boolean {
    return this.#open && this.#down.size === 0
  }

  get server(): ServerAddress | undefined {
    return this.cluster || !this.connected ? undefined : serverOf(this.#client as NativeClient)
  }

  async open(): Promise<void> {
    const where = describeServer(this.#options)
    this.#listen(where)
    try {
      await withinLimit(this.#clock, dialLimitMs(this.#options), this.#closing.signal, async () => {
        if (!this.#client.isOpen) await this.#client.connect()
        await this.#listener.prepare((args) => this.#send(this.#options.prefix, args))
      })
    } catch (error) {
      this.close()
      throw toConnectError(error, where)
    }
    this.#open = true
    this.#listener.up(true, 1)
  }

  call(key: string, args: readonly Arg[], signal?: AbortSignal): Promise<unknown> {
    if (!this.#open) return Promise.reject(new NotSentError('The connection is closed'))
    return new Promise((resolve, reject) => {
      // The client does not notice a server that falls silent; a reply that is owed for too long counts as lost.
      const deadline = new Deadline(() =>
        reject(new LostReplyError(`no reply for ${this.#options.responseTimeoutMs} ms`)),
      )
      if (signal === undefined) this.#deadlines.set(deadline, this.#options.responseTimeoutMs)
      this.#send(key, args, signal).then(
        (reply) => {
          this.#deadlines.clear(deadline)
          resolve(reply)
        },
        (error: unknown) => {
          this.#deadlines.clear(deadline)
          reject(toCallError(error))
        },
      )
    })
  }

  #send(key: string, args: readonly Arg[], signal?: AbortSignal): Promise<unknown> {
    const options = signal === undefined ? REPLY_OPTIONS : { ...REPLY_OPTIONS, abortSignal: signal }
    return this.cluster
      ? (this.#client as NativeCluster).sendCommand(key, false, args, options)
      : (this.#client as NativeClient).sendCommand(args, options)
  }

  dedicated(key: string, dedicated: DedicatedOptions): Connection {
    const { reconnect, responseTimeoutMs } = this.#options
    return dedicatedConnection(
      {
        dial: async (signal) => {
          const original = this.cluster
            ? await (this.#client as NativeCluster).getNodeClientForKey(key)
            : (this.#client as NativeClient)
          signal.throwIfAborted()
          const socket = { ...original.options?.socket, reconnectStrategy: false, signal }
          return connect(original.duplicate({ RESP: 2, ...WITHOUT_PUSH, socket }))
        },
        dialLimitMs: dialLimitMs(this.#options),
        where: describeServer(this.#options),
        clock: this.#clock,
        reconnect,
        responseTimeoutMs,
      },
      dedicated,
      async (client) => {
        await client.sendCommand(['PING'])
      },
    )
  }

  close(): void {
    this.#open = false
    // Also connections that the client is still making, and does not know of yet.
    this.#closing.abort(new NotSentError('The connection was closed'))
    for (const [event, listener] of this.#listeners) this.#client.off(event, listener)
    this.#deadlines.close()
    if (this.#given || !this.#client.isOpen) return
    // Errors that the client still reports while closing can be ignored.
    this.#client.on('error', () => {})
    this.#client.destroy()
  }

  // --- what the client reports -------------------------------------------------------------------------------------

  #listen(where: string): void {
    const broken = (server: string, reason: string): void => {
      this.#attempts++
      if (this.#down.has(server)) return
      this.#down.add(server)
      this.losses++
      if (this.#down.size > 1 || !this.#open) return
      this.#listener.down(reason)
    }
    const back = (server: string): void => {
      if (!this.#down.delete(server) || this.#down.size > 0 || !this.#open) return
      const attempts = this.#attempts
      this.#attempts = 0
      this.#listener.up(false, attempts)
    }
    const trouble = (error: unknown): void => {
      if (this.#open) this.#listener.trouble(toConnectError(error, where))
    }
    if (!this.cluster) {
      this.#on('error', (error: unknown) => (this.#down.size > 0 ? trouble(error) : broken(where, messageOf(error))))
      this.#on('ready', () => back(where))
      this.#on('end', () => broken(where, 'the given client was closed'))
      return
    }
    this.#on('error', trouble)
    this.#on('node-error', trouble)
    this.#on('node-reconnecting', (node: Node) => broken(addressOf(node), `the connection to ${addressOf(node)} broke`))
    this.#on('node-ready', (node: Node) => back(addressOf(node)))
    // It is no longer a node of the cluster.
    this.#on('node-disconnect', (node: Node) => back(addressOf(node)))
  }

  #on<Args extends readonly unknown[]>(event: string, listener: (...args: Args) => void): void {
    const typed = listener as unknown as (...args: never[]) => void
    this.#listeners.push([event, typed])
    this.#client.on(event, typed)
  }
}

interface Node {
  readonly host?: string
  readonly port?: number
}

function addressOf({ host, port }: Node): string {
  return `${host}:${port}`
}

function makeCluster(options: ResolvedRedisOptions, signal: AbortSignal): NativeCluster {
  const { clusterNodes = [], native, nodeAddressMap, username, password, tls } = options
  return createCluster({
    RESP: 2,
    ...native,
    rootNodes: clusterNodes.map(({ host, port }) => ({ socket: { host, port } })),
    nodeAddressMap,
    defaults: {
      name: options.connectionName,
      username,
      password,
      ...(native['defaults'] as object | undefined),
      socket: {
        reconnectStrategy: (retries: number) => halfRandom(growingDelay(options.reconnect, retries)),
        ...socketOptions(options, tls),
        ...(native['defaults'] as { socket?: object } | undefined)?.socket,
        signal,
      },
    },
  } as unknown as Parameters<typeof createCluster>[0]) as unknown as NativeCluster
}

/** Errors of the client for commands that were never sent. */
const NOT_SENT = new Set(['AbortError', 'ClientClosedError', 'ClientOfflineError'])

function toCallError(error: unknown): unknown {
  // By name: the client may come from another copy of the package.
  if (error instanceof Error && NOT_SENT.has(error.constructor.name))
    return new NotSentError(messageOf(error), { cause: error })
  return replyCode(error) === undefined ? new LostReplyError(messageOf(error), { cause: error }) : error
}

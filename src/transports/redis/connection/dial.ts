import { ConnectionTimeoutError, createClient } from 'redis'
import type { ConnectionOptions } from 'node:tls'
import type { Clock } from '../../../core/clock.ts'
import { ConnectionError } from '../../../core/errors.ts'
import { messageOf } from '../errors.ts'
import type { NativeClient } from './given-client.ts'
import type { RedisNode, ResolvedRedisOptions, ResolvedSentinel } from '../options.ts'
import { ConnectTimeoutError, RespClient } from './resp-client.ts'
import { withinLimit } from './within-limit.ts'

/**
 * Makes a connected client that does not reconnect by itself: that is the connection's task. The signal destroys its socket
 * in any state: the client library only limits the TCP connect.
 */
export async function dial(options: ResolvedRedisOptions, clock: Clock, signal: AbortSignal): Promise<NativeClient> {
  const { sentinel } = options
  const node = sentinel === undefined ? options : await primaryOf(options, sentinel, clock, signal)
  const identity = {
    username: options.username,
    password: options.password,
    database: options.database,
    tls: options.tls,
    path: options.path,
    name: options.connectionName,
  }
  try {
    if (!hasOwnClient(options)) return await connect(make(options, node, signal, identity))
    const { host, port } = node
    return await new RespClient({
      ...identity,
      host,
      port,
      connectTimeoutMs: options.connectTimeoutMs,
      signal,
    }).connect()
  } catch (error) {
    const isLate = error instanceof ConnectionTimeoutError || error instanceof ConnectTimeoutError
    if (options.tls === false || !isLate) throw error
    throw new Error(`${error.message}; does this port speak TLS?`, { cause: error })
  }
}

/** Options for the client of the package `redis` are meant for that client. */
export function hasOwnClient({ native }: ResolvedRedisOptions): boolean {
  return Object.keys(native).length === 0
}

export async function connect(client: NativeClient): Promise<NativeClient> {
  // The rejection contains the error of a failed connect; the connection listens for later ones.
  client.on('error', () => {})
  await client.connect()
  return client
}

/** Time limit for `dial` and the first commands: one for each sentinel, one to connect, and one for the first reply. */
export function dialLimitMs({ sentinel, connectTimeoutMs, responseTimeoutMs }: ResolvedRedisOptions): number {
  return ((sentinel?.nodes.length ?? 0) + 1) * connectTimeoutMs + responseTimeoutMs
}

/** The address as shown to users: without credentials. */
export function describeServer(options: ResolvedRedisOptions): string {
  if (options.client !== undefined) return 'the address of the given client'
  if (options.path !== undefined) return options.path
  if (options.clusterNodes !== undefined) return options.clusterNodes.map(toText).join(', ')
  if (options.sentinel !== undefined)
    return `the primary "${options.sentinel.name}" (sentinels ${options.sentinel.nodes.map(toText).join(', ')})`
  return toText(options)
}

interface Identity {
  readonly username: string | undefined
  readonly password: string | undefined
  readonly database: number
  readonly tls: boolean | ConnectionOptions
  readonly path: string | undefined
  readonly name: string | undefined
}

export function socketOptions(options: ResolvedRedisOptions, tls: boolean | ConnectionOptions): object {
  return {
    connectTimeout: options.connectTimeoutMs,
    ...(tls === false ? {} : { tls: true }),
    ...(typeof tls === 'object' ? tls : {}),
  }
}

function make(options: ResolvedRedisOptions, node: RedisNode, signal: AbortSignal, identity: Identity): NativeClient {
  const { native } = options
  const address = identity.path === undefined ? { host: node.host, port: node.port } : { path: identity.path }
  const client: unknown = createClient({
    username: identity.username,
    password: identity.password,
    name: identity.name,
    database: identity.database,
    // The same form of replies on every server.
    RESP: 2,
    ...native,
    socket: {
      ...socketOptions(options, identity.tls),
      ...(native['socket'] as object | undefined),
      ...address,
      reconnectStrategy: false,
      signal,
    },
  })
  return client as NativeClient
}

/** Asks one sentinel after the other where the primary is. A silent one does not block the next. */
async function primaryOf(
  options: ResolvedRedisOptions,
  sentinel: ResolvedSentinel,
  clock: Clock,
  signal: AbortSignal,
): Promise<RedisNode> {
  const { nodeAddressMap, connectTimeoutMs } = options
  const failures: string[] = []
  for (const node of sentinel.nodes) {
    try {
      const address = await withinLimit(clock, connectTimeoutMs, signal, (limited) =>
        ask(options, sentinel, node, limited),
      )
      if (address !== undefined) return nodeAddressMap?.[`${address.host}:${address.port}`] ?? address
      failures.push(`${toText(node)} knows no primary "${sentinel.name}"`)
    } catch (error) {
      signal.throwIfAborted()
      failures.push(`${toText(node)}: ${messageOf(error)}`)
    }
  }
  throw new ConnectionError(`No sentinel names a primary "${sentinel.name}": ${failures.join('; ')}`)
}

async function ask(
  options: ResolvedRedisOptions,
  { name, username, password, tls }: ResolvedSentinel,
  node: RedisNode,
  signal: AbortSignal,
): Promise<RedisNode | undefined> {
  const identity = { username, password, database: 0, tls, path: undefined, name: options.connectionName }
  const client = make({ ...options, native: {} }, node, signal, identity)
  try {
    await connect(client)
    const reply = await client.sendCommand(['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', name])
    if (!Array.isArray(reply)) return undefined
    const [host, port] = reply.map(String) as [string, string]
    return { host, port: Number(port) }
  } finally {
    client.destroy()
  }
}

function toText({ host, port }: RedisNode): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

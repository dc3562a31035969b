import { createClient } from 'redis'
import type { ConnectionOptions } from 'node:tls'
import { ConnectionError } from '../../core/errors.ts'
import { messageOf } from './errors.ts'
import type { NativeClient } from './given-client.ts'
import type { RedisNode, ResolvedRedisOptions } from './options.ts'

/** Makes a connected client that gives up when its connection breaks: connecting again is the link's work. */
export async function dial(options: ResolvedRedisOptions): Promise<NativeClient> {
  const node = options.sentinel === undefined ? options : await primaryOf(options)
  const client = make(options, node, {
    username: options.username,
    password: options.password,
    database: options.database,
    tls: options.tls,
    path: options.path,
  })
  return connect(client)
}

export async function connect(client: NativeClient): Promise<NativeClient> {
  // The error of a failed connect comes with the rejection too; later ones are heard by the link.
  client.on('error', () => {})
  await client.connect()
  return client
}

/** Address as the user may read it: no credentials. */
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
}

export function socketOptions(options: ResolvedRedisOptions, tls: boolean | ConnectionOptions): object {
  return {
    connectTimeout: options.connectTimeoutMs,
    ...(tls === false ? {} : { tls: true }),
    ...(typeof tls === 'object' ? tls : {}),
  }
}

function make(options: ResolvedRedisOptions, node: RedisNode, identity: Identity): NativeClient {
  const { native } = options
  const address = identity.path === undefined ? { host: node.host, port: node.port } : { path: identity.path }
  const client: unknown = createClient({
    username: identity.username,
    password: identity.password,
    database: identity.database,
    // Replies of one shape on every server.
    RESP: 2,
    ...native,
    socket: {
      ...socketOptions(options, identity.tls),
      ...(native['socket'] as object | undefined),
      ...address,
      reconnectStrategy: false,
    },
  })
  return client as NativeClient
}

/** Asks one sentinel after the other where the primary is now. */
async function primaryOf(options: ResolvedRedisOptions): Promise<RedisNode> {
  const { sentinel, nodeAddressMap } = options
  if (sentinel === undefined) throw new ConnectionError('There is no sentinel')
  const failures: string[] = []
  for (const node of sentinel.nodes) {
    let client: NativeClient | undefined
    try {
      const { username, password, tls } = sentinel
      client = await connect(
        make({ ...options, native: {} }, node, { username, password, database: 0, tls, path: undefined }),
      )
      const reply = await client.sendCommand(['SENTINEL', 'GET-MASTER-ADDR-BY-NAME', sentinel.name])
      if (!Array.isArray(reply)) {
        failures.push(`${toText(node)} knows no primary "${sentinel.name}"`)
        continue
      }
      const [host, port] = reply.map(String) as [string, string]
      return nodeAddressMap?.[`${host}:${port}`] ?? { host, port: Number(port) }
    } catch (error) {
      failures.push(`${toText(node)}: ${messageOf(error)}`)
    } finally {
      client?.destroy()
    }
  }
  throw new ConnectionError(`No sentinel names a primary "${sentinel.name}": ${failures.join('; ')}`)
}

function toText({ host, port }: RedisNode): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`
}

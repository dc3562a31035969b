// The internals of amqplib that the hot path uses. They are not in the library's types; `rawChannel` checks that they
// exist, and without them everything still works, only slower (see channel-writer.ts).
import type { Channel, ChannelModel } from 'amqplib'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { ServerAddress } from '../../../core/transport.ts'

export interface RawChannel {
  /** Number of the channel in its connection. */
  readonly number: number
  /** Maximum frame size that both sides agreed on, in bytes. */
  readonly frameMax: number
  readonly socket: Duplex
  /** Writes whole frames. */
  send(bytes: Uint8Array): void
}

interface Inside {
  readonly ch?: unknown
  readonly connection?: {
    readonly frameMax?: unknown
    readonly stream?: Duplex
    readonly sendBytes?: unknown
  }
}

/** Undefined when this version of the library has different internals. */
export function rawChannel(channel: Channel): RawChannel | undefined {
  const { ch, connection } = channel as unknown as Inside
  if (typeof ch !== 'number' || connection === undefined) return undefined
  const { frameMax, stream, sendBytes } = connection
  if (typeof frameMax !== 'number' || typeof sendBytes !== 'function' || typeof stream?.cork !== 'function')
    return undefined
  const send = (sendBytes as (bytes: Uint8Array) => void).bind(connection)
  return {
    number: ch,
    frameMax,
    socket: stream,
    send(bytes) {
      // All channels of the connection that write in this turn share one system call.
      if (stream.writableCorked === 0) {
        stream.cork()
        process.nextTick(() => stream.uncork())
      }
      send(bytes)
    },
  }
}

/** The other end of a connection's socket; undefined when this version of the library has different internals. */
export function peerOf(model: ChannelModel): ServerAddress | undefined {
  const { remoteAddress, remotePort } = ((model.connection as Inside['connection'])?.stream ?? {}) as Partial<Socket>
  return remoteAddress === undefined || remotePort === undefined ? undefined : { host: remoteAddress, port: remotePort }
}

/**
 * Closes a channel or a connection. Resolves when it has ended, whichever side ended it; never rejects. The library's
 * own promise never settles when the connection is lost before the broker has answered.
 */
export function closeQuietly(target: Channel | ChannelModel): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      target.off('close', done)
      resolve()
    }
    target.on('close', done)
    target.close().then(done, done)
  })
}

/** Cuts the connection without a handshake, for a broker that does not answer. */
export function destroySocket(model: ChannelModel): void {
  const { stream } = (model as unknown as Inside).connection as { stream?: Duplex }
  // With an error, or the library would not notice.
  stream?.destroy(new Error('The broker did not answer in time'))
}

/** The interval that both sides agreed on, in ms; 0 for none, or when the library does not expose it. */
export function heartbeatOf(model: ChannelModel): number {
  const { heartbeat } = model.connection as unknown as { readonly heartbeat?: unknown }
  return typeof heartbeat === 'number' ? heartbeat * 1000 : 0
}

/** Maximum number of channels that both sides agreed on. */
export function channelMaxOf(model: ChannelModel): number {
  const { channelMax } = model.connection as unknown as { readonly channelMax?: unknown }
  return typeof channelMax === 'number' ? channelMax : DEFAULT_CHANNEL_MAX
}

/** RabbitMQ's default. */
const DEFAULT_CHANNEL_MAX = 2_047

export interface ServerInfo {
  readonly product: string
  readonly version: readonly [number, number]
}

export function serverInfo(model: ChannelModel): ServerInfo {
  const { product = '', version = '' } = model.connection.serverProperties as { product?: string; version?: string }
  const [major = 0, minor = 0] = version.split('.').map((part) => Number.parseInt(part, 10) || 0)
  return { product, version: [major, minor] }
}

/**
 * The queue of a connection stays for as long as its node is down, and the broker refuses every message for it even
 * though other queues took the message: RabbitMQ 4.2 (rabbitmq-server#14573).
 */
export function keepsQueuesOfDeadNodes({ product, version: [major, minor] }: ServerInfo): boolean {
  return product === 'RabbitMQ' && (major > 4 || (major === 4 && minor >= 2))
}

/** Quorum queues that support a message TTL and dead-letter without loss: RabbitMQ 3.10. */
export function hasQuorumQueues({ product, version: [major, minor] }: ServerInfo): boolean {
  return product === 'RabbitMQ' && (major > 3 || (major === 3 && minor >= 10))
}

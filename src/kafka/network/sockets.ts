import { connect as connectTcp, isIP } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ConnectionOptions as TlsOptions } from 'node:tls'

/** Where to connect to. */
export interface Address {
  readonly host: string
  readonly port: number
  /** The name that `host` was resolved from: what a certificate is checked against. */
  readonly serverName?: string
}

/** What a socket reports. */
export interface SocketHandlers {
  /** It can be written to. */
  connected(): void
  /** Bytes, in their order. The memory of the chunk is used again after the call. */
  received(chunk: Buffer): void
  /** Where to put the next bytes, if they have a place already. */
  room(): Buffer | undefined
  /** Once, at the end, no matter which side ended it; not after `destroy`. */
  closed(error: Error | undefined): void
}

/** A socket as a connection needs it. Tests give their own. */
export interface KafkaSocket {
  /** `written`, if it is given, is called when the chunks are no longer needed; not if the socket ends before. */
  write(chunks: readonly Buffer[], written?: () => void): void
  /** Ends it at once; nothing is reported afterwards. */
  destroy(): void
}

/** Opens a socket, and reports what becomes of it: all connections of a client go through it. */
export type OpenSocket = (address: Address, handlers: SocketHandlers) => KafkaSocket

/** What was read and has no place yet. All sockets share it: each hands on what it has read before another reads. */
let scratch: Buffer | undefined
const SCRATCH_BYTES = 65_536

/** Sockets of Node; with `tls`, connected when its handshake is done. The options are read for each connection, so certificates can change. */
export function nodeSockets(tls?: () => TlsOptions): OpenSocket {
  return (address, handlers) => {
    const socket = tls === undefined ? connectInto(address, handlers) : connectTls(tlsOptionsOf(tls(), address))
    let isConnected = false
    socket.setNoDelay(true)
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => {
      isConnected = true
      handlers.connected()
    })
    if (tls !== undefined) socket.on('data', (chunk: Buffer) => handlers.received(chunk))
    let reason: Error | undefined
    socket.on('error', (error) => (reason = tls === undefined || isConnected ? error : ofHandshake(error, address)))
    socket.once('close', () => {
      const isMute = tls === undefined && isConnected && socket.bytesRead === 0
      handlers.closed(isMute ? muteError(reason) : reason)
    })
    return { write: (chunks, written) => writeTogether(socket, chunks, written), destroy: () => abandon(socket) }
  }
}

/** What does not speak TLS ends the handshake, or answers nonsense: the error of a port that is not for TLS. */
function ofHandshake(error: Error & { readonly code?: string }, { host, port }: Address): Error {
  const { code = '', message } = error
  if (code !== 'ECONNRESET' && code !== 'EPROTO' && !code.startsWith('ERR_SSL_')) return error
  return new Error(`the TLS handshake failed (${message}): is ${host}:${port} a port for TLS?`, { cause: error })
}

/** A broker that expects TLS ends the connection without an answer. */
function muteError(reason: Error | undefined): Error {
  const why = reason === undefined ? '' : `${reason.message}; `
  return new Error(`${why}nothing was answered: is the port for TLS?`, { cause: reason })
}

/** A socket without TLS, whose bytes are read where they belong. */
function connectInto({ host, port }: Address, handlers: SocketHandlers): Socket {
  const buffer = () => handlers.room() ?? (scratch ??= Buffer.allocUnsafeSlow(SCRATCH_BYTES))
  const callback = (size: number, read: Uint8Array) => {
    handlers.received((read as Buffer).subarray(0, size))
    return true
  }
  return connectTcp({ host, port, onread: { buffer, callback } })
}

function tlsOptionsOf(given: TlsOptions, { host, port, serverName = host }: Address): TlsOptions {
  // An IP address is not a server name; Node then checks the certificate against `host`.
  const named = given.servername !== undefined || isIP(serverName) !== 0 ? {} : { servername: serverName }
  return { ...given, ...named, host, port }
}

/** One system call for all. */
function writeTogether(socket: Socket, chunks: readonly Buffer[], written: (() => void) | undefined): void {
  const done = (error?: Error | null) => {
    if (error === undefined || error === null) written?.()
  }
  socket.cork()
  for (const [index, chunk] of chunks.entries()) socket.write(chunk, index === chunks.length - 1 ? done : undefined)
  socket.uncork()
}

function abandon(socket: Socket): void {
  socket.removeAllListeners()
  // What was on its way may still fail.
  socket.on('error', () => {})
  socket.destroy()
}

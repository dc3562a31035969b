import { connect as connectTcp, isIP } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectTls } from 'node:tls'
import type { ConnectionOptions as TlsOptions } from 'node:tls'

export interface Address {
  readonly host: string
  readonly port: number
}

export interface SocketHandlers {
  connected(): void
  received(chunk: Buffer): void
  /** Once, at the end, whoever ended it; not after `destroy`. */
  closed(error: Error | undefined): void
}

/** A socket as a connection needs it. Tests give their own. */
export interface KafkaSocket {
  write(chunks: readonly Buffer[]): void
  destroy(): void
}

export type OpenSocket = (address: Address, handlers: SocketHandlers) => KafkaSocket

/** Sockets of Node; with `tls`, connected when its handshake is done. The options are read for each connection, so certificates can change. */
export function nodeSockets(tls?: () => TlsOptions): OpenSocket {
  return ({ host, port }, handlers) => {
    const socket = tls === undefined ? connectTcp({ host, port }) : connectTls(tlsOptionsOf(tls(), host, port))
    socket.setNoDelay(true)
    socket.once(tls === undefined ? 'connect' : 'secureConnect', () => handlers.connected())
    socket.on('data', (chunk: Buffer) => handlers.received(chunk))
    let reason: Error | undefined
    socket.on('error', (error) => (reason = error))
    socket.once('close', () => handlers.closed(reason))
    return { write: (chunks) => writeTogether(socket, chunks), destroy: () => abandon(socket) }
  }
}

function tlsOptionsOf(given: TlsOptions, host: string, port: number): TlsOptions {
  // An address is no server name; Node checks the certificate against `host` all the same.
  const named = given.servername !== undefined || isIP(host) !== 0 ? {} : { servername: host }
  return { ...given, ...named, host, port }
}

/** One system call for all. */
function writeTogether(socket: Socket, chunks: readonly Buffer[]): void {
  socket.cork()
  for (const chunk of chunks) socket.write(chunk)
  socket.uncork()
}

function abandon(socket: Socket): void {
  socket.removeAllListeners()
  // What was on its way may still fail.
  socket.on('error', () => {})
  socket.destroy()
}

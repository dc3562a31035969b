import type { ServerAddress } from '../../../core/transport.ts'
import type { CommandWriter } from '../wire/command-writer.ts'
import type { Arg } from './given-client.ts'
import type { Connection } from './connection.ts'

/** The connections to the server, or to the servers of a cluster, that all parts of the transport share. */
export interface Commands {
  /** Keys of different hash tags may be on different servers: no command may name two of them. */
  readonly cluster: boolean
  readonly connected: boolean
  /** How often a connection was lost so far: when it is the same before and after, no other connection has come. */
  readonly losses: number
  /** The server of the connection; undefined while there is none, and in a cluster. */
  readonly server: ServerAddress | undefined
  /** First connect. Rejects with `ConnectionError` or `AuthorizationError`. */
  open(): Promise<void>
  /**
   * Runs a command on the server that has the key; several calls in one turn are written together, and run in order.
   * While there is no connection it waits for one.
   *
   * Rejects with the server's own error; with `NotSentError` when the signal aborts before the command was handed to a
   * connection, and with `LostReplyError` when the connection was lost afterwards.
   */
  call(key: string, args: readonly Arg[], signal?: AbortSignal): Promise<unknown>
  /**
   * Runs several commands at once, encoded by `write`, and resolves with their replies, errors among them; otherwise as
   * `call`. Undefined where a client of the package `redis` encodes commands.
   */
  readonly batch:
    | ((count: number, write: (writer: CommandWriter) => void, signal?: AbortSignal) => Promise<readonly unknown[]>)
    | undefined
  /** A separate connection, not yet open, to the server that has the key: for reads that block. */
  dedicated(key: string, options: DedicatedOptions): Connection
  close(): void
}

export interface DedicatedOptions {
  /** Runs on each new connection before anything else. */
  readonly onUp: (connection: Connection) => void
  readonly onDown: (reason: string) => void
  /** An attempt to connect again has failed. */
  readonly onTrouble: (error: Error) => void
  /** The former connection could not be closed at the server, for lack of permission. */
  readonly onForbidden: () => void
}

/** What a commands reports to the transport about its main connection. */
export interface ConnectionListener {
  up(first: boolean, attempts: number): void
  down(reason: string): void
  /** A connect failed after the first one had succeeded. */
  trouble(error: Error): void
  /** Runs on each new connection before it is used; if it rejects, the connect fails. */
  prepare(run: (args: readonly Arg[]) => Promise<unknown>): Promise<void>
}

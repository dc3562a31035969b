import type { ServerAddress } from '../../../core/transport.ts'

/** An argument of a command. */
export type Arg = string | Buffer

export interface NativeSocket {
  readonly host?: string | undefined
  readonly port?: number | undefined
  /** A Unix socket. */
  readonly path?: string | undefined
}

/** What we need from a client of the package `redis`; its own types depend on the options that it was created with. */
export interface NativeClient {
  readonly isOpen: boolean
  readonly isReady: boolean
  connect(): Promise<unknown>
  destroy(): void
  on(event: string, listener: (...args: never[]) => void): unknown
  off(event: string, listener: (...args: never[]) => void): unknown
  sendCommand(args: readonly Arg[], options?: object): Promise<unknown>
  duplicate(overrides?: object): NativeClient
  /** Number of bytes that have arrived, where the client counts them. */
  readonly received?: number | undefined
  readonly options?: { readonly socket?: NativeSocket | undefined } | undefined
}

/** The same for a cluster client: commands are routed by a key. */
export interface NativeCluster {
  readonly isOpen: boolean
  connect(): Promise<unknown>
  destroy(): void
  on(event: string, listener: (...args: never[]) => void): unknown
  off(event: string, listener: (...args: never[]) => void): unknown
  sendCommand(firstKey: string, isReadonly: boolean, args: readonly Arg[], options?: object): Promise<unknown>
  getNodeClientForKey(key: string, isReadonly?: boolean): Promise<NativeClient>
}

/** `createClient()` or `createCluster()` of the package `redis`. Structural, so that the type of any version fits. */
export interface GivenClient {
  readonly isOpen: boolean
  /** As in the package `redis`. */
  connect(): Promise<unknown>
  /** As in the package `redis`. */
  destroy(): void
}

export function isGivenClient(value: unknown): value is GivenClient {
  if (typeof value !== 'object' || value === null) return false
  const { sendCommand, connect, destroy } = value as Partial<NativeClient>
  return typeof sendCommand === 'function' && typeof connect === 'function' && typeof destroy === 'function'
}

export function isCluster(client: GivenClient): boolean {
  return typeof (client as Partial<NativeCluster>).getNodeClientForKey === 'function'
}

/** The server that a client connects to; undefined for a Unix socket. */
export function serverOf({ options }: NativeClient): ServerAddress | undefined {
  const { host = 'localhost', port = 6379, path } = options?.socket ?? {}
  return path === undefined ? { host, port } : undefined
}

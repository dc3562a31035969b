import { readFileSync } from 'node:fs'
import { connect, credsAuthenticator, jwtAuthenticator, nkeyAuthenticator } from '@nats-io/transport-node'
import type { Authenticator, NatsConnection, NodeConnectionOptions } from '@nats-io/transport-node'
import type { ServerAddress } from '../../../core/transport.ts'
import type { ResolvedNatsOptions } from '../options.ts'

/** Maximum number of unanswered pings before the connection is closed. */
const MAX_PINGS_OUT = 2

/** Opens a connection that reconnects by itself. `delayMs` is called before each attempt. */
export function connectTo(
  options: ResolvedNatsOptions,
  service: string,
  delayMs: () => number,
): Promise<NatsConnection> {
  const authenticator = authenticatorOf(options)
  const settings: NodeConnectionOptions = {
    servers: [...options.servers],
    name: options.connectionName ?? service,
    timeout: options.connectTimeoutMs,
    pingInterval: options.heartbeatMs,
    maxPingOut: MAX_PINGS_OUT,
    reconnect: true,
    maxReconnectAttempts: -1,
    reconnectDelayHandler: delayMs,
    // Keep trying, to notice when a password is changed back or a token renewed.
    ignoreAuthErrorAbort: true,
    // Each request would otherwise capture a stack trace for an error that hardly ever happens.
    noAsyncTraces: true,
    ...(authenticator === undefined ? {} : { authenticator }),
    ...(options.tls === undefined ? {} : { tls: defined(options.tls) }),
    ...options.native.connect,
  }
  return connect(settings)
}

function authenticatorOf(options: ResolvedNatsOptions): Authenticator | undefined {
  const { username, password, token, nkeySeed, jwt, credentials, credentialsFile } = options
  const encoder = new TextEncoder()
  if (username !== undefined) return () => ({ user: username, pass: password ?? '' })
  if (token !== undefined) return () => ({ auth_token: token })
  if (jwt !== undefined && nkeySeed !== undefined) return jwtAuthenticator(jwt, encoder.encode(nkeySeed))
  if (nkeySeed !== undefined) return nkeyAuthenticator(encoder.encode(nkeySeed))
  if (credentials !== undefined) return credsAuthenticator(encoder.encode(credentials))
  if (credentialsFile !== undefined) return credsAuthenticator(() => readFileSync(credentialsFile))
  return undefined
}

/** The client treats an option that is present but undefined as set. */
function defined<Fields extends object>(fields: Fields): Fields {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Fields
}

/** The client takes its `host:port` from a URL of HTTP, which leaves out port 80. */
export function serverOf(name: string): ServerAddress | undefined {
  const url = URL.parse(`http://${name}`)
  if (url === null) return undefined
  return { host: url.hostname.replace(/^\[|\]$/g, ''), port: url.port === '' ? 80 : Number(url.port) }
}

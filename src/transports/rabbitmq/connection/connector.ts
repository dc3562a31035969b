import { connect as netConnect } from 'node:net'
import type { Socket } from 'node:net'
import { connect as connectClient } from 'amqplib'
import type { ChannelModel, Options } from 'amqplib'
import type { Clock } from '../../../core/clock.ts'
import { ConfigurationError, ConnectionError } from '../../../core/errors.ts'
import type { ServerAddress } from '../../../core/transport.ts'
import { destroySocket, peerOf } from './amqp.ts'
import { toConnectError } from '../errors.ts'
import type { Purpose, ResolvedRabbitMqOptions } from '../options.ts'
import { checkUrl, describeTarget, parseUrl, serverOf } from './url.ts'

export interface Connected {
  readonly model: ChannelModel
  /** False for a connection that the user passed: Busbar must not close it. */
  readonly owned: boolean
  /** Without credentials; undefined when unknown. */
  readonly server: ServerAddress | undefined
}

export interface Connector {
  /**
   * Makes one connection. Rejects with `ConnectionError`, `AuthorizationError` or `ConfigurationError`; when the signal
   * aborts, its socket is destroyed at once.
   */
  connect(purpose: Purpose, attempt: number, signal: AbortSignal): Promise<Connected>
  /** Number of addresses to try before the broker counts as unreachable. */
  readonly hosts: number
  /** False when a lost connection can't be replaced: the user passed it. */
  readonly reconnects: boolean
}

export function createConnector(options: ResolvedRabbitMqOptions, service: string, clock: Clock): Connector {
  const { client, connect } = options
  if (client !== undefined) return givenConnector(client)
  return {
    reconnects: true,
    hosts: Array.isArray(options.url) ? options.url.length : 1,
    connect: async (purpose, attempt, signal) => {
      if (connect === undefined) return connectByUrl(options, service, clock, purpose, attempt, signal)
      try {
        const model = await connect(purpose, attempt)
        return { model, owned: true, server: peerOf(model) }
      } catch (error) {
        throw toConnectError(error, 'the address of connect()')
      }
    },
  }
}

function givenConnector(model: ChannelModel): Connector {
  let gone = false
  model.on('close', () => {
    gone = true
  })
  return {
    reconnects: false,
    hosts: 1,
    connect: async () => {
      if (gone)
        throw new ConnectionError(
          'The connection that was given to rabbitmq() is closed. Give connect() instead, and it can be made again',
        )
      return { model, owned: false, server: peerOf(model) }
    },
  }
}

async function connectByUrl(
  options: ResolvedRabbitMqOptions,
  service: string,
  clock: Clock,
  purpose: Purpose,
  attempt: number,
  signal: AbortSignal,
): Promise<Connected> {
  const target = await resolveTarget(options, attempt)
  const where = describeTarget(target)
  // Node connects a socket even if its signal has already aborted.
  if (signal.aborted) throw closedMeanwhile()
  // Our own socket can be destroyed at any time; the library has no handle for one that is still connecting.
  const giveUp = new AbortController()
  const stop = (): void => giveUp.abort()
  signal.addEventListener('abort', stop, { once: true })
  const timer = clock.setTimer(options.connectTimeoutMs, stop)
  try {
    const model = await connectClient(
      target,
      socketOptions(options, target, `${options.connectionName ?? service}.${purpose}`, giveUp.signal),
    )
    if (!signal.aborted) return { model, owned: true, server: serverOf(target) }
    model.on('error', () => undefined)
    destroySocket(model)
    throw closedMeanwhile()
  } catch (error) {
    if (giveUp.signal.aborted && !signal.aborted)
      throw new ConnectionError(`RabbitMQ at ${where} did not answer within ${options.connectTimeoutMs} ms`, {
        cause: error,
      })
    throw toConnectError(error, where)
  } finally {
    timer.cancel()
    signal.removeEventListener('abort', stop)
  }
}

function closedMeanwhile(): ConnectionError {
  return new ConnectionError('The transport was closed while it connected')
}

async function resolveTarget(options: ResolvedRabbitMqOptions, attempt: number): Promise<Options.Connect> {
  const { url, credentials, heartbeatMs, native } = options
  let chosen: unknown
  let given: { readonly username: string; readonly password: string } | undefined
  try {
    chosen = typeof url === 'function' ? await url(attempt) : typeof url === 'string' ? url : url[attempt % url.length]
    given = typeof credentials === 'function' ? await credentials() : credentials
  } catch (error) {
    throw new ConnectionError(
      'The address or the credentials of RabbitMQ could not be resolved: the function you passed as url or credentials threw',
      { cause: error },
    )
  }
  const problem = checkUrl(chosen)
  if (problem !== undefined) throw new ConfigurationError('rabbitmq', [{ path: 'url', message: problem }])
  const target = parseUrl(chosen as string)
  return {
    ...target,
    ...given,
    heartbeat: target.heartbeat ?? Math.ceil(heartbeatMs / 1000),
    ...native.url,
  }
}

function socketOptions(
  options: ResolvedRabbitMqOptions,
  { protocol, hostname, port }: Options.Connect,
  name: string,
  signal: AbortSignal,
): object {
  const common = {
    // Nagle's algorithm and the peer's delayed ack together cost 40 ms per message.
    noDelay: true,
    keepAlive: true,
    keepAliveDelay: 10_000,
    clientProperties: { connection_name: name },
    ...options.tls,
    ...options.native.socket,
  }
  if (protocol !== 'amqps') return { ...common, signal }
  const socket: Socket = netConnect({ host: hostname, port: Number(port), noDelay: true, signal } as never)
  // Its errors reach the TLS socket on top of it, and the library through that.
  socket.on('error', () => undefined)
  return { ...common, socket }
}

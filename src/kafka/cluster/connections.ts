import type { KafkaError } from '../errors.ts'
import type { Sent, SendOptions } from '../network/connection.ts'
import { connectionError } from '../network/connection-errors.ts'
import type { RequestOptions } from '../network/connection-state.ts'
import type { BrokerApis } from '../protocol/api-versions.ts'
import type { ApiName, Requests } from '../protocol/generated/api-types.ts'
import { BrokerConnection } from './broker-connection.ts'
import { closedError, clusterError } from './cluster-errors.ts'
import type { ClusterSettings } from './cluster-options.ts'
import type { Node } from './metadata.ts'
import type { Troubles } from './troubles.ts'

export interface ConnectionsOptions {
  /** For hooks and messages. */
  readonly purpose: string
  /** Requests on the wire of one connection. @default 5 */
  readonly maxInFlight?: number
}

export interface ConnectionsContext {
  readonly settings: ClusterSettings
  readonly nodeOf: (id: number) => Node | undefined
  readonly troubles: Troubles
  readonly onDoubt: () => void
  readonly onClosed: (connections: Connections) => void
}

/**
 * One connection to each broker, opened on demand and closed when idle. A broker handles the requests of one connection one after the
 * other, so what may wait there for long (fetches, joins, produce requests) needs a set of its own, for each producer and consumer:
 * sets never wait for each other.
 */
export class Connections {
  readonly purpose: string
  readonly #maxInFlight: number
  readonly #context: ConnectionsContext
  readonly #byNode = new Map<number, BrokerConnection>()
  #isClosed = false

  constructor({ purpose, maxInFlight = 5 }: ConnectionsOptions, context: ConnectionsContext) {
    this.purpose = purpose
    this.#maxInFlight = maxInFlight
    this.#context = context
  }

  /**
   * Sends a request to a broker, with the newest version that both speak, and waits for its answer; error codes in the answer are for
   * the caller. Requests to one broker are written in the order of the calls. Rejects with a {@link KafkaError}: its `outcome` says
   * whether the broker may have carried the request out, and it is never sent twice.
   *
   * It fails as `not-sent` after `writeWithinMs` (default: the request timeout) or when the broker can't be connected to, which takes
   * at least the pause between two attempts; and as `unknown` when its answer does not come within the request timeout plus `waitMs`.
   */
  send<N extends ApiName>(
    nodeId: number,
    name: N,
    body: Requests[N] | ((version: number) => Requests[N]),
    options: SendOptions = {},
  ): Promise<Sent<N>> {
    const { promise, resolve, reject } = Promise.withResolvers<Sent<N>>()
    this.request(nodeId, {
      ...options,
      name,
      body,
      done: (error, response, version) => {
        if (response === undefined) reject(error ?? new Error('no answer was asked for'))
        else resolve({ response, version })
      },
    })
    return promise
  }

  /** Like {@link Connections.send}, with a callback in place of a promise. It may be called before this returns. */
  request<N extends ApiName>(nodeId: number, options: RequestOptions<N>): void {
    if (this.#isClosed) return options.done(closedError(), undefined, -1)
    const connection = this.#to(nodeId)
    if (connection !== undefined) return connection.request(options)
    const error = clusterError('BROKER_UNKNOWN', `${options.name} can't be sent: there is no broker ${nodeId}`)
    options.done(error, undefined, -1)
    this.#context.onDoubt()
  }

  /** What a broker offers; undefined while no connection of this set to it is open. */
  apis(nodeId: number): BrokerApis | undefined {
    return this.#byNode.get(nodeId)?.apis
  }

  isOpen(nodeId: number): boolean {
    return this.#byNode.get(nodeId)?.isOpen ?? false
  }

  /** Requests to a broker that are not settled. */
  load(nodeId: number): number {
    return this.#byNode.get(nodeId)?.load ?? 0
  }

  /**
   * Ends the connection to a broker at once: what was written ends as `unknown`, the rest as `not-sent`, before this returns. The next
   * request opens another.
   */
  disconnect(nodeId: number, error: KafkaError = disconnected(nodeId)): void {
    const connection = this.#byNode.get(nodeId)
    this.#byNode.delete(nodeId)
    connection?.close(error)
  }

  /** The metadata has changed: connections to brokers that have left, or have another address now, end. */
  nodesChanged(): void {
    for (const [id, { broker }] of this.#byNode) {
      const node = this.#context.nodeOf(id)
      if (node?.host === broker.host && node.port === broker.port) continue
      const what = node === undefined ? 'has left the cluster' : `is at ${node.host}:${node.port} now`
      this.disconnect(id, clusterError('BROKER_UNKNOWN', `broker ${id} (${broker.host}:${broker.port}) ${what}`))
    }
  }

  /** Ends all connections at once. May be called again. */
  close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    for (const id of this.#byNode.keys()) this.disconnect(id, closedError())
    this.#context.onClosed(this)
  }

  #to(nodeId: number): BrokerConnection | undefined {
    const known = this.#byNode.get(nodeId)
    if (known !== undefined) return known
    const node = this.#context.nodeOf(nodeId)
    if (node === undefined) return undefined
    const { settings, troubles, onDoubt } = this.#context
    const connection = new BrokerConnection({
      broker: { nodeId, host: node.host, port: node.port },
      purpose: this.purpose,
      maxInFlight: this.#maxInFlight,
      settings,
      troubles,
      onDoubt,
    })
    this.#byNode.set(nodeId, connection)
    return connection
  }
}

function disconnected(nodeId: number): KafkaError {
  return connectionError('CONNECTION_CLOSED', `the connection to broker ${nodeId} was ended by this client`, 'not-sent')
}

import { KafkaError, errorFromBroker } from '../errors.ts'
import type {
  ApiName,
  MetadataRequest,
  MetadataResponse,
  Requests,
  Responses,
} from '../protocol/generated/api-types.ts'
import { connectionError } from '../network/connection-errors.ts'
import { askInTurn } from './ask-in-turn.ts'
import { BrokerConnection } from './broker-connection.ts'
import { clusterError, closedError } from './cluster-errors.ts'
import type { ClusterSettings } from './cluster-options.ts'
import type { Connections } from './connections.ts'
import type { Metadata } from './metadata.ts'

export interface AnyBrokerOptions {
  readonly settings: ClusterSettings
  readonly metadata: Metadata
  readonly connections: Connections
}

/** Asks what any broker can answer, so that no single one, dead or frozen, can hold up the client. */
export class AnyBroker {
  readonly #options: AnyBrokerOptions
  readonly #bootstrap = new Set<BrokerConnection>()
  /** The broker that was asked last. */
  #last: number | undefined
  #isClosed = false

  constructor(options: AnyBrokerOptions) {
    this.#options = options
  }

  /** Asks brokers that are known. */
  ask<N extends ApiName>(name: N, body: Requests[N] | ((version: number) => Requests[N])): Promise<Responses[N]> {
    const { connections } = this.#options
    return this.#inTurn(
      this.#nodes().map((id) => async () => {
        this.#last = id
        return (await connections.send(id, name, body)).response
      }),
      name,
    )
  }

  /**
   * The metadata of a broker that is known; with `fromBootstrap`, or while none is, of one at the bootstrap addresses (KIP-899). An
   * answer of another cluster, whose brokers have got the addresses of ours, is refused.
   */
  async metadata(body: MetadataRequest, fromBootstrap: boolean): Promise<MetadataResponse> {
    const { connections, metadata } = this.#options
    const ofNodes = this.#nodes().map((id) => async () => {
      this.#last = id
      const { response } = await connections.send(id, 'Metadata', body)
      const { clusterId } = metadata
      if (clusterId !== null && response.clusterId !== null && response.clusterId !== clusterId) {
        throw clusterError('BROKER_UNKNOWN', `broker ${id} belongs to cluster ${response.clusterId}, not ${clusterId}`)
      }
      return checked(response)
    })
    const isFirst = fromBootstrap || ofNodes.length === 0
    const ofBootstrap = isFirst ? this.#openBootstrap().map((connection) => () => ask(connection, body)) : []
    try {
      return await this.#inTurn([...ofBootstrap, ...ofNodes], 'Metadata')
    } finally {
      this.#closeBootstrap()
    }
  }

  close(): void {
    this.#isClosed = true
    this.#closeBootstrap()
  }

  /**
   * Those with fewer requests under way first, then those that are connected; but not the same one twice in a row: a broker that is cut
   * off from the controller would give the same outdated answer.
   */
  #nodes(): number[] {
    const { connections, metadata, settings } = this.#options
    const ranked = [...metadata.nodes.keys()].map((id) => {
      const rank = 3 * connections.load(id) + (id === this.#last ? 2 : connections.isOpen(id) ? 0 : 1)
      return { id, rank: rank + settings.random() * 0.5 }
    })
    return ranked.sort((a, b) => a.rank - b.rank).map(({ id }) => id)
  }

  #openBootstrap(): BrokerConnection[] {
    const { settings } = this.#options
    if (this.#isClosed) return []
    return settings.bootstrap.map(({ host, port }) => {
      const connection = new BrokerConnection({
        broker: { nodeId: undefined, host, port },
        purpose: 'bootstrap',
        maxInFlight: 1,
        settings,
        onDoubt: () => {},
      })
      this.#bootstrap.add(connection)
      return connection
    })
  }

  #closeBootstrap(): void {
    for (const connection of this.#bootstrap) connection.close(this.#isClosed ? closedError() : answeredError())
    this.#bootstrap.clear()
  }

  async #inTurn<T>(ask: readonly (() => Promise<T>)[], name: ApiName): Promise<T> {
    const { clock, askAnotherAfterMs } = this.#options.settings
    try {
      return await askInTurn(ask, { clock, nextAfterMs: askAnotherAfterMs })
    } catch (error) {
      const { errors } = error as AggregateError
      // Wrong credentials and versions don't get better, and a request to bootstrap must be followed, whatever else has failed.
      const decisive = errors.find(
        (each) => each instanceof KafkaError && (each.action === 'fatal' || each.code === 'REBOOTSTRAP_REQUIRED'),
      )
      if (decisive !== undefined) throw decisive as KafkaError
      const last: unknown = errors.at(-1)
      const why = last instanceof Error ? `: ${last.message}` : ''
      throw clusterError('CLUSTER_UNREACHABLE', `no broker answered ${name}${why}`, last)
    }
  }
}

/** Why a connection to an address of the options ends: from here on the client asks the brokers that the answer names. */
function answeredError(): KafkaError {
  const message = 'the question for metadata is answered: this connection is not needed any more'
  return connectionError('CONNECTION_CLOSED', message, 'not-sent')
}

async function ask(connection: BrokerConnection, body: MetadataRequest): Promise<MetadataResponse> {
  const { promise, resolve, reject } = Promise.withResolvers<MetadataResponse>()
  connection.request({
    name: 'Metadata',
    body,
    done: (error, response) => (response === undefined ? reject(error as KafkaError) : resolve(response)),
  })
  return checked(await promise)
}

/** A broker may refuse to answer, as with REBOOTSTRAP_REQUIRED (KIP-1102); one without brokers has just started. */
function checked(response: MetadataResponse): MetadataResponse {
  if (response.errorCode !== 0) throw errorFromBroker(response.errorCode, 'Metadata')
  if (response.brokers.length === 0) throw clusterError('BROKER_UNKNOWN', 'a broker knows no brokers yet')
  return response
}

import { errorFromBroker } from '../errors.ts'
import type { KafkaError } from '../errors.ts'
import type { SendOptions, Sent } from '../network/connection.ts'
import type {
  ApiName,
  FindCoordinatorRequest,
  FindCoordinatorResponse,
  Requests,
} from '../protocol/generated/api-types.ts'
import type { Connections } from './connections.ts'
import type { Node } from './metadata.ts'

export type CoordinatorType = 'group' | 'transaction' | 'share'

export interface CoordinatorsOptions {
  readonly ask: (body: (version: number) => FindCoordinatorRequest) => Promise<FindCoordinatorResponse>
  /** Makes the broker known, in case the metadata does not have it yet. */
  readonly addNode: (node: Node) => void
  /** A broker has said who coordinates `name`, or why nobody does. */
  readonly onAnswer: (name: string, error: KafkaError | undefined) => void
}

const TYPES: readonly CoordinatorType[] = ['group', 'transaction', 'share']
const FIRST_VERSION_OF_SEVERAL = 4

/** Which broker coordinates a group, a transactional id or a share partition: asked once, and again after {@link Coordinators.forget}. */
export class Coordinators {
  readonly #options: CoordinatorsOptions
  readonly #known = new Map<string, number>()
  readonly #finding = new Map<string, Promise<number>>()

  constructor(options: CoordinatorsOptions) {
    this.#options = options
  }

  /**
   * The id of the coordinator's broker. Callers at the same time share one request. Rejects with the broker's error, often one that
   * passes: COORDINATOR_NOT_AVAILABLE while the internal topic is being made. Try again after a pause.
   */
  find(type: CoordinatorType, key: string): Promise<number> {
    const id = `${type}:${key}`
    const known = this.#known.get(id)
    if (known !== undefined) return Promise.resolve(known)
    let finding = this.#finding.get(id)
    if (finding === undefined) {
      finding = this.#ask(type, key)
        .then((nodeId) => {
          this.#known.set(id, nodeId)
          return nodeId
        })
        .finally(() => this.#finding.delete(id))
      this.#finding.set(id, finding)
    }
    return finding
  }

  /**
   * Call it on an error whose action is `rediscover`, and when the coordinator's connection was lost. With `nodeId`, only if that is
   * still the one that is known: an old answer does not make a new coordinator forgotten.
   */
  forget(type: CoordinatorType, key: string, nodeId?: number): void {
    const id = `${type}:${key}`
    if (nodeId === undefined || this.#known.get(id) === nodeId) this.#known.delete(id)
  }

  /**
   * Sends a request to a coordinator, over a set of connections of the caller. A coordinator that can't be reached or does not answer is
   * forgotten; error codes in the answer are for the caller, who calls {@link Coordinators.forget} where they say so.
   */
  async send<N extends ApiName>(
    connections: Connections,
    coordinator: { readonly type: CoordinatorType; readonly key: string },
    name: N,
    body: Requests[N] | ((version: number) => Requests[N]),
    options?: SendOptions,
  ): Promise<Sent<N> & { readonly nodeId: number }> {
    const { type, key } = coordinator
    const nodeId = await this.find(type, key)
    try {
      return { ...(await connections.send(nodeId, name, body, options)), nodeId }
    } catch (error) {
      this.forget(type, key, nodeId)
      throw error
    }
  }

  async #ask(type: CoordinatorType, key: string): Promise<number> {
    const keyType = TYPES.indexOf(type)
    const response = await this.#options.ask((version) =>
      version < FIRST_VERSION_OF_SEVERAL ? { key, keyType } : { keyType, coordinatorKeys: [key] },
    )
    const found = response.coordinators[0] ?? response
    const { errorCode, errorMessage, nodeId, host, port } = found
    const what = `${type} ${key}`
    const error = errorCode === 0 ? undefined : errorFromBroker(errorCode, `FindCoordinator of ${what}`, errorMessage)
    this.#options.onAnswer(what, error)
    if (error !== undefined) throw error
    this.#options.addNode({ id: nodeId, host, port, rack: null })
    return nodeId
  }
}

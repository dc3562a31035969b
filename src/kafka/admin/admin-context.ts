import type { Cluster } from '../cluster/cluster.ts'
import type { CoordinatorType } from '../cluster/coordinators.ts'
import { errorFromBroker, KafkaError } from '../errors.ts'
import type { SendOptions } from '../network/connection.ts'
import { MAX_MS, OptionsReader } from '../options-reader.ts'
import type { ApiName, Requests, Responses } from '../protocol/generated/api-types.ts'

/** What {@link KafkaClient.admin} takes. */
export interface AdminOptions {
  /** Time limit for one call, including retries. In milliseconds. @default 30_000 */
  readonly timeoutMs?: number | undefined
  /**
   * For how long what is known of a topic is kept after a call about its records, so that the next one need not ask where its partitions are.
   * Partitions that are added meanwhile are seen later. In milliseconds. @default 0, every call asks
   */
  readonly keepTopicsMs?: number | undefined
}

/** Some items of a call were refused; the others are done. `failures` has the error of each refused item, by name. */
export class PartialFailureError extends KafkaError {
  override readonly name = 'PartialFailureError'
  readonly failures: ReadonlyMap<string, KafkaError>

  constructor(failures: ReadonlyMap<string, KafkaError>, first: KafkaError) {
    const rest = failures.size > 1 ? ` (and ${failures.size - 1} more)` : ''
    const { code, action, outcome, brokerCode, missingRight } = first
    super(`${first.message}${rest}`, {
      code,
      action,
      outcome,
      missingRight,
      cause: first,
      ...(brokerCode === undefined ? {} : { brokerCode }),
    })
    this.failures = failures
  }
}

/** What the parts of the admin client share: who is asked, and when again. */
export class AdminContext {
  readonly cluster: Cluster
  readonly timeoutMs: number
  readonly #keepTopicsMs: number

  /** Throws an {@link InvalidOptionsError} if options can't be used. */
  constructor(cluster: Cluster, options: AdminOptions) {
    const reader = new OptionsReader('admin', options, { names: ['timeoutMs', 'keepTopicsMs'] })
    this.cluster = cluster
    this.timeoutMs = reader.number('timeoutMs', [1, MAX_MS, 30_000])
    this.#keepTopicsMs = reader.number('keepTopicsMs', [0, MAX_MS, 0])
    reader.done()
  }

  /** Something that may be done twice: again after every error that passes. */
  read<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    return this.cluster.retry(
      what,
      async () => {
        try {
          return await attempt()
        } catch (error) {
          // The controller has moved: where to is in the metadata.
          if (error instanceof KafkaError && error.action === 'rediscover') this.cluster.wantRefresh()
          throw error
        }
      },
      { timeoutMs: this.timeoutMs },
    )
  }

  /** Something that changes the cluster: again only if the brokers have certainly not carried it out. */
  write<T>(what: string, attempt: () => Promise<T>): Promise<T> {
    return this.read(what, async () => {
      try {
        return await attempt()
      } catch (error) {
        if (!(error instanceof KafkaError) || error.outcome !== 'unknown' || !error.retriable) throw error
        const message = `${what} may have been carried out: ${error.message}`
        throw new KafkaError(message, { code: error.code, action: 'fatal', outcome: 'unknown', cause: error })
      }
    })
  }

  /** The controller, or, where brokers pass such requests on (KRaft), any broker. */
  async toController<N extends ApiName>(
    name: N,
    body: Requests[N] | ((version: number) => Requests[N]),
  ): Promise<Responses[N]> {
    const { metadata } = this.cluster
    if (metadata.nodes.size === 0) await this.cluster.refresh()
    const [any = -1] = metadata.nodes.keys()
    const { controllerId } = metadata
    const nodeId = metadata.nodes.has(controllerId) ? controllerId : any
    return (await this.cluster.send(nodeId, name, body, { waitMs: this.timeoutMs })).response
  }

  async toCoordinator<N extends ApiName>(
    type: CoordinatorType,
    key: string,
    name: N,
    body: Requests[N] | ((version: number) => Requests[N]),
    options?: SendOptions,
  ): Promise<Responses[N]> {
    const { coordinators } = this.cluster
    const nodeId = await coordinators.find(type, key)
    try {
      return (await this.cluster.send(nodeId, name, body, options)).response
    } catch (error) {
      coordinators.forget(type, key, nodeId)
      throw error
    }
  }

  /** Throws what a coordinator answers; one that is no longer the coordinator is forgotten. */
  checkCoordinator(type: CoordinatorType, key: string, errorCode: number, what: string, detail?: string | null): void {
    if (errorCode === 0) return
    const error = errorFromBroker(errorCode, what, detail)
    if (error.action === 'rediscover') this.cluster.coordinators.forget(type, key)
    throw error
  }

  /** Throws if the error of an item passes, so that the call is repeated; errors that stay are for {@link checkItems}. */
  repeatIfPassing(type: CoordinatorType, key: string, errorCode: number, what: string): void {
    if (errorCode !== 0 && errorFromBroker(errorCode, what).retriable) this.checkCoordinator(type, key, errorCode, what)
  }

  /** Every broker that is known. */
  async toAll<N extends ApiName>(
    name: N,
    body: Requests[N],
  ): Promise<readonly { readonly nodeId: number; readonly response: Responses[N] }[]> {
    await this.cluster.refresh()
    const ids = [...this.cluster.metadata.nodes.keys()]
    return Promise.all(
      ids.map(async (nodeId) => ({ nodeId, response: (await this.cluster.send(nodeId, name, body)).response })),
    )
  }

  /** Runs with metadata of these topics, and waits until they are known: for one that does not exist, 10 seconds at most. */
  async withTopics<T>(topics: readonly string[], run: () => Promise<T>): Promise<T> {
    const tracked = this.cluster.track()
    try {
      for (const topic of topics) tracked.add(topic)
      for (const topic of topics) {
        await this.cluster.existingTopic(topic, { timeoutMs: this.timeoutMs })
        if (this.#keepTopicsMs > 0) this.cluster.keep(topic, this.#keepTopicsMs)
      }
      return await run()
    } finally {
      tracked.release()
    }
  }
}

interface ItemAnswer {
  readonly item: string
  readonly errorCode: number
  readonly errorMessage?: string | null
}

/** Throws if an item has failed: its error, or, with others that succeeded, a {@link PartialFailureError}. */
export function checkItems(what: string, answers: readonly ItemAnswer[]): void {
  const failures = new Map<string, KafkaError>()
  for (const { item, errorCode, errorMessage } of answers) {
    if (errorCode !== 0) failures.set(item, refusal(errorCode, `${what} ${item}`, errorMessage))
  }
  const [first] = failures.values()
  if (first === undefined) return
  throw answers.length === 1 ? first : new PartialFailureError(failures, first)
}

/**
 * What is asked of all brokers, or of the controller, is answered by the topics that the cluster has: one that is not among them does not
 * exist, and nothing was done. A leader that says so may only have moved.
 */
export function refusal(errorCode: number, what: string, detail?: string | null): KafkaError {
  const error = errorFromBroker(errorCode, what, detail)
  const { code } = error
  if (code !== 'UNKNOWN_TOPIC_OR_PARTITION') return error
  const message = `${what} failed with ${code} (${errorCode}): the cluster has no such topic or partition`
  return new KafkaError(message, { code, brokerCode: errorCode, action: 'fatal', outcome: 'rejected' })
}

/** Throws if the whole request has failed. */
export function check(what: string, errorCode: number, detail?: string | null): void {
  if (errorCode !== 0) throw errorFromBroker(errorCode, what, detail)
}

import type { ConsumeOptions, RetryOptions } from '../core/consume/consume-options.ts'
import type { ConsumeTarget } from '../core/consumer-factory.ts'
import { OptionsReader } from '../core/util/options-reader.ts'
import type { Node } from './graph.ts'
import type { TopicRunnerOptions } from './sources/topic-runner.ts'

/** Options of a pipeline. */
export interface PipelineOptions {
  /**
   * Which messages are handled one at a time and in order, in each stage. `key`: those of one key. `strict`: those of a topic.
   * `none`: no order. Default `key`.
   */
  readonly order?: 'key' | 'strict' | 'none' | undefined
  /**
   * What becomes of a message of a topic that failed and was not caught. `reject`: it goes to the dead letters at once. `requeue`: it
   * is handled again from the start, as `retry` says, and then those of its key that came behind it, although they may have been
   * through. Default `reject`.
   */
  readonly onFailure?: 'reject' | 'requeue' | undefined
  /** For `onFailure: 'requeue'`, as in `bus.consume`. */
  readonly retry?: RetryOptions | undefined
  /** Maximum number of messages of each source in the pipeline. Default 1,000, and at least enough to fill all batches twice. */
  readonly maxInFlight?: number | undefined
  /** Maximum size of those of a topic, in bytes. Default 16 MiB. */
  readonly maxInFlightBytes?: number | undefined
  /** Maximum number of messages of one key in the pipeline. Default 64, and at least enough to fill the largest batch twice. */
  readonly maxPerKey?: number | undefined
}

/** Options of a topic as a source. The others are the pipeline's. */
export type TopicOptions<Data = unknown> = Pick<
  ConsumeOptions<Data>,
  | 'group'
  | 'transport'
  | 'from'
  | 'where'
  | 'timeoutMs'
  | 'abandonAfterMs'
  | 'deadLetter'
  | 'onDeadLetter'
  | 'native'
  | 'stalledAfterMs'
>

/** What an entry reads from. */
export type EntrySource =
  | { readonly kind: 'topic'; readonly target: ConsumeTarget; readonly options: TopicOptions }
  | { readonly kind: 'iterable'; readonly elements: Iterable<unknown> | AsyncIterable<unknown> }

/** Sources that share their stages. */
export interface Entry {
  readonly sources: readonly EntrySource[]
  readonly first: Node
}

export interface ResolvedPipelineOptions extends TopicRunnerOptions {
  readonly retry: RetryOptions | undefined
}

/** What the user gave, checked; the rest depends on the stages. */
export interface GivenPipelineOptions extends Omit<ResolvedPipelineOptions, 'maxInFlight' | 'maxPerKey'> {
  readonly maxInFlight: number | undefined
  readonly maxPerKey: number | undefined
}

const MAX_IN_FLIGHT = 1_000
const MAX_PER_KEY = 64

export function resolvePipelineOptions(name: unknown, options: PipelineOptions): GivenPipelineOptions {
  const reader = new OptionsReader(`pipeline(${JSON.stringify(name)})`, options, '{ onFailure: "requeue" }')
  if (typeof name !== 'string' || name === '') reader.problem('name', 'must be a string that is not empty')
  const resolved: GivenPipelineOptions = {
    name: String(name),
    order: reader.oneOf('order', ['key', 'strict', 'none'], 'key'),
    onFailure: reader.oneOf('onFailure', ['reject', 'requeue'], 'reject'),
    retry: reader.raw('retry') as RetryOptions | undefined,
    maxInFlight: reader.integer('maxInFlight', undefined, { min: 1, max: 1_000_000 }),
    maxInFlightBytes: reader.integer('maxInFlightBytes', 16_777_216, { min: 1024 }),
    maxPerKey: reader.integer('maxPerKey', undefined, { min: 1 }),
  }
  reader.done()
  return Object.freeze(resolved)
}

/** The defaults that depend on the stages: batches must have a chance to be filled. */
export function withDefaults(given: GivenPipelineOptions, nodes: readonly Node[]): ResolvedPipelineOptions {
  const sizes = nodes.map(({ gathers }) => gathers)
  const all = sizes.reduce((sum, { size, concurrency }) => sum + size * concurrency, 0)
  const largest = sizes.reduce((most, { size }) => Math.max(most, size), 0)
  return {
    ...given,
    // A transport hands over an eighth of it of one key.
    maxInFlight: given.maxInFlight ?? Math.max(MAX_IN_FLIGHT, 2 * all, 16 * largest),
    maxPerKey: given.maxPerKey ?? Math.max(MAX_PER_KEY, 2 * largest),
  }
}

/** The options of the consumer behind a topic. */
export function consumeOptionsOf(
  { order, retry, maxInFlight, maxInFlightBytes }: ResolvedPipelineOptions,
  options: TopicOptions,
): ConsumeOptions {
  return {
    ...options,
    order,
    retry,
    concurrency: maxInFlight,
    prefetch: maxInFlight,
    prefetchBytes: maxInFlightBytes,
  }
}

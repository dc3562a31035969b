import type { BusExtension } from '../core/bus-types.ts'
import type { RetryOptions } from '../core/consume/consume-options.ts'
import type { EventDefinition } from '../core/define.ts'
import type { Where } from '../core/where/where.ts'
import type { Batch, PipelineMessage } from './message.ts'
import type { PipelineReport } from './report.ts'

/** How a stage tries again; as in `bus.consume`. Defaults: 5 attempts, full jitter from 200 ms to 30 s. */
export type StageRetry = Pick<RetryOptions, 'attempts' | 'backoff' | 'baseMs' | 'maxMs'>

/** Options of one stage. */
export interface StageOptions {
  /** In errors, dead letters, figures and drawings. Default: the kind of the stage and its number. */
  readonly name?: string | undefined
  /** Maximum number of promises that the stage waits for at once. Default 10. */
  readonly concurrency?: number | undefined
  /** Tries a failed message again here, before it fails. Its key waits, and holds no slot. Default: none. */
  readonly retry?: StageRetry | undefined
}

/** Options of a stage that gathers messages. */
export interface BatchOptions<Data = unknown> {
  readonly name?: string | undefined
  /** Maximum number of messages. Default 100. */
  readonly size?: number | undefined
  /** Maximum size of their source messages, in bytes; a larger one is alone. Default: no limit. */
  readonly bytes?: number | undefined
  /** A batch waits for more from its first message on for so long, in ms. Default 1,000. */
  readonly timeoutMs?: number | undefined
  /** True when the batch is complete with this message. */
  readonly until?: ((data: Data) => boolean) | undefined
  /** Messages of one key share a batch, and no others. Default: all share one. */
  readonly key?: ((data: Data) => string) | undefined
  /** Maximum number of keys with an open batch: for one more, the oldest is closed. Default 1,000. */
  readonly maxOpenKeys?: number | undefined
  /** Maximum number of batches that are handled at once. Default 1. */
  readonly concurrency?: number | undefined
}

/** What failed, for `catch`. */
export interface Failed<Data = unknown> {
  readonly data: Data
  readonly error: unknown
  /** Name of the stage. */
  readonly stage: string
}

type MaybePromise<Type> = Type | Promise<Type>

/** Data that comes out of a stage, and what can be done with it. A flow can be continued once; `branch` and `merge` do more. */
export interface Flow<Data> {
  /** Replaces the data. */
  map<Result>(
    run: (data: Data, message: PipelineMessage<Data>) => MaybePromise<Result>,
    options?: StageOptions,
  ): Flow<Result>
  /** Does something, and passes the data on. */
  tap(run: (data: Data, message: PipelineMessage<Data>) => unknown, options?: StageOptions): Flow<Data>
  /** Drops what the guard refuses: its message counts as handled. */
  filter<Kept extends Data>(guard: (data: Data) => data is Kept, options?: StageOptions): Flow<Kept>
  filter(
    wanted: Where<Data> | ((data: Data, message: PipelineMessage<Data>) => MaybePromise<boolean>),
    options?: StageOptions,
  ): Flow<Data>
  /** Makes any number from one. An iterator is pulled while at most 256 of one message are on their way. */
  flatMap<Result>(
    run: (data: Data, message: PipelineMessage<Data>) => MaybePromise<Iterable<Result> | AsyncIterable<Result>>,
    options?: StageOptions,
  ): Flow<Result>
  /**
   * Sends each message to the first case that wants it (`match: 'all'`: to each), and merges the flows that stay open. What no case
   * wants has failed. Messages of one key leave the merge in the order in which they entered the branch.
   */
  // oxlint-disable-next-line typescript/no-explicit-any -- the data of open flows is inferred
  branch<Flows extends Record<string, Flow<any> | Sealed>>(
    cases: { readonly [Name in keyof Flows]: BranchOf<Data, Flows[Name]> },
    options?: { readonly name?: string | undefined; readonly match?: 'first' | 'all' | undefined },
  ): Flow<DataOfFlow<Flows[keyof Flows]>>
  /** What comes out of this flow and of others of the same pipeline. */
  merge<Other>(...others: readonly Flow<Other>[]): Flow<Data | Other>
  /** Keeps what has the same key in order from here on, in this process. */
  key(run: (data: Data) => string): Flow<Data>
  /** Gathers messages. */
  batch(options?: BatchOptions<Data>): BatchFlow<Data>
  /** Handles what failed in the stages before, since the last `catch`: the message succeeds when that does. */
  // oxlint-disable-next-line typescript/no-explicit-any -- its data goes nowhere
  catch(flow: (failed: Flow<Failed>) => Flow<any> | Sealed): Flow<Data>
  /** Publishes to an event, or calls a function; the end of the flow. */
  to(
    // oxlint-disable-next-line typescript/no-explicit-any -- what its consumers get is not our concern
    sink: EventDefinition<Data, any> | ((data: Data, message: PipelineMessage<Data>) => unknown),
    options?: StageOptions,
  ): Sealed
  /** The end of the flow. */
  ack(): Sealed
}

/** What can be done with batches. */
export interface BatchFlow<Data> {
  /** One result for each message, at its index, or an error. A message without a result has failed. */
  each<Result>(run: (batch: Batch<Data>) => MaybePromise<readonly (Result | Error)[]>): Flow<Result>
  /** One result for the whole batch: its messages are acked when everything that comes from the result has ended. */
  map<Result>(run: (batch: Batch<Data>) => MaybePromise<Result>): Flow<Result>
  /** The end of the flow. Throwing fails all messages of the batch. */
  to(sink: (batch: Batch<Data>) => unknown): Sealed
}

/** One case of `branch`. */
export interface BranchOf<Data, Result> {
  /** Which messages the case wants. Default: all. */
  readonly where?: Where<Data> | ((data: Data) => boolean) | undefined
  readonly flow: (flow: Flow<Data>) => Result
}

/** The data of a flow; nothing for one that has ended. */
export type DataOfFlow<Type> = Type extends Flow<infer Data> ? Data : never

/** A pipeline with nothing left open. Pass it to `bus.use`, or call `run` if it reads iterables and publishes nothing. */
export interface Sealed extends BusExtension {
  /**
   * Runs a pipeline of iterables without a bus; resolves when everything has been handled. Rejects when an iterable throws, with its
   * error, after what had been read was handled; and with a `StateError` for a pipeline that reads from a topic.
   */
  run(): Promise<PipelineReport>
  /** Resolves when the iterables of a pipeline in a bus have ended and everything has been handled. Rejects like `run`. */
  done(): Promise<PipelineReport>
  /** Draws the stages as a Mermaid flow chart. */
  mermaid(): string
}

import type { Bus } from '../core/bus-types.ts'
import type { AnyEventDefinition, EventDefinition } from '../core/define.ts'
import { ConfigurationError, StateError } from '../core/errors.ts'
import type { EventSet } from '../core/event-set.ts'
import { targetProblem } from '../core/target.ts'
import { describe } from '../core/util/options-reader.ts'
import { FlowBuilder } from './flow.ts'
import type { Flow, Sealed } from './flow-types.ts'
import type { Node } from './graph.ts'
import { mermaidOf } from './mermaid.ts'
import { passNode } from './nodes.ts'
import { resolvePipelineOptions, withDefaults } from './options.ts'
import type { Entry, EntrySource, GivenPipelineOptions, PipelineOptions, TopicOptions } from './options.ts'
import { PipelineRun } from './pipeline-run.ts'
import type { PipelineReport } from './report.ts'

/** A topic with options, as a source. Made by `topic`. */
export interface TopicSource<Data = unknown> {
  readonly target: string | AnyEventDefinition | EventSet
  readonly options: TopicOptions
  /** Never there: carries the type of the data. */
  readonly '~data'?: Data
}

/** What a pipeline can read from. */
export type AnySource = AnyEventDefinition | EventSet | TopicSource | AsyncIterable<unknown> | Iterable<unknown>

/** The data of a source. */
export type DataOfSource<Source> =
  Source extends TopicSource<infer Data>
    ? Data
    : Source extends EventSet<infer Data>
      ? Data
      : // oxlint-disable-next-line typescript/no-explicit-any -- infers the output, whatever the input
        Source extends EventDefinition<any, infer Data>
        ? Data
        : Source extends AsyncIterable<infer Data>
          ? Data
          : Source extends Iterable<infer Data>
            ? Data
            : never

/** The start of a pipeline. */
export interface PipelineBuilder {
  /** Reads from topics and iterables. They share the stages that follow. */
  from<Sources extends readonly [AnySource, ...AnySource[]]>(...sources: Sources): Flow<DataOfSource<Sources[number]>>
}

/** Options of a topic as a source: group, transport, where to start, a filter. */
export function topic<Output>(
  // oxlint-disable-next-line typescript/no-explicit-any -- infers the output, whatever the input
  target: EventDefinition<any, Output>,
  options?: TopicOptions<Output>,
): TopicSource<Output>
export function topic<Data>(target: EventSet<Data>, options?: TopicOptions<Data>): TopicSource<Data>
export function topic(target: string, options?: TopicOptions): TopicSource
export function topic(target: TopicSource['target'], options: TopicOptions = {}): TopicSource {
  const problem = targetProblem(target)
  if (problem !== undefined) throw new ConfigurationError('topic()', [{ path: 'topic', message: problem }])
  return new TopicSourceImpl(target, options)
}

class TopicSourceImpl implements TopicSource {
  readonly target: TopicSource['target']
  readonly options: TopicOptions

  constructor(target: TopicSource['target'], options: TopicOptions) {
    this.target = target
    this.options = options
  }
}

/**
 * Describes a pipeline: messages of topics, or elements of iterables, go through stages. Each message of a topic is acked after
 * everything that came from it has ended, and stays in order by its key in each stage. Nothing happens before `bus.use(pipeline)`.
 *
 *     const invoices = pipeline('invoices')
 *       .from(OrderPlaced)
 *       .filter({ total: { gt: 0 } })
 *       .map(async (order) => ({ order, customer: await customers.find(order.customerId) }), { concurrency: 20 })
 *       .batch({ size: 100, timeoutMs: 500 })
 *       .to(async ({ data }) => insertInvoices(data))
 *     bus.use(invoices)
 *
 * Throws `ConfigurationError` for wrong options, here and in each stage.
 */
export function pipeline(name: string, options: PipelineOptions = {}): PipelineBuilder {
  const whole = new Pipeline(resolvePipelineOptions(name, options))
  return { from: (...sources) => whole.from(sources) as never }
}

class Pipeline implements Sealed {
  readonly #options: GivenPipelineOptions
  readonly #nodes: Node[] = []
  readonly #names = new Set<string>()
  readonly #entries: Entry[] = []
  #run: PipelineRun | undefined

  constructor(options: GivenPipelineOptions) {
    this.#options = options
  }

  get name(): string {
    return this.#options.name
  }

  from(sources: readonly unknown[]): FlowBuilder {
    const first = passNode('from', this.#entries.length === 0 ? 'from' : `from-${this.#entries.length + 1}`)
    this.#nodes.push(first)
    this.#names.add(first.name)
    this.#entries.push({ sources: sources.map((source, index) => this.#sourceOf(source, index)), first })
    const host = { pipeline: this.name, nodes: this.#nodes, names: this.#names, sealed: this }
    return new FlowBuilder(host, [first], [])
  }

  start(bus: Bus): void {
    this.#begin(bus)
  }

  async run(): Promise<PipelineReport> {
    const run = this.#begin(undefined)
    try {
      return await run.done()
    } finally {
      this.#run = undefined
      await run.close()
    }
  }

  async done(): Promise<PipelineReport> {
    if (this.#run === undefined) throw new StateError(`Pipeline "${this.name}" does not run: pass it to bus.use()`)
    return this.#run.done()
  }

  async drain(): Promise<void> {
    await this.#run?.drain()
  }

  async close(): Promise<void> {
    const run = this.#run
    this.#run = undefined
    await run?.close()
  }

  snapshot(): unknown {
    return this.#run?.report()
  }

  mermaid(): string {
    return mermaidOf(this.#entries, this.#nodes)
  }

  #begin(bus: Bus | undefined): PipelineRun {
    if (this.#run !== undefined) throw new StateError(`Pipeline "${this.name}" already runs`)
    const open = this.#nodes.filter(({ next, isEnd, cases }) => next === undefined && !isEnd && cases.length === 0)
    if (open.length > 0 || this.#entries.length === 0)
      throw new ConfigurationError(
        `Pipeline "${this.name}"`,
        open.map(({ name }) => ({ path: name, message: 'leads nowhere: end it with to() or ack()' })),
      )
    this.#run = new PipelineRun(this.#entries, withDefaults(this.#options, this.#nodes), bus)
    return this.#run
  }

  #sourceOf(source: unknown, index: number): EntrySource {
    if (source instanceof TopicSourceImpl) return { kind: 'topic', target: source.target, options: source.options }
    if (typeof source === 'object' && source !== null) {
      if (Symbol.asyncIterator in source || Symbol.iterator in source)
        return { kind: 'iterable', elements: source as AsyncIterable<unknown> }
      if (targetProblem(source) === undefined)
        return { kind: 'topic', target: source as AnyEventDefinition, options: {} }
    }
    throw new ConfigurationError(`from() of pipeline "${this.name}"`, [
      { path: String(index), message: `must be an event, topic('orders.*') or an iterable, got ${describe(source)}` },
    ])
  }
}

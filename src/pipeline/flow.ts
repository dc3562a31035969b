import { ConfigurationError } from '../core/errors.ts'
import { describe, OptionsReader } from '../core/util/options-reader.ts'
import { compileWhere } from '../core/where/compile-where.ts'
import type { Item } from './engine/item.ts'
import type { Batch, PipelineMessage } from './message.ts'
import type { Node } from './graph.ts'
import { batchNode, branchNode, callNode, endNode, keyNode, mergeNode, passNode, testOf } from './nodes.ts'
import type { ResolvedBatchOptions, ResolvedStageOptions } from './nodes.ts'
import type { ResolvedStageRetry } from './engine/call-stage.ts'

/** What all flows of one pipeline share. */
export interface FlowHost {
  readonly pipeline: string
  /** Where messages enter. */
  readonly nodes: Node[]
  /** Names of stages, and those that will be. */
  readonly names: Set<string>
  /** What a flow returns that has ended. */
  readonly sealed: object
}

type Run = (data: unknown, message: PipelineMessage) => unknown

/** Builds the graph. `flow-types.ts` has the types that users see, and says what each method does. */
export class FlowBuilder {
  readonly #host: FlowHost
  /** The last stages: what is added follows them all. */
  readonly #tails: readonly Node[]
  /** Stages since the last `catch`; shared with the flows of branches. */
  readonly #uncaught: Node[]
  #isContinued = false

  constructor(host: FlowHost, tails: readonly Node[], uncaught: Node[]) {
    this.#host = host
    this.#tails = tails
    this.#uncaught = uncaught
  }

  map(run: Run, options?: unknown): FlowBuilder {
    return this.#call('map', run, options)
  }

  tap(run: Run, options?: unknown): FlowBuilder {
    return this.#call('tap', run, options)
  }

  flatMap(run: Run, options?: unknown): FlowBuilder {
    return this.#call('flatMap', run, options)
  }

  filter(wanted: unknown, options?: unknown): FlowBuilder {
    if (typeof wanted === 'function') return this.#call('filter', wanted, options)
    const test = this.#where('filter', wanted)
    return this.#call('filter', (_data: unknown, message: PipelineMessage) => test(message as Item), options)
  }

  key(run: unknown): FlowBuilder {
    const name = this.#name('key', undefined)
    return this.#then(keyNode(name, this.#function(name, run) as (data: unknown) => string))
  }

  branch(
    cases: Readonly<Record<string, { readonly where?: unknown; readonly flow: (flow: FlowBuilder) => unknown }>>,
    options?: unknown,
  ): FlowBuilder {
    const reader = this.#reader('branch', options)
    const name = this.#name('branch', reader.string('name', undefined))
    const match = reader.oneOf('match', ['first', 'all'], 'first')
    if (Object.keys(cases).length === 0) reader.problem('cases', 'must have at least one case')
    reader.done()
    const open: Node[] = []
    const made = Object.entries(cases).map(([each, { where, flow }]) => {
      const first = this.#added(passNode('case', `${name}.${each}`))
      const result = flow(new FlowBuilder(this.#host, [first], this.#uncaught))
      if (result instanceof FlowBuilder) open.push(...result.#end())
      else if (result !== this.#host.sealed)
        throw new ConfigurationError(`branch "${name}" of pipeline "${this.#host.pipeline}"`, [
          { path: each, message: `flow must return the flow that it got, continued; got ${describe(result)}` },
        ])
      return { name: each, test: this.#test(name, where), first }
    })
    const merge = open.length > 1 ? this.#added(mergeNode(this.#name('merge', undefined))) : undefined
    if (merge !== undefined) for (const tail of open) tail.next = merge
    this.#connect(branchNode(name, made, match, merge))
    return new FlowBuilder(this.#host, merge === undefined ? open : [merge], this.#uncaught)
  }

  merge(...others: FlowBuilder[]): FlowBuilder {
    return new FlowBuilder(
      this.#host,
      [this, ...others].flatMap((flow) => flow.#end()),
      this.#uncaught,
    )
  }

  batch(options?: unknown): BatchFlowBuilder {
    const reader = this.#reader('batch', options)
    const name = this.#name('batch', reader.string('name', undefined))
    const resolved: ResolvedBatchOptions = {
      size: reader.integer('size', 100, { min: 1, max: 1_000_000 }),
      bytes: reader.integer('bytes', Infinity, { min: 1 }),
      timeoutMs: reader.integer('timeoutMs', 1_000, { min: 0 }),
      maxOpenKeys: reader.integer('maxOpenKeys', 1_000, { min: 1 }),
      concurrency: reader.integer('concurrency', 1, { min: 1, max: 100_000 }),
      until: reader.callable('until'),
      key: reader.callable('key'),
    }
    reader.done()
    return new BatchFlowBuilder((kind, run) =>
      this.#then(batchNode(name, kind, this.#function(name, run) as (batch: Batch) => unknown, resolved)),
    )
  }

  catch(flow: (failed: FlowBuilder) => unknown): FlowBuilder {
    const head = passNode('catch', this.#name('catch', undefined))
    this.#host.nodes.push(head)
    const result = flow(new FlowBuilder(this.#host, [head], []))
    if (result instanceof FlowBuilder) result.ack()
    else if (result !== this.#host.sealed)
      throw new ConfigurationError(`catch() of pipeline "${this.#host.pipeline}"`, [
        { path: 'flow', message: `must return the flow that it got, continued; got ${describe(result)}` },
      ])
    for (const node of this.#uncaught) node.caughtBy ??= head
    return new FlowBuilder(this.#host, this.#end(), [])
  }

  to(sink: unknown, options?: unknown): object {
    const run: Run =
      typeof sink === 'function'
        ? (sink as Run)
        : (data, message) => message.publish(sink as Parameters<PipelineMessage['publish']>[0], data)
    if (typeof sink !== 'function' && typeof (sink as { topic?: unknown } | null)?.topic !== 'string')
      throw new ConfigurationError(`to() of pipeline "${this.#host.pipeline}"`, [
        { path: 'sink', message: `must be an event of defineEvent() or a function, got ${describe(sink)}` },
      ])
    return this.#call('to', run, options).sealed()
  }

  ack(): object {
    return this.#then(endNode(this.#name('ack', undefined))).sealed()
  }

  /** Nothing follows. */
  sealed(): object {
    this.#end()
    return this.#host.sealed
  }

  // --- the graph -------------------------------------------------------------------------------------------------------

  #call(kind: 'map' | 'tap' | 'filter' | 'flatMap' | 'to', run: unknown, options: unknown): FlowBuilder {
    const reader = this.#reader(kind, options)
    const name = this.#name(kind, reader.string('name', undefined))
    const resolved: ResolvedStageOptions = {
      concurrency: reader.integer('concurrency', 10, { min: 1, max: 100_000 }),
      retry: reader.has('retry') ? retryOf(reader.nested('retry')) : undefined,
    }
    reader.done()
    return this.#then(callNode(kind, name, this.#function(name, run) as Run, resolved))
  }

  #then(node: Node): FlowBuilder {
    this.#connect(this.#added(node))
    return new FlowBuilder(this.#host, [node], this.#uncaught)
  }

  #connect(node: Node): void {
    if (!this.#host.nodes.includes(node)) this.#added(node)
    for (const tail of this.#end()) tail.next = node
  }

  #added(node: Node): Node {
    this.#host.nodes.push(node)
    this.#uncaught.push(node)
    return node
  }

  /** Its last stages, which get what follows. */
  #end(): readonly Node[] {
    if (this.#isContinued)
      throw new ConfigurationError(`Pipeline "${this.#host.pipeline}"`, [
        { path: this.#tails[0]?.name ?? '', message: 'is continued twice: use branch() to go several ways' },
      ])
    this.#isContinued = true
    return this.#tails
  }

  // --- options ---------------------------------------------------------------------------------------------------------

  #reader(kind: string, options: unknown): OptionsReader {
    return new OptionsReader(`${kind}() of pipeline "${this.#host.pipeline}"`, options)
  }

  /** Unique in the pipeline. */
  #name(kind: string, given: string | undefined): string {
    const { names } = this.#host
    if (given !== undefined) {
      if (!names.has(given)) {
        names.add(given)
        return given
      }
      throw new ConfigurationError(`${kind}() of pipeline "${this.#host.pipeline}"`, [
        { path: 'name', message: `"${given}" is the name of another stage` },
      ])
    }
    for (let number = 1; ; number++) {
      const name = number === 1 ? kind : `${kind}-${number}`
      if (names.has(name)) continue
      names.add(name)
      return name
    }
  }

  #function(name: string, run: unknown): unknown {
    if (typeof run === 'function') return run
    throw new ConfigurationError(`"${name}" of pipeline "${this.#host.pipeline}"`, [
      { path: 'run', message: `must be a function, got ${describe(run)}` },
    ])
  }

  #where(name: string, where: unknown): (item: Item) => boolean {
    const reader = new OptionsReader(`"${name}" of pipeline "${this.#host.pipeline}"`, { where })
    const filter = compileWhere(reader, 'where', reader.raw('where'))
    reader.done()
    return testOf(filter)
  }

  #test(name: string, where: unknown): ((item: Item) => boolean) | undefined {
    if (where === undefined) return undefined
    if (typeof where === 'function') return ({ data }) => Boolean((where as (data: unknown) => unknown)(data))
    return this.#where(name, where)
  }
}

function retryOf(reader: OptionsReader): ResolvedStageRetry {
  return {
    attempts: reader.integer('attempts', 5, { min: 1, max: 10_000 }),
    backoff: reader.oneOf('backoff', ['full-jitter', 'exponential', 'fixed'], 'full-jitter'),
    baseMs: reader.integer('baseMs', 200),
    maxMs: reader.integer('maxMs', 30_000),
  }
}

type BatchKind = 'each' | 'map' | 'to'

/** Chooses what is done with batches. */
class BatchFlowBuilder {
  readonly #add: (kind: BatchKind, run: unknown) => FlowBuilder

  constructor(add: (kind: BatchKind, run: unknown) => FlowBuilder) {
    this.#add = add
  }

  each(run: unknown): FlowBuilder {
    return this.#add('each', run)
  }

  map(run: unknown): FlowBuilder {
    return this.#add('map', run)
  }

  to(run: unknown): object {
    return this.#add('to', run).sealed()
  }
}

import { clockOf, consumeWith } from '../core/bus.ts'
import type { Bus, ConsumerHandle } from '../core/bus-types.ts'
import { systemClock } from '../core/clock.ts'
import { StateError } from '../core/errors.ts'
import { Engine } from './engine/engine.ts'
import type { Stage } from './engine/engine.ts'
import type { PipelineMessage } from './message.ts'
import { failToOf } from './graph.ts'
import type { Node, StageHost } from './graph.ts'
import { consumeOptionsOf } from './options.ts'
import type { EntrySource, Entry, ResolvedPipelineOptions } from './options.ts'
import type { PipelineReport } from './report.ts'
import { IterableSource, noBus } from './sources/iterable-source.ts'
import { TopicRunner } from './sources/topic-runner.ts'

/** A pipeline that runs: its stages, consumers and iterables. */
export class PipelineRun implements StageHost {
  readonly engine: Engine
  readonly #options: ResolvedPipelineOptions
  readonly #bus: Bus | undefined
  readonly #stages = new Map<Node, Stage>()
  readonly #iterables: IterableSource[] = []
  readonly #consumers: ConsumerHandle[] = []
  /** What an iterable has thrown first. */
  #thrown: { readonly error: unknown } | undefined

  constructor(entries: readonly Entry[], options: ResolvedPipelineOptions, bus: Bus | undefined) {
    this.#options = options
    this.#bus = bus
    this.engine = new Engine(bus === undefined ? systemClock : clockOf(bus))
    for (const { sources, first } of entries) for (const source of sources) this.#add(source, this.stage(first))
    for (const iterable of this.#iterables) iterable.onThrown = (error) => this.#failed(error)
    for (const iterable of this.#iterables) iterable.start()
  }

  /**
   * Resolves when all iterables have ended and everything that came from them; when one of them has thrown, the others
   * are read no more, and it rejects after what had been read was handled.
   */
  async done(): Promise<PipelineReport> {
    const ends = await Promise.allSettled(this.#iterables.map((iterable) => iterable.done))
    if (this.#thrown !== undefined) throw this.#thrown.error
    for (const end of ends) if (end.status === 'rejected') throw end.reason
    return this.report()
  }

  report(): PipelineReport {
    const sum = (count: 'read' | 'handled' | 'failed'): number =>
      this.#iterables.reduce((total, iterable) => total + iterable[count], 0)
    const failures = this.#iterables.flatMap((iterable) => iterable.failures).slice(0, 100)
    return { read: sum('read'), handled: sum('handled'), failed: sum('failed'), failures }
  }

  stage(node: Node): Stage {
    const made = this.#stages.get(node)
    if (made !== undefined) return made
    const next = node.next === undefined ? END : this.stage(node.next)
    const stage = node.make(this, next, failToOf(this, node))
    this.#stages.set(node, stage)
    return stage
  }

  /** Reads no more from iterables, and lets go what waits in batches. Resolves when their elements have been handled. */
  async drain(): Promise<void> {
    for (const iterable of this.#iterables) iterable.stop()
    this.engine.drain()
    await Promise.allSettled(this.#iterables.map((iterable) => iterable.done))
  }

  async close(): Promise<void> {
    for (const iterable of this.#iterables) iterable.abort(new Error('the pipeline was closed'))
    this.engine.close()
    await Promise.all(this.#consumers.map((consumer) => consumer.close()))
  }

  /** Reading an iterable has thrown: the others are read no more, and a read that goes on is not waited for. */
  #failed(error: unknown): void {
    if (this.#thrown !== undefined) return
    this.#thrown = { error }
    for (const iterable of this.#iterables) iterable.stop(false)
  }

  #add(source: EntrySource, first: Stage): void {
    const { name, maxInFlight } = this.#options
    if (source.kind === 'iterable') {
      const bus = this.#bus
      const publish: PipelineMessage['publish'] =
        bus === undefined ? noBus : (target, data, options) => bus.publish(target as string, data, options)
      this.#iterables.push(new IterableSource(this.engine, first, source.elements, maxInFlight, publish))
      return
    }
    if (this.#bus === undefined) throw new StateError(`Pipeline "${name}" reads from a topic: pass it to bus.use()`)
    const consumer = consumeWith(
      this.#bus,
      source.target,
      (host, attempts, preparation) => new TopicRunner(host, attempts, preparation, this.engine, first, this.#options),
      consumeOptionsOf(this.#options, source.options),
    )
    this.#consumers.push(consumer)
  }
}

const END: Stage = {
  name: 'end',
  push() {
    throw new StateError('Nothing follows this stage')
  },
}

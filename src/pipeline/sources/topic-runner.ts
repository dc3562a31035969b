import { outsideHandlers } from '../../core/causality.ts'
import { Attempt } from '../../core/consume/attempt.ts'
import type { AttemptHost } from '../../core/consume/attempt.ts'
import { maxPerKeyOf } from '../../core/consume/consume-options.ts'
import type { PendingDelivery } from '../../core/consume/pending-delivery.ts'
import type { Preparation } from '../../core/consume/preparation.ts'
import { RetryRequest } from '../../core/consume/retry.ts'
import type { Runner, RunnerHost } from '../../core/consume/runner.ts'
import { RejectError } from '../../core/errors.ts'
import { CallStage } from '../engine/call-stage.ts'
import type { Engine, Intake, Stage } from '../engine/engine.ts'
import { Item } from '../engine/item.ts'
import type { Root, RootFailure, RootOwner } from '../engine/root.ts'
import { TopicRoot } from './topic-root.ts'
import type { EntryLane } from './topic-root.ts'

export interface TopicRunnerOptions {
  /** Of the pipeline. */
  readonly name: string
  readonly order: 'key' | 'strict' | 'none'
  /** Maximum number of messages of one key in the pipeline. */
  readonly maxPerKey: number
  readonly maxInFlight: number
  readonly maxInFlightBytes: number
  /** `reject`: a message that has failed goes to the dead letters. `requeue`: it is handled again, as the consumer's `retry` says. */
  readonly onFailure: 'reject' | 'requeue'
}

/** The name of the stage that decodes and validates. */
export const DECODE = 'decode'

/**
 * Feeds a pipeline from a consumer. Takes messages while the consumer may have more of them running, several of a key too, and
 * settles those of one key in order, each after everything that came from it.
 */
export class TopicRunner implements Runner, Intake, RootOwner {
  readonly #host: RunnerHost
  readonly #attemptHost: AttemptHost
  readonly #engine: Engine
  readonly #options: TopicRunnerOptions
  readonly #first: Stage
  readonly #roots = new Map<PendingDelivery, TopicRoot>()
  readonly #lanes = new Map<EntryLane['queue'], EntryLane>()
  /** More of the keys in the pipeline may have arrived. */
  #hasNews = false
  /** Size of the messages in the pipeline. */
  #bytes = 0

  constructor(
    host: RunnerHost,
    attemptHost: AttemptHost,
    preparation: Preparation,
    engine: Engine,
    next: Stage,
    options: TopicRunnerOptions,
  ) {
    this.#host = host
    this.#attemptHost = attemptHost
    this.#engine = engine
    this.#options = options
    this.#first = new CallStage(engine, {
      name: DECODE,
      concurrency: Infinity,
      retry: undefined,
      failTo: undefined,
      run: ({ root }) => {
        const { pending } = root as TopicRoot
        const preparing = preparation.run(pending)
        return preparing === undefined ? pending.message.data : preparing.then(() => pending.message.data)
      },
      passOn: (item, data) => {
        item.data = data
        if ((item.root as TopicRoot).pending.isUnwanted) engine.end(item)
        else next.push(item)
      },
    })
    engine.intakes.push(this)
  }

  get running(): number {
    return this.#roots.size
  }

  get isFull(): boolean {
    if (!this.#hasRoom) return true
    const most = maxPerKeyOf(this.#options.maxInFlight)
    for (const { queue, roots } of this.#lanes.values())
      if (queue.waiting.length > 0 || roots.length >= most) return true
    return false
  }

  get isOver(): boolean {
    return false
  }

  /** The broker gives no more than that, either. */
  get #hasRoom(): boolean {
    return this.#roots.size < this.#host.maxConcurrency && this.#bytes < this.#options.maxInFlightBytes
  }

  /** More has arrived, or more may run. */
  pump(): void {
    this.#hasNews = true
    outsideHandlers(() => this.#engine.run(() => this.take()))
  }

  take(): void {
    if (this.#hasNews) {
      this.#hasNews = false
      for (const lane of this.#lanes.values()) this.#takeMore(lane)
    }
    while (this.#hasRoom) {
      const pending = this.#host.scheduler.next()
      if (pending === undefined) return
      this.#take(pending)
    }
  }

  /** Signals of what is lost, or of everything when the time of a close is up. */
  abort(reason: unknown, only?: (pending: PendingDelivery) => boolean): void {
    this.#engine.run(() => {
      for (const root of Array.from(this.#roots.values())) {
        if (only !== undefined && !only(root.pending)) continue
        root.attempts.abort(reason)
        // When the time of a close is up, what has not come to its end comes again, and no attempt is used.
        const error = only === undefined ? new RetryRequest({ countAttempt: false, delayMs: 0, cause: reason }) : reason
        this.#kill(root, () => this.#host.failed(root.pending, error))
      }
    })
  }

  flush(): void {}

  // --- messages in -----------------------------------------------------------------------------------------------------

  #take(pending: PendingDelivery): void {
    const { queue } = pending
    let lane: EntryLane | undefined
    if (queue !== undefined) {
      lane = this.#lanes.get(queue)
      // If it were prepared while an earlier message of its key is here, it would start beside that message.
      if (lane !== undefined && this.#host.needsPreparing(pending)) {
        lane.isClosed = true
        this.#host.notStarted(queue, [pending])
        return
      }
    }
    if (!this.#host.begin(pending)) {
      if (lane !== undefined && pending.queue === queue) lane.isClosed = true
      return
    }
    if (queue !== undefined && lane === undefined) {
      lane = { queue, roots: [], isClosed: false, isRestarting: false, isTaking: false }
      this.#lanes.set(queue, lane)
    }
    const attempt = new Attempt(this.#attemptHost, pending, (_attempt, reason) => this.#abandon(pending, reason))
    const root = new TopicRoot(this, pending, attempt, lane)
    this.#roots.set(pending, root)
    this.#bytes += root.bytes
    lane?.roots.push(root)
    const { order } = this.#options
    const key = order === 'key' ? pending.message.key : order === 'strict' ? '' : undefined
    this.#first.push(new Item(root, undefined, key, [], undefined))
    if (this.#roots.get(pending) === root) this.#host.started(pending)
    if (lane !== undefined) this.#takeMore(lane)
  }

  #takeMore(lane: EntryLane): void {
    // When nothing of the key is here any more, the scheduler has the next one.
    // What is taken may be through at once, and let the next one in: that happens here, not deeper and deeper in the stack.
    if (lane.isTaking) return
    lane.isTaking = true
    while (!lane.isClosed && lane.roots.length > 0 && lane.roots.length < this.#options.maxPerKey && this.#hasRoom) {
      const pending = this.#host.scheduler.following(lane.queue)
      if (pending === undefined) break
      this.#take(pending)
    }
    lane.isTaking = false
  }

  // --- messages out ----------------------------------------------------------------------------------------------------

  complete(root: Root): void {
    const done = root as TopicRoot
    if (done.isDead) return
    done.isComplete = true
    if (done.lane === undefined) this.#settle(done)
    else this.#settleInOrder(done.lane)
  }

  idle(root: Root): void {
    const dead = root as TopicRoot
    if (dead.whenQuiet === undefined) return
    const { whenQuiet } = dead
    dead.whenQuiet = undefined
    whenQuiet()
  }

  #settleInOrder(lane: EntryLane): void {
    if (lane.isRestarting) return
    for (let [head] = lane.roots; head?.isComplete === true; [head] = lane.roots) {
      if (head.failure !== undefined && this.#options.onFailure === 'requeue') return this.#again(lane, head)
      lane.roots.shift()
      this.#settle(head)
    }
    this.#takeOrForget(lane)
  }

  #takeOrForget(lane: EntryLane): void {
    if (lane.roots.length > 0) this.#takeMore(lane)
    else if (this.#lanes.get(lane.queue) === lane) this.#lanes.delete(lane.queue)
  }

  #settle(root: TopicRoot): void {
    const { failure, pending, attempts } = root
    this.#forget(root)
    attempts.end()
    attempts.observeEnd(failure === undefined, failure?.error)
    if (failure === undefined) this.#host.succeeded(pending)
    else if (root.isAbandoned) this.#host.abandoned(pending, this.#errorOf(failure))
    else this.#host.failed(pending, this.#errorOf(failure))
  }

  /** False when that was done before. */
  #forget(root: TopicRoot): boolean {
    if (!this.#roots.delete(root.pending)) return false
    this.#bytes -= root.bytes
    return true
  }

  #errorOf({ error, stage }: RootFailure): unknown {
    // The runtime knows its own errors of decoding and validating, and dead-letters those by itself.
    if (stage === DECODE || this.#options.onFailure === 'requeue') return error
    const text = error instanceof Error ? error.message : String(error)
    return new RejectError(`Stage "${stage}" failed: ${text}`, { cause: error })
  }

  /** The head of the lane is to be handled again, and everything behind it after that, although it may have been through. */
  #again(lane: EntryLane, head: TopicRoot): void {
    lane.isClosed = true
    lane.isRestarting = true
    const behind = lane.roots.slice(1)
    let running = 0
    const restart = (): void => {
      if (--running > 0) return
      lane.roots.length = 0
      this.#lanes.delete(lane.queue)
      this.#settle(head)
      const back = behind.filter((root) => this.#forget(root))
      for (const { attempts } of back) {
        attempts.end()
        attempts.observeEnd(false, head.failure?.error)
      }
      this.#host.requeueBehind(
        lane.queue,
        back.map(({ pending }) => pending),
      )
    }
    running = behind.length + 1
    for (const root of behind) {
      root.kill()
      if (root.running === 0) restart()
      else root.whenQuiet = restart
    }
    restart()
  }

  /** Nothing of it starts any more; `done` when nothing runs. */
  #kill(root: TopicRoot, done: () => void): void {
    if (root.isDead) return
    root.kill()
    const { lane } = root
    // What comes again of its key must not begin while code for the lost ones runs.
    if (lane !== undefined) lane.isClosed = true
    const gone = (): void => {
      if (!this.#forget(root)) return
      root.attempts.end()
      root.attempts.observeEnd(false, root.attempts.signal.reason)
      done()
      if (lane === undefined) return
      const at = lane.roots.indexOf(root)
      if (at >= 0) lane.roots.splice(at, 1)
      this.#settleInOrder(lane)
    }
    if (root.running === 0) gone()
    else root.whenQuiet = gone
  }

  /** Its code ignored its deadline and the grace after it. */
  #abandon(pending: PendingDelivery, reason: unknown): void {
    const root = this.#roots.get(pending)
    // One that has ended, and waits for others of its key to be settled, keeps its outcome.
    if (root === undefined || root.isComplete) return
    this.#engine.run(() => {
      const { whenQuiet, lane } = root
      root.whenQuiet = root.running > 0 ? () => this.#host.late(pending) : undefined
      root.isAbandoned = true
      root.abandon()
      root.failure = { error: reason, stage: root.failure?.stage ?? this.#options.name }
      root.isComplete = true
      if (lane === undefined) this.#settle(root)
      else if (lane.isRestarting) whenQuiet?.()
      else this.#settleInOrder(lane)
    })
  }
}

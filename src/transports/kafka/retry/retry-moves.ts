import { PublishError } from '../../../core/errors.ts'
import { KafkaError } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import type { AckResult } from '../../../core/partitions/settlement.ts'
import type { Move } from '../consume/ack-transactions.ts'
import { isAuthorization } from '../errors.ts'
import type { Delayed, Partition, PartitionDelivery } from '../partitions/partition.ts'
import { CopyDelivery } from './copy-delivery.ts'
import { retryCopy } from './retry-copy.ts'
import { logFor } from './retry-topic.ts'
import { StaysError } from './retry-topics.ts'

/** What is due sooner stays where it is: moving takes some of that time. */
const LEAST_MS = 1_000
/** So many of one partition may wait in its commit record before others move. */
const FEW = 100
/** Messages of one transaction. */
const MOST = 1_000
/** What waits to be moved; when there is more, the partitions that it comes from are not read on. */
const MAX_WAITING = 2_000
const MAX_WAITING_BYTES = 8_388_608
/** How long everything stays where it is after something could not be moved. */
const REST_MS = 10_000

/** A message that moves, and what happens if it can't. */
interface Waiting {
  readonly partition: Partition
  readonly delayed: Delayed
  readonly failed: () => void
}

export interface RetryMovesHost {
  readonly context: KafkaContext
  /** Name of the retry topic of a partition; undefined where there can't be one. */
  readonly topicOf: (partition: Partition) => string | undefined
  /** Resolves when the retry topic exists, and is read beside the partition. */
  readonly prepare: (name: string, partition: Partition) => Promise<void>
  /** It may be missing. */
  readonly forget: (name: string) => void
  readonly store: (moves: readonly Move[]) => Promise<readonly AckResult[]>
  /** The partition may be read on. */
  readonly wake: (partition: Partition) => void
}

/** Moves messages that wait for their time into the retry topic: those for whose delays there is little room in the commit of their partition. */
export class RetryMoves {
  readonly #host: RetryMovesHost
  #waiting: Waiting[] = []
  #bytes = 0
  /** Not read on before what waits has moved. */
  readonly #held = new Set<Partition>()
  #isRunning = false
  #restsUntil = -Infinity
  /** Topics whose messages stay where they are. */
  readonly #staying = new Set<string>()

  constructor(host: RetryMovesHost) {
    this.#host = host
  }

  wants({ owner, history }: PartitionDelivery, dueAt: number, isAsRead: boolean): boolean {
    const { clock } = this.#host.context.host
    if (dueAt - clock.now() < LEAST_MS || clock.monotonic() < this.#restsUntil) return false
    // Whether a handler of it has died is in the record of its partition alone.
    if (history === 'unknown' || history === 'died') return false
    // A copy that waits for its own time takes hardly any room. One that has failed again goes to the end.
    if (owner.source !== undefined) return !isAsRead
    if (owner.delayed.size < FEW && !owner.isTight) return false
    return !this.#staying.has(owner.topic) && this.#host.topicOf(owner) !== undefined
  }

  add(waiting: Waiting): void {
    const { partition, delayed } = waiting
    this.#waiting.push(waiting)
    partition.moving++
    this.#bytes += delayed.delivery?.bytes ?? 0
    if (this.#waiting.length >= MAX_WAITING || this.#bytes >= MAX_WAITING_BYTES) {
      partition.movesFirst = true
      this.#held.add(partition)
    }
    void this.#run()
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return
    this.#isRunning = true
    // What else is put aside in this turn goes along.
    await new Promise(setImmediate)
    while (this.#waiting.length > 0) {
      const some = this.#waiting.splice(0, MOST)
      for (const { delayed } of some) this.#bytes -= delayed.delivery?.bytes ?? 0
      await this.#move(some)
      for (const { partition } of some) partition.moving--
      this.#readOn(new Set(some.map(({ partition }) => partition)))
    }
    this.#isRunning = false
  }

  #readOn(moved: Set<Partition>): void {
    for (const partition of this.#held) {
      partition.movesFirst = false
      moved.add(partition)
    }
    this.#held.clear()
    for (const partition of moved) this.#host.wake(partition)
  }

  /** Never rejects. */
  async #move(some: readonly Waiting[]): Promise<void> {
    const ready: Waiting[] = []
    for (const [partition, all] of Map.groupBy(some, (each) => each.partition)) {
      if (await this.#prepare(partition)) ready.push(...all)
      else for (const { failed } of all) failed()
    }
    const moved = ready.filter(({ partition, delayed }) => isOurs(partition, delayed))
    const results = await this.#host.store(moved.map((each) => this.#moveOf(each)))
    for (const [at, error] of results.entries()) {
      const { partition, delayed, failed } = moved[at] as Waiting
      // What was lost is its next owner's.
      if (error === undefined || !isOurs(partition, delayed)) continue
      this.#refused(partition, error)
      failed()
    }
  }

  async #prepare(partition: Partition): Promise<boolean> {
    if (this.#host.context.host.clock.monotonic() < this.#restsUntil) return false
    try {
      await this.#host.prepare(this.#host.topicOf(partition) ?? '', partition)
      return true
    } catch (error) {
      if (error instanceof StaysError) this.#staying.add(partition.origin.topic)
      else if (partition.mine) this.#refused(partition, error)
      return false
    }
  }

  #moveOf({ partition, delayed }: Waiting): Move {
    const { origin } = partition
    const { dueAt, used, place: offset } = delayed
    const delivery = delayed.delivery as PartitionDelivery
    const dueInMs = dueAt - this.#host.context.host.clock.now()
    const place = { topic: this.#host.topicOf(partition) ?? '', partition: logFor(origin.index, dueInMs) }
    const retried = { offset: delivery instanceof CopyDelivery ? delivery.retried.offset : offset, used }
    return { partition, delayed, copy: retryCopy(delivery.message, place, retried, dueAt) }
  }

  /** Everything stays in its commit record for a while, as far as there is room. */
  #refused(partition: Partition, error: unknown): void {
    const { host, reports } = this.#host.context
    const name = this.#host.topicOf(partition) ?? ''
    const cause = PublishError.is(error) ? error.cause : error
    // Between two generations of its group, a member can't commit: that passes, and nothing is wrong.
    const isPassing = cause instanceof KafkaError && cause.action === 'rejoin'
    this.#restsUntil = host.clock.monotonic() + (isPassing ? LEAST_MS : REST_MS)
    if (isPassing) return
    this.#host.forget(name)
    if (!isAuthorization(cause))
      return reports.error(error, `moving delayed messages of ${partition.name} to "${name}"`)
    const right = cause.missingRight === undefined ? '' : ` An ACL must allow ${cause.missingRight}`
    reports.warnOnce(
      'retry-topic-refused',
      `delayed messages of "${partition.origin.topic}" can't move to "${name}", so that commits must have room for all of them: Kafka refused it (${cause.message}).${right}`,
    )
  }
}

/** What is being handed over stays where it is. */
function isOurs(partition: Partition, delayed: Delayed): boolean {
  return partition.mine && !partition.leaving && partition.delayed.get(delayed.place) === delayed
}

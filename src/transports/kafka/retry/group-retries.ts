import { sleep } from '../../../core/clock.ts'
import type { Timer } from '../../../core/clock.ts'
import { ConnectionError } from '../../../core/errors.ts'
import type { Consumer } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import type { AckResult } from '../../../core/partitions/settlement.ts'
import type { Move } from '../consume/ack-transactions.ts'
import type { Delayed, Partition, PartitionDelivery } from '../partitions/partition.ts'
import { RetryPurge } from './retry-purge.ts'
import { RetryMoves } from './retry-moves.ts'
import { LOGS, retryTopic, sourceOf } from './retry-topic.ts'
import { RetryTopics } from './retry-topics.ts'

/** How often, and after which pauses, a new partition of a retry topic is looked for. */
const ATTACH_TRIES = 20
const ATTACH_MS = 250
/** Pause before a look for retry topics is repeated that failed. */
const AGAIN_MS = 1_000
/** The group forgets what was committed a week ago (`offsets.retention.minutes`) for a topic that it does not subscribe to. */
const KEEP_MS = 3_600_000

export interface GroupRetriesHost {
  readonly context: KafkaContext
  /** At the broker. */
  readonly groupId: string
  readonly consumer: () => Consumer | undefined
  /** Stores copies and the commit of what they are copies of in one step. */
  readonly store: (moves: readonly Move[]) => Promise<readonly AckResult[]>
  /** Something of the partition must be committed. */
  readonly changed: (partition: Partition) => void
  /** It may be handed out again. */
  readonly wake: (partition: Partition) => void
  /** The retry topic is read from now on, beside that partition. */
  readonly attached: (topic: string, source: Partition) => void
  /** What is known of a partition of a retry topic does not count any more: it continues at that offset. */
  readonly moveTo: (partition: Partition, offset: number) => void
}

/** A partition of a retry topic: what it stands beside, and where its log begins. */
interface Beside {
  readonly source: Partition
  readonly start: number
}

/**
 * The retry topics of one group: messages move there whose delays there is no room for in the commit of their partition. The partitions of a
 * retry topic are read by the member that has the partition beside them, for as long as it has that, and committed like it.
 */
export class GroupRetries {
  readonly #host: GroupRetriesHost
  readonly #topics: RetryTopics
  readonly #moves: RetryMoves
  readonly #purge: RetryPurge
  readonly #beside = new Map<string, Beside>()
  /** Where those continue that are not read yet, because their group was moved. */
  readonly #movedTo = new Map<string, number>()
  /** Those beside which something is read, and since when they are ours. */
  readonly #attached = new Map<Partition, number>()
  readonly #closing = new AbortController()
  #keeping: Timer | undefined

  constructor(host: GroupRetriesHost) {
    const { context, groupId } = host
    this.#host = host
    this.#topics = new RetryTopics(context)
    this.#purge = new RetryPurge(context)
    this.#moves = new RetryMoves({
      context,
      topicOf: ({ origin }) => retryTopic(origin.topic, groupId),
      prepare: (name, partition) => this.#prepare(name, partition),
      forget: (name) => this.#topics.forget(name),
      store: host.store,
      wake: host.wake,
    })
  }

  /** Where a partition of a retry topic stands, and where its log began when it was attached; undefined for every other partition. */
  besideOf(topic: string, index: number): Beside | undefined {
    return this.#beside.get(keyOf(topic, index))
  }

  /** A partition has come to us: what waits beside it is ours, too. */
  loaded(source: Partition): void {
    const name = retryTopic(source.topic, this.#host.groupId)
    if (name !== undefined) void this.#open(name, source)
  }

  /** A partition of a retry topic is read. */
  reading(partition: Partition): void {
    this.#purge.add(partition)
    const key = keyOf(partition.topic, partition.index)
    const movedTo = this.#movedTo.get(key)
    this.#movedTo.delete(key)
    // When it is read.
    if (movedTo !== undefined) queueMicrotask(() => this.#moveTo(partition, movedTo))
    this.#keeping ??= this.#host.context.host.clock.setTimer(KEEP_MS, () => this.#keep())
  }

  /**
   * The group was moved in that partition: what waits beside it is given up, like everything that was not finished. What the group reads
   * again moves there again.
   */
  async moved(source: Partition): Promise<void> {
    const { context, groupId } = this.#host
    const name = retryTopic(source.topic, groupId)
    if (name === undefined) return
    try {
      if (!(await this.#topics.existing()).has(name)) return
      const ends = await context.client.admin().records.offsets(name, 'latest')
      for (const { partition: log, offset } of ends) {
        if (!source.mine || sourceOf(log) !== source.index) continue
        const partition = this.#purge.partitions.find(({ topic, index }) => topic === name && index === log)
        if (partition === undefined) this.#movedTo.set(keyOf(name, log), offset)
        else this.#moveTo(partition, offset)
      }
      this.loaded(source)
    } catch (error) {
      context.reports.error(error, `giving up what waits beside ${source.name}, after a seek`)
    }
  }

  #moveTo(partition: Partition, offset: number): void {
    if (partition.mine) this.#host.moveTo(partition, offset)
  }

  /** The retry topic was made again: what it had is lost, and what moves there from now on is read. */
  recreated(partition: Partition): void {
    const { source } = partition
    if (source === undefined) return
    this.#topics.forget(partition.topic)
    this.#attached.delete(source)
    this.loaded(source)
  }

  /** Whether a message should move to the retry topic. `isAsRead`: its record says when it is due. */
  wants(delivery: PartitionDelivery, dueAt: number, isAsRead: boolean): boolean {
    return this.#moves.wants(delivery, dueAt, isAsRead)
  }

  /** Moves a message, with its body, that `wants` was true for. `failed`: it stays, and nothing else looks after it. */
  move(partition: Partition, delayed: Delayed, failed: () => void): void {
    this.#moves.add({ partition, delayed, failed })
  }

  close(): void {
    this.#closing.abort()
    this.#keeping?.cancel()
    this.#purge.close()
  }

  async #open(name: string, source: Partition): Promise<void> {
    const { reports, host } = this.#host.context
    while (source.mine && !this.#closing.signal.aborted) {
      try {
        if ((await this.#topics.existing()).has(name)) await this.#attach(name, source)
        return
      } catch (error) {
        reports.error(error, `looking for what waits beside ${source.name}`)
        await sleep(host.clock, AGAIN_MS, this.#closing.signal).catch(() => {})
      }
    }
  }

  /** Before something of this partition moves. */
  async #prepare(name: string, { origin }: Partition): Promise<void> {
    await this.#topics.ensure(name, origin)
    // Not every broker has heard of a new topic yet.
    for (let left = ATTACH_TRIES; this.#attached.get(origin) !== origin.span; left--) {
      await this.#attach(name, origin)
      if (this.#attached.get(origin) === origin.span || !origin.mine) return
      if (left === 0) throw new ConnectionError(`No broker knows the partitions of "${name}" beside ${origin.name} yet`)
      await sleep(this.#host.context.host.clock, ATTACH_MS, this.#closing.signal)
    }
  }

  async #attach(name: string, source: Partition): Promise<void> {
    const starts = await this.#host.context.client.admin().records.offsets(name, 'earliest')
    const mine = starts.filter(({ partition }) => sourceOf(partition) === source.index)
    // It went meanwhile, and whoever has it now looks for itself; or the topic has none beside it, so that nothing waits there.
    if (!source.mine || mine.length < LOGS) return
    for (const { partition, offset } of mine) this.#beside.set(keyOf(name, partition), { source, start: offset })
    this.#host.attached(name, source)
    const places = mine.map(({ partition }) => ({ topic: name, partition }))
    this.#host.consumer()?.attach({ topic: source.topic, partition: source.index }, places)
    this.#attached.set(source, source.span)
  }

  /** Commits again what has not changed for long. */
  #keep(): void {
    let isReading = false
    for (const partition of this.#purge.partitions) {
      isReading = true
      partition.changes++
      this.#host.changed(partition)
    }
    const { clock } = this.#host.context.host
    this.#keeping = isReading ? clock.setTimer(KEEP_MS, () => this.#keep()) : undefined
  }
}

function keyOf(topic: string, partition: number): string {
  return `${partition} ${topic}`
}

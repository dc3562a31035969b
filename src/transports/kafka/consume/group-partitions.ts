import type { Timer } from '../../../core/clock.ts'
import type {
  CommittedPosition,
  Consumer,
  ConsumerBatch,
  StartingPartition,
  StartPosition,
  TopicPartition,
} from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import { decodeRecord, emptyRecord, hashOfTopic } from '../partitions/commit-record.ts'
import type { CommitRecord } from '../partitions/commit-record.ts'
import { Partition } from '../partitions/partition.ts'
import type { GroupRetries } from '../retry/group-retries.ts'
import { positionOf } from '../wire/mapping.ts'
import { FormerOwners } from './former-owners.ts'
import { GroupAssignment, partitionKey } from './group-assignment.ts'
import { GroupMoves } from './group-moves.ts'
import type { Move } from './group-moves.ts'
import type { GroupTopics } from './group-topics.ts'
import type { GroupWarnings } from './group-warnings.ts'
import type { KafkaSubscription } from './subscription.ts'

/** How long a leader may take to know where its log ends; how often it is looked; and by how many records it can be behind at most. */
const LATE_MS = 5_000
const COMPARE_MS = 200
const MAX_LATE = 1_000_000

export interface GroupPartitionsOptions {
  readonly context: KafkaContext
  /** At the broker; undefined for a broadcast. */
  readonly groupId: string | undefined
  /** Name of this owner in commit records. */
  readonly owner: string
  readonly topics: GroupTopics
  readonly warnings: GroupWarnings
  /** Undefined for a broadcast. */
  readonly retries: GroupRetries | undefined
  readonly consumer: () => Consumer | undefined
  /** Something of it has changed; `now`: it must not wait. */
  readonly changed: (partition: Partition, now: boolean) => void
  readonly free: (partitions: readonly Partition[]) => Promise<void>
  /** Where a partition begins whose group has committed nothing there. */
  readonly beginning: (topic: string, partition: number) => number
  /** A topic was made again: nothing that is known of it holds. */
  readonly recreated: (topic: string) => void
  /** How many partitions a topic had when its group began; 0 if that is not known. */
  readonly partitionsOf: (topic: string) => number
}

/** The partitions that one consumer of the client has: where each begins, whose it is, and what becomes of it when its log changes. */
export class GroupPartitions {
  readonly #options: GroupPartitionsOptions
  readonly #context: KafkaContext
  readonly #topics: GroupTopics
  readonly #partitions = new Map<string, Partition>()
  readonly #ofPartition = new Map<Partition, KafkaSubscription>()
  /** Those whose records are compared with their logs again soon. */
  readonly #comparing = new Map<Partition, Timer>()
  readonly #assignment: GroupAssignment
  readonly #moves: GroupMoves | undefined
  readonly #formerOwners: FormerOwners | undefined

  constructor(options: GroupPartitionsOptions) {
    const { context, groupId, topics, warnings, free } = options
    this.#options = options
    this.#context = context
    this.#topics = topics
    this.#assignment = new GroupAssignment({
      context,
      hasGroup: groupId !== undefined,
      topics,
      warnings,
      find: (places) => this.#find(places),
      subscriptionOf: (partition) => this.#ofPartition.get(partition),
      isBeside: (place) => this.#isBeside(place),
      assignment: () => options.consumer()?.assignment ?? [],
      free,
    })
    if (groupId !== undefined && context.options.transactions !== false)
      this.#formerOwners = new FormerOwners({
        context,
        groupId,
        owner: options.owner,
        isWaiting: (place) =>
          this.#find([place]).length === 0 &&
          options.consumer()?.assignment.some((each) => isSame(each, place)) === true,
      })
    if (groupId !== undefined)
      this.#moves = new GroupMoves({
        context,
        groupId,
        checked: (partitions) => this.#checked(partitions),
        moved: (partition, move) => this.#moved(partition, move),
      })
  }

  close(): void {
    this.#moves?.close()
    this.#formerOwners?.close()
    for (const timer of this.#comparing.values()) timer.cancel()
    this.#comparing.clear()
  }

  /** What happens to the partitions of a consumer, from now on. */
  follow(consumer: Consumer): void {
    consumer.on('assigned', (places) => {
      this.#assignment.assigned(places)
      this.#formerOwners?.given(places)
    })
    consumer.on('revoking', (places, { deadlineMs }) => this.#assignment.revoking(places, deadlineMs))
    consumer.on('lost', (places, reason) => {
      this.#assignment.lost(places, LOSSES[reason])
      if (reason === 'recreated') this.#recreated(places)
    })
    consumer.on('passed', (place, { to }) => this.#passed(place, to))
    consumer.on('reset', (place, { from, to }) => this.#reset(place, from, to))
    consumer.on('truncated', (place, { to }) => this.#truncated(place, to))
  }

  loseAll(reason: string): void {
    const held = [...this.#partitions.values()].filter(({ mine }) => mine)
    this.#assignment.lost(held.map(placeOf), reason)
  }

  subscriptionOf(partition: Partition): KafkaSubscription | undefined {
    return this.#ofPartition.get(partition)
  }

  /** Its fetches rest because there is no room for more. */
  isResting({ topic, partition }: TopicPartition): boolean {
    const found = this.#partitions.get(partitionKey(topic, partition))
    return found?.mine === true && found.isPaused
  }

  arrived({ topic, partition: index, records, nextOffset, leaderEpoch }: ConsumerBatch): void {
    const partition = this.#partitions.get(partitionKey(topic, index))
    if (partition === undefined || !partition.mine) return
    partition.arrived(records, nextOffset, leaderEpoch)
    if (!partition.isTrusted) this.#compare(partition)
    this.#ofPartition.get(partition)?.arrived(partition)
  }

  /** What the owner before has left may be of another log. A new leader learns late where its log ends: it is asked for a while. */
  #compare(partition: Partition): void {
    if (this.#comparing.has(partition)) return
    const { span } = partition
    const { clock } = this.#context.host
    const began = clock.monotonic()
    const compare = (): void => {
      this.#comparing.delete(partition)
      if (partition.span !== span || partition.isTrusted) return
      const end = endOf(this.#options.consumer(), partition)
      const excess = end < 0 ? 1 : partition.compare(end)
      if (excess > 0) {
        if (excess <= MAX_LATE && clock.monotonic() - began < LATE_MS) {
          this.#comparing.set(partition, clock.setTimer(COMPARE_MS, compare))
          return
        }
        partition.distrust()
        this.#options.warnings.foreign(partition)
      }
      this.#ofPartition.get(partition)?.arrived(partition)
    }
    compare()
  }

  // --- where it begins ---------------------------------------------------------------------------------------------

  /** The client is about to read a partition: from where what its last owner has left begins. */
  startAt(
    { topic, partition: index, topicId }: StartingPartition,
    committed: CommittedPosition | undefined,
  ): StartPosition {
    const subscription = this.#topics.subscriptionOf(topic)
    if (subscription === undefined) return { offset: committed?.offset ?? 0 }
    if (committed === undefined) {
      const { lastFloor } = this.#partitionOf(topic, index)
      // A broadcast goes on where it was: nobody else knows.
      const isBack = this.#options.groupId === undefined && lastFloor >= 0
      const { retries } = this.#options
      const start = retries?.besideOf(topic, index)?.start ?? this.#options.beginning(topic, index)
      const beginning = isBack ? lastFloor : start
      this.#load(subscription, topic, index, topicId, this.#newRecord(beginning))
      return { offset: beginning }
    }
    const { offset, leaderEpoch, metadata } = committed
    const record = decodeRecord(metadata, offset)
    const hash = topicHashOf(topicId)
    if (record !== undefined && record.topic !== 0 && hash !== 0 && record.topic !== hash) {
      // It says nothing about a topic that was made again, and neither does its offset.
      this.#options.warnings.recreated([{ topic, partition: index }])
      this.#load(subscription, topic, index, topicId, this.#newRecord(0))
      return { offset: 0 }
    }
    if (record !== undefined) this.#load(subscription, topic, index, topicId, record)
    else {
      this.#load(subscription, topic, index, topicId, this.#newRecord(offset))
      if (metadata !== '') this.#options.warnings.foreign(this.#partitionOf(topic, index))
    }
    return { offset, leaderEpoch }
  }

  /** Moves that were asked for before are not carried out: whether they were is not known any more. */
  #newRecord(offset: number): CommitRecord {
    return { ...emptyRecord(offset), moved: this.#context.host.clock.now() }
  }

  #load(
    subscription: KafkaSubscription,
    topic: string,
    index: number,
    topicId: string | undefined,
    record: CommitRecord,
  ): void {
    const partition = this.#partitionOf(topic, index)
    const how = record.free ? 'clean' : record.owner === this.#options.owner ? 'ours' : 'taken'
    if (how === 'taken') void this.#formerOwners?.end(record.owner)
    const partitions = record.partitions === 0 ? this.#options.partitionsOf(topic) : record.partitions
    partition.load({ ...record, topic: topicHashOf(topicId), partitions }, how)
    this.#ofPartition.set(partition, subscription)
    const { retries, warnings } = this.#options
    const isBeside = partition.source !== undefined
    if (subscription.spec.order === 'strict' && index > 0 && !isBeside) warnings.notStrict(partition)
    subscription.assigned(partition)
    if (isBeside) retries?.reading(partition)
    else retries?.loaded(partition)
    // A group is moved in its topics; what waits beside them goes with that.
    if (this.#moves === undefined || isBeside) this.#checked([partition])
    else this.#moves.check(partition)
    this.#options.changed(partition, true)
  }

  /** Nothing that the group was moved to is outstanding. */
  #checked(partitions: readonly Partition[]): void {
    for (const partition of partitions) {
      partition.isChecked = true
      this.#ofPartition.get(partition)?.stored(partition)
    }
  }

  #moved(partition: Partition, { offset, id }: Move): void {
    this.moveTo(partition, offset, id)
    void this.#options.retries?.moved(partition)
  }

  /** It continues at that offset, whatever is known of it. `moved`: the last move that was carried out. */
  moveTo(partition: Partition, offset: number, moved: number): void {
    if (!this.#ofPartition.has(partition)) return
    this.#reload(partition, offset, moved, 'the group was moved')
    const { topic, index } = partition
    this.#options.consumer()?.seek({ topic, partition: index, offset })
  }

  // --- what becomes of its log -------------------------------------------------------------------------------------

  /** Retention has passed the group, or the log was made again. */
  #reset(place: TopicPartition, from: number, to: number): void {
    const [partition] = this.#find([place])
    if (partition === undefined) return
    if (to < from) {
      this.#reload(partition, to, partition.moved, 'the log no longer has what was next')
      this.#loss(partition, undefined, from, 'the log ends before what this group has seen')
      return
    }
    const count = partition.skipped(from, to)
    this.#ofPartition.get(partition)?.arrived(partition)
    if (count > 0) this.#loss(partition, count, from, 'retention has removed messages before this group saw them')
  }

  /** There was nothing in the log up to there: the group has it behind itself, too. */
  #passed(place: TopicPartition, to: number): void {
    const [partition] = this.#find([place])
    if (partition === undefined) return
    partition.arrived([], to, -1)
    if (!partition.isTrusted) this.#compare(partition)
    this.#ofPartition.get(partition)?.arrived(partition)
  }

  #truncated(place: TopicPartition, to: number): void {
    const [partition] = this.#find([place])
    if (partition !== undefined)
      this.#reload(partition, to, partition.moved, 'the log was truncated by an unclean election')
  }

  /** Nothing that is known of it holds any more: it begins at an offset. `moved`: the last move that was carried out. */
  #reload(partition: Partition, offset: number, moved: number, reason: string): void {
    const subscription = this.#ofPartition.get(partition)
    const { topicHash, partitions } = partition
    subscription?.lost([partition], reason)
    partition.load({ ...emptyRecord(offset), topic: topicHash, partitions, moved }, 'clean')
    partition.isChecked = true
    subscription?.assigned(partition)
    this.#options.consumer()?.resume([placeOf(partition)])
    this.#options.changed(partition, true)
  }

  /** The client asks where to begin with the new topic. */
  #recreated(lost: readonly TopicPartition[]): void {
    for (const place of lost.filter((each) => this.#isBeside(each)))
      this.#options.retries?.recreated(this.#partitionOf(place.topic, place.partition))
    const places = lost.filter((each) => !this.#isBeside(each))
    this.#options.warnings.recreated(places)
    for (const topic of new Set(places.map((each) => each.topic))) this.#options.recreated(topic)
    // How far a broadcast had read the old one says nothing about it.
    for (const { topic, partition } of places) this.#partitionOf(topic, partition).lastFloor = -1
  }

  #loss({ topic, index }: Partition, count: number | undefined, offset: number, reason: string): void {
    const { events, name } = this.#context.host
    const group = this.#topics.subscriptionOf(topic)?.spec.group
    events.emit('loss', { transport: name, topic, group, count, position: positionOf(index, offset), reason })
  }

  // --- finding it --------------------------------------------------------------------------------------------------

  #partitionOf(topic: string, index: number): Partition {
    const key = partitionKey(topic, index)
    let partition = this.#partitions.get(key)
    if (partition === undefined) {
      partition = new Partition(topic, index, this.#options.retries?.besideOf(topic, index)?.source)
      this.#partitions.set(key, partition)
    }
    return partition
  }

  #isBeside({ topic, partition }: TopicPartition): boolean {
    return this.#options.retries?.besideOf(topic, partition) !== undefined
  }

  #find(places: readonly TopicPartition[]): Partition[] {
    return places
      .map(({ topic, partition }) => this.#partitions.get(partitionKey(topic, partition)))
      .filter((partition) => partition?.mine === true) as Partition[]
  }
}

const LOSSES = {
  'session-expired': 'its group has not heard from this process for the length of a session',
  fenced: 'its group has given this process up',
  failed: 'its consumer has ended',
  recreated: 'its topic was made again',
} as const

function isSame(a: TopicPartition, b: TopicPartition): boolean {
  return a.topic === b.topic && a.partition === b.partition
}

function topicHashOf(topicId: string | undefined): number {
  return topicId === undefined ? 0 : hashOfTopic(topicId)
}

/** -1 while it is not known. */
function endOf(consumer: Consumer | undefined, { topic, index }: Partition): number {
  return consumer?.positions.find((each) => each.topic === topic && each.partition === index)?.end ?? -1
}

export function placeOf({ topic, index }: Partition): TopicPartition {
  return { topic, partition: index }
}

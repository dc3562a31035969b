// Over 250 lines: the life of one consumer of the client, and of the partitions that it has for several subscriptions.
import { randomBytes } from 'node:crypto'
import { sleep } from '../../../core/clock.ts'
import type { Timer } from '../../../core/clock.ts'
import { ConfigurationError } from '../../../core/errors.ts'
import { growingDelay, halfRandom } from '../../../core/util/backoff.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { KafkaError } from '../../../kafka/index.ts'
import type {
  CommittedPosition,
  Consumer,
  StartingPartition,
  StartPosition,
  TopicPartition,
} from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import { positionOf } from '../wire/mapping.ts'
import { decodeRecord, hashOfTopic } from '../partitions/commit-record.ts'
import type { CommitRecord } from '../partitions/commit-record.ts'
import { Commits } from '../partitions/commits.ts'
import { Partition } from '../partitions/partition.ts'
import type { AckWithMessages } from '../partitions/settlement.ts'
import { AckTransactions } from './ack-transactions.ts'
import type { AckResult } from './ack-transactions.ts'
import { GroupMoves } from './group-moves.ts'
import type { Move } from './group-moves.ts'
import { GroupWarnings } from './group-warnings.ts'
import type { KafkaSubscription, Reader } from './subscription.ts'
import { topicExpression } from './topic-expression.ts'

/** Pause before a partition that could not be read is tried again. */
const RESUME_MS = 1_000
/** Pauses before a consumer that has ended is replaced. */
const AGAIN = { minMs: 500, maxMs: 30_000 }
const OWNER_BYTES = 6
/** How often it is looked whether the group has given partitions, or taken them back. */
const LOOK_MS = 20
/** How long the first partitions are waited for; and how long by a member that has none. */
const READING_MS = 5_000
/** How long what the client has not delivered is taken for current. */
const BEHIND_MS = 100
const STANDBY_MS = 500

export interface GroupReaderOptions {
  readonly context: KafkaContext
  /** At the broker; undefined for a broadcast, which reads alone and commits nothing. */
  readonly groupId: string | undefined
  /** Where a partition begins whose group has committed nothing there. */
  readonly beginning: (topic: string, partition: number) => number
  /** A topic was made again: nothing that is known of it holds. */
  readonly recreated: (topic: string) => void
  /** How many partitions a topic had when its group began; 0 if that is not known. */
  readonly partitionsOf: (topic: string) => number
  /** Nothing is read for anybody any more. */
  readonly ended: (reader: GroupReader) => void
}

/** One member of a group of the broker, for all subscriptions of that group in this process: one consumer reads all their topics. */
export class GroupReader implements Reader {
  readonly #options: GroupReaderOptions
  readonly #context: KafkaContext
  /** Name of this owner in commit records. */
  readonly #owner = randomBytes(OWNER_BYTES).toString('base64url')
  readonly #subscriptions = new Set<KafkaSubscription>()
  /** Those that have closed, while the group has not taken their partitions back. */
  readonly #leaving = new Map<KafkaSubscription, PromiseWithResolvers<void>>()
  readonly #partitions = new Map<string, Partition>()
  readonly #ofPartition = new Map<Partition, KafkaSubscription>()
  readonly #byTopic = new Map<string, KafkaSubscription>()
  readonly #commits: Commits
  readonly #warnings: GroupWarnings
  readonly #moves: GroupMoves | undefined
  readonly #transactions: AckTransactions
  readonly #closing = new AbortController()
  readonly #ended = Promise.withResolvers<void>()
  #consumer: Consumer | undefined
  /** By partition, and when it was looked up: all subscriptions are asked in one round, and the client lists all partitions at once. */
  #behind: ReadonlyMap<string, number> | undefined
  #behindAt = 0
  #resuming: Timer | undefined
  #failures = 0
  #trouble: string | undefined
  /** Why it does not come back: another process would have to go for it, and would come back in turn. */
  #stopped: ConfigurationError | undefined

  constructor(options: GroupReaderOptions) {
    const { context, groupId } = options
    this.#options = options
    this.#context = context
    this.#warnings = new GroupWarnings(context.reports, context.host.clock, groupId ?? '')
    this.#commits = new Commits({
      clock: context.host.clock,
      intervalMs: context.options.commitIntervalMs,
      owner: this.#owner,
      commit: (offsets) => this.#consumer?.commitOffsets(offsets) ?? Promise.resolve(offsets.map(() => NOT_READING)),
      stored: (partition) => this.#ofPartition.get(partition)?.stored(partition),
      refused: (partition, error) => context.reports.error(error, `committing for ${partition.name}`),
      tooLarge: (partition, maxCharacters) => this.#warnings.recordsTooLarge(partition, maxCharacters),
      cut: (partition) => this.#warnings.recordCut(partition),
    })
    this.#transactions = new AckTransactions({
      context,
      commits: this.#commits,
      hasGroup: groupId !== undefined,
      consumer: () => this.#consumer,
      inDoubt: (error) => void this.#doubt(error),
    })
    if (groupId !== undefined)
      this.#moves = new GroupMoves({
        context,
        groupId,
        checked: (partitions) => this.#checked(partitions),
        moved: (partition, move) => this.#moved(partition, move),
      })
  }

  get trouble(): string | undefined {
    return this.#trouble
  }

  /** Resolves when it has left the group. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  /**
   * Reads for these, too. Resolves when it does, which is not before the partitions of a former one were given back: with false
   * when it reads for nobody any more, because its last subscription has left. Another reader may begin when it has `ended`.
   */
  async join(subscriptions: readonly KafkaSubscription[]): Promise<boolean> {
    const former = [...this.#leaving].filter(([old]) => subscriptions.some((each) => overlaps(old, each)))
    await Promise.all(former.map(([, left]) => left.promise))
    if (this.#closing.signal.aborted) return false
    if (this.#stopped !== undefined) throw this.#stopped
    for (const subscription of subscriptions) {
      if (subscription.isClosed) continue
      subscription.reader = this
      this.#subscriptions.add(subscription)
      if (!subscription.isPattern) this.#byTopic.set(subscription.spec.topic, subscription)
    }
    this.#subscribe()
    return true
  }

  /**
   * Resolves when these have what the group gives them, and may hand it out; or after some time, for the group may wait for other members
   * much longer, and have nothing for this one.
   */
  async whenReading(subscriptions: readonly KafkaSubscription[]): Promise<void> {
    const { clock } = this.#context.host
    const end = clock.monotonic() + READING_MS
    let memberSince = Infinity
    const isReading = (subscription: KafkaSubscription): boolean => {
      const partitions = [...subscription.partitions]
      if (partitions.length > 0) return partitions.every(({ isReady }) => isReady)
      return subscription.isClosed || clock.monotonic() - memberSince >= STANDBY_MS
    }
    while (clock.monotonic() < end && !this.#closing.signal.aborted) {
      if (this.#stopped !== undefined) throw this.#stopped
      if (memberSince === Infinity && this.#isMember) memberSince = clock.monotonic()
      if (memberSince !== Infinity && subscriptions.every(isReading)) {
        if (this.#options.groupId !== undefined) for (const each of subscriptions) this.#warnings.partitionsOf(each)
        return
      }
      await sleep(clock, LOOK_MS, this.#closing.signal).catch(() => {})
    }
  }

  async leave(subscription: KafkaSubscription): Promise<void> {
    if (!this.#subscriptions.delete(subscription)) return
    const partitions = [...subscription.partitions]
    for (const partition of partitions) partition.leaving = true
    if (this.#subscriptions.size === 0) return this.#close()
    if (this.#options.groupId !== undefined) {
      const left = Promise.withResolvers<void>()
      this.#leaving.set(subscription, left)
      await settledWithin(
        this.#context.host.clock,
        this.#context.options.revokeTimeoutMs,
        this.#commits.free(partitions),
      )
    }
    // The last one gives everything back, and when a bus closes all go at once.
    if (this.#subscriptions.size === 0) return
    this.#consumer?.pause(partitions.map(placeOf))
    this.#forgetTopics(subscription)
    this.#subscribe()
    void this.#untilLeft(subscription)
  }

  changed(partition: Partition, now: boolean): void {
    if (this.#options.groupId === undefined) {
      partition.keep()
      this.#ofPartition.get(partition)?.stored(partition)
    } else if (now) this.#commits.now(partition)
    else this.#commits.changed(partition)
  }

  ack(acks: readonly AckWithMessages[]): Promise<readonly AckResult[]> {
    return this.#transactions.ack(acks)
  }

  rest({ topic, index }: Partition, rests: boolean): void {
    const place = [{ topic, partition: index }]
    if (rests) this.#consumer?.pause(place)
    else this.#consumer?.resume(place)
  }

  behind(partitions: Iterable<Partition>): number | undefined {
    if (this.#consumer === undefined) return undefined
    const now = this.#context.host.clock.monotonic()
    if (this.#behind === undefined || now - this.#behindAt >= BEHIND_MS) {
      this.#behind = behindOf(this.#consumer)
      this.#behindAt = now
    }
    let count = 0
    for (const { topic, index } of partitions) count += this.#behind.get(keyOf(topic, index)) ?? 0
    return count
  }

  /** Ends at once what the client does: the transport is closed by force. */
  abort(): void {
    this.#closing.abort()
    this.#ended.resolve()
  }

  get #isMember(): boolean {
    if (this.#options.groupId === undefined) return (this.#consumer?.assignment.length ?? 0) > 0
    try {
      return this.#consumer?.groupMetadata() !== undefined
    } catch (error) {
      if (error instanceof KafkaError) return false
      throw error
    }
  }

  // --- the consumer ------------------------------------------------------------------------------------------------

  #subscribe(): void {
    if (this.#closing.signal.aborted || this.#stopped !== undefined || this.#subscriptions.size === 0) return
    const topics = [...this.#subscriptions].map(({ spec }) => topicExpression(spec.topic))
    if (this.#consumer === undefined) this.#start(topics)
    else this.#consumer.subscribe(topics)
  }

  #start(topics: readonly (string | RegExp)[]): void {
    const { client, options } = this.#context
    const { groupId } = this.#options
    const startAt = (place: StartingPartition, committed: CommittedPosition | undefined): StartPosition =>
      this.#begin(place, committed)
    const consumer =
      groupId === undefined
        ? client.consumer({ ...options.reader, topics, startAt })
        : client.consumer({ ...options.consumer, topics, group: groupId, startAt })
    this.#consumer = consumer
    consumer.on('assigned', (partitions) => this.#assigned(partitions))
    consumer.on('revoking', (partitions, { deadlineMs }) => this.#revoking(partitions, deadlineMs))
    consumer.on('lost', (partitions, reason) => {
      this.#lost(partitions, LOSSES[reason])
      if (reason === 'recreated') this.#recreated(partitions)
    })
    consumer.on('passed', (place, { to }) => this.#passed(place, to))
    consumer.on('reset', (place, { from, to }) => this.#reset(place, from, to))
    consumer.on('truncated', (place, { to }) => this.#truncated(place, to))
    void this.#read(consumer)
  }

  async #read(consumer: Consumer): Promise<void> {
    let last: unknown
    for (;;) {
      try {
        const { value: batch } = await consumer.next()
        if (batch === undefined) return
        last = undefined
        this.#failures = 0
        this.#trouble = undefined
        // Reading has gone elsewhere since it was delivered.
        if (batch.isLost) continue
        const { topic, partition: index, records, nextOffset, leaderEpoch } = batch
        // It counts by itself.
        batch.done()
        const partition = this.#partitions.get(keyOf(topic, index))
        if (partition === undefined || !partition.mine) continue
        const end = partition.mustCompare ? this.#endOf(consumer, topic, index) : -1
        partition.arrived(records, nextOffset, leaderEpoch, end)
        if (partition.isForeign) this.#warnings.foreign(partition)
        partition.isForeign = false
        this.#ofPartition.get(partition)?.arrived(partition)
      } catch (error) {
        if (this.#closing.signal.aborted || this.#consumer !== consumer) return
        if (error instanceof KafkaError && error.code === 'FENCED_INSTANCE_ID') return void this.#stop(consumer, error)
        // One that has ended says so again and again.
        if (error === last) return void this.#replace(consumer, error)
        last = error
        this.#failed(error)
      }
    }
  }

  /** A partition can't be read, or something could not be committed: the others go on. */
  #failed(error: unknown): void {
    this.#context.reports.error(error, `reading for group "${this.#options.groupId ?? 'of a broadcast'}"`)
    this.#resuming ??= this.#context.host.clock.setTimer(RESUME_MS, () => {
      this.#resuming = undefined
      const resting = new Set<string>()
      for (const { topic, index, mine, isPaused } of this.#partitions.values())
        if (mine && isPaused) resting.add(keyOf(topic, index))
      const consumer = this.#consumer
      consumer?.resume(consumer.assignment.filter(({ topic, partition }) => !resting.has(keyOf(topic, partition))))
    })
  }

  /** Another one takes its place, after a pause: what kept it from being a member may have passed. */
  async #replace(consumer: Consumer, error: unknown): Promise<void> {
    const { clock } = this.#context.host
    this.#trouble = `its group can't be read: ${error instanceof Error ? error.message : String(error)}`
    await this.#dismiss(consumer)
    const pauseMs = halfRandom(growingDelay(AGAIN, this.#failures++))
    await sleep(clock, pauseMs, this.#closing.signal).catch(() => {})
    this.#subscribe()
  }

  /** Another process has joined as this one. Coming back would throw that one out, which would come back in turn. */
  async #stop(consumer: Consumer, error: KafkaError): Promise<void> {
    const { options, reports } = this.#context
    const problem = `another process has joined group "${this.#options.groupId ?? ''}" with the same instanceId, "${options.consumer.instanceId ?? ''}"`
    this.#stopped = new ConfigurationError(
      'kafka()',
      [{ path: 'instanceId', message: `must be different in each process: ${problem}, so this one no longer reads` }],
      { cause: error },
    )
    this.#trouble = this.#stopped.message
    reports.error(this.#stopped, `reading for group "${this.#options.groupId ?? ''}"`)
    await this.#dismiss(consumer)
  }

  async #dismiss(consumer: Consumer): Promise<void> {
    this.#lost([...this.#partitions.values()].filter(({ mine }) => mine).map(placeOf), 'its consumer has ended')
    await consumer.close({ deadlineMs: 0 }).catch(() => {})
    if (this.#consumer === consumer) this.#consumer = undefined
  }

  /** Only the group knows what was committed: this member comes back, and reads that. */
  async #doubt(error: unknown): Promise<void> {
    this.#context.reports.error(error, `committing a transaction of group "${this.#options.groupId ?? ''}"`)
    if (this.#consumer !== undefined) await this.#replace(this.#consumer, error)
  }

  async #close(): Promise<void> {
    this.#closing.abort()
    this.#resuming?.cancel()
    this.#moves?.close()
    const { revokeTimeoutMs } = this.#context.options
    // What it still has is handed over by `revoking`.
    await this.#consumer?.close({ deadlineMs: revokeTimeoutMs }).catch((error: unknown) => {
      this.#context.reports.error(error, 'leaving a group')
    })
    await this.#transactions.close(revokeTimeoutMs)
    this.#commits.close()
    for (const left of this.#leaving.values()) left.resolve()
    this.#options.ended(this)
    this.#ended.resolve()
  }

  #endOf(consumer: Consumer, topic: string, index: number): number {
    return consumer.positions.find((each) => each.topic === topic && each.partition === index)?.end ?? -1
  }

  // --- partitions --------------------------------------------------------------------------------------------------

  /** The client is about to read a partition: from where what its last owner has left begins. */
  #begin(
    { topic, partition: index, topicId }: StartingPartition,
    committed: CommittedPosition | undefined,
  ): StartPosition {
    const subscription = this.#subscriptionOf(topic)
    if (subscription === undefined) return { offset: committed?.offset ?? 0 }
    if (committed === undefined) {
      const { lastFloor } = this.#partitionOf(topic, index)
      // A broadcast goes on where it was: nobody else knows.
      const isBack = this.#options.groupId === undefined && lastFloor >= 0
      const beginning = isBack ? lastFloor : this.#options.beginning(topic, index)
      this.#load(subscription, topic, index, topicId, this.#newRecord(beginning))
      return { offset: beginning }
    }
    const { offset, leaderEpoch, metadata } = committed
    const record = decodeRecord(metadata, offset)
    const hash = topicHashOf(topicId)
    if (record !== undefined && record.topic !== 0 && hash !== 0 && record.topic !== hash) {
      // It says nothing about a topic that was made again, and neither does its offset.
      this.#warnings.recreated([{ topic, partition: index }])
      this.#load(subscription, topic, index, topicId, this.#newRecord(0))
      return { offset: 0 }
    }
    if (record !== undefined) this.#load(subscription, topic, index, topicId, record)
    else {
      this.#load(subscription, topic, index, topicId, this.#newRecord(offset))
      if (metadata !== '') this.#warnings.foreign(this.#partitionOf(topic, index))
    }
    return { offset, leaderEpoch }
  }

  /** Moves that were asked for before are not carried out: whether they were is not known any more. */
  #newRecord(offset: number): CommitRecord {
    return { ...newRecord(offset), moved: this.#context.host.clock.now() }
  }

  #load(
    subscription: KafkaSubscription,
    topic: string,
    index: number,
    topicId: string | undefined,
    record: CommitRecord,
  ): void {
    const partition = this.#partitionOf(topic, index)
    const how = record.free ? 'clean' : record.owner === this.#owner ? 'ours' : 'taken'
    const partitions = record.partitions === 0 ? this.#options.partitionsOf(topic) : record.partitions
    partition.load({ ...record, topic: topicHashOf(topicId), partitions }, how)
    this.#ofPartition.set(partition, subscription)
    if (subscription.spec.order === 'strict' && index > 0) this.#warnings.notStrict(partition)
    subscription.assigned(partition)
    if (this.#moves === undefined) this.#checked([partition])
    else this.#moves.check(partition)
    this.changed(partition, true)
  }

  /** Nothing that the group was moved to is outstanding. */
  #checked(partitions: readonly Partition[]): void {
    for (const partition of partitions) {
      partition.isChecked = true
      this.#ofPartition.get(partition)?.stored(partition)
    }
  }

  #moved(partition: Partition, { offset, id }: Move): void {
    const subscription = this.#ofPartition.get(partition)
    if (subscription === undefined) return
    const { topic, index, partitions, topicHash } = partition
    subscription.lost([partition], 'the group was moved')
    partition.load({ ...newRecord(offset), topic: topicHash, partitions, moved: id }, 'clean')
    partition.isChecked = true
    subscription.assigned(partition)
    this.#consumer?.seek({ topic, partition: index, offset })
    this.#consumer?.resume([{ topic, partition: index }])
    this.changed(partition, true)
  }

  #assigned(partitions: readonly TopicPartition[]): void {
    this.#trouble = undefined
    if (this.#options.groupId !== undefined) this.#warnings.rebalanced()
    for (const subscription of this.#subscriptions) subscription.isAssigned = true
    this.#countShares([])
    this.#report(partitions, [])
  }

  async #revoking(partitions: readonly TopicPartition[], deadlineMs: number): Promise<void> {
    const revoked = this.#find(partitions)
    // A commit must still be possible: it takes a fraction of the time.
    const limitMs = Math.max(0, deadlineMs - Math.min(1_000, deadlineMs / 5))
    const spans = new Map(revoked.map((partition) => [partition, partition.span]))
    const groups = Map.groupBy(revoked, (partition) => this.#ofPartition.get(partition))
    await Promise.all([...groups].map(async ([subscription, some]) => subscription?.handOver(some, limitMs)))
    // The group does not wait for ever: what it has taken, and perhaps given back, is no longer what this is about.
    const isSame = (partition: Partition): boolean => partition.span === spans.get(partition)
    await this.#commits.free(revoked.filter(isSame))
    for (const [subscription, some] of groups)
      subscription?.lost(some.filter(isSame), 'its partition went to another member')
    this.#countShares(partitions)
    this.#report([], partitions)
  }

  #lost(partitions: readonly TopicPartition[], reason: string): void {
    const lost = this.#find(partitions)
    const groups = Map.groupBy(lost, (partition) => this.#ofPartition.get(partition))
    for (const [subscription, some] of groups) subscription?.lost(some, reason)
    this.#countShares(partitions)
    this.#report([], partitions)
  }

  /** Partitions come one by one: the first to be read must not take the credit of all. */
  #countShares(gone: readonly TopicPartition[]): void {
    const left = new Set(gone.map(({ topic, partition }) => keyOf(topic, partition)))
    for (const subscription of this.#subscriptions) subscription.share = 0
    for (const { topic, partition } of this.#consumer?.assignment ?? []) {
      const subscription = left.has(keyOf(topic, partition)) ? undefined : this.#subscriptionOf(topic)
      if (subscription !== undefined) subscription.share++
    }
  }

  /** Retention has passed the group, or the log was made again. */
  #reset(place: TopicPartition, from: number, to: number): void {
    const [partition] = this.#find([place])
    if (partition === undefined) return
    if (to < from) {
      this.#restart(partition, to, 'the log no longer has what was next')
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
    partition.arrived([], to, -1, -1)
    this.#ofPartition.get(partition)?.arrived(partition)
  }

  #truncated(place: TopicPartition, to: number): void {
    const [partition] = this.#find([place])
    if (partition === undefined) return
    this.#restart(partition, to, 'the log was truncated by an unclean election')
  }

  /** Nothing that is known of it holds any more. */
  #restart(partition: Partition, offset: number, reason: string): void {
    const subscription = this.#ofPartition.get(partition)
    const { topicHash, partitions, moved } = partition
    subscription?.lost([partition], reason)
    partition.load({ ...newRecord(offset), topic: topicHash, partitions, moved }, 'clean')
    partition.isChecked = true
    subscription?.assigned(partition)
    this.#consumer?.resume([placeOf(partition)])
    this.changed(partition, true)
  }

  /** The client asks where to begin with the new topic. */
  #recreated(partitions: readonly TopicPartition[]): void {
    this.#warnings.recreated(partitions)
    for (const topic of new Set(partitions.map((each) => each.topic))) this.#options.recreated(topic)
    // How far a broadcast had read the old one says nothing about it.
    for (const { topic, partition } of partitions) this.#partitionOf(topic, partition).lastFloor = -1
  }

  #loss({ topic, index }: Partition, count: number | undefined, offset: number, reason: string): void {
    const { events, name } = this.#context.host
    const group = this.#subscriptionOf(topic)?.spec.group
    events.emit('loss', { transport: name, topic, group, count, position: positionOf(index, offset), reason })
  }

  #report(assigned: readonly TopicPartition[], revoked: readonly TopicPartition[]): void {
    if (this.#options.groupId === undefined) return
    const { events, name } = this.#context.host
    const [came, went] = [assigned, revoked].map((places) =>
      Map.groupBy(places, ({ topic }) => this.#subscriptionOf(topic)),
    )
    const namesOf = (places: readonly TopicPartition[] = []): readonly string[] =>
      places.map(({ topic, partition }) => `${topic}/${partition}`)
    for (const subscription of new Set([...(came?.keys() ?? []), ...(went?.keys() ?? [])])) {
      if (subscription === undefined) continue
      const { topic, group, consumerId } = subscription.spec
      const changes = { assigned: namesOf(came?.get(subscription)), revoked: namesOf(went?.get(subscription)) }
      events.emit('rebalance', { transport: name, topic, group, consumerId, ...changes })
    }
  }

  /** Until the group has taken everything back of one that has closed: a new one of its topic may join then. */
  async #untilLeft(subscription: KafkaSubscription): Promise<void> {
    const isHeld = (): boolean => this.#consumer?.assignment.some(({ topic }) => subscription.matches(topic)) === true
    while (isHeld() && !this.#closing.signal.aborted)
      await sleep(this.#context.host.clock, LOOK_MS, this.#closing.signal).catch(() => {})
    this.#leaving.get(subscription)?.resolve()
    this.#leaving.delete(subscription)
  }

  #subscriptionOf(topic: string): KafkaSubscription | undefined {
    let subscription = this.#byTopic.get(topic)
    if (subscription !== undefined) return subscription
    subscription = [...this.#subscriptions].find(({ matches }) => matches(topic))
    if (subscription !== undefined) this.#byTopic.set(topic, subscription)
    return subscription
  }

  #forgetTopics(subscription: KafkaSubscription): void {
    for (const [topic, of] of this.#byTopic) if (of === subscription) this.#byTopic.delete(topic)
  }

  #partitionOf(topic: string, index: number): Partition {
    const key = keyOf(topic, index)
    let partition = this.#partitions.get(key)
    if (partition === undefined) this.#partitions.set(key, (partition = new Partition(topic, index)))
    return partition
  }

  /** Those of them that are ours. */
  #find(partitions: readonly TopicPartition[]): Partition[] {
    return partitions
      .map(({ topic, partition }) => this.#partitions.get(keyOf(topic, partition)))
      .filter((partition) => partition?.mine === true) as Partition[]
  }
}

const NOT_READING = new KafkaError('the group is not being read now', {
  code: 'NOT_A_MEMBER',
  action: 'rejoin',
  outcome: 'not-sent',
})

const LOSSES = {
  'session-expired': 'its group has not heard from this process for the length of a session',
  fenced: 'its group has given this process up',
  failed: 'its consumer has ended',
  recreated: 'its topic was made again',
} as const

/** Of a group that has committed nothing there: `offset` -1 if it is not known yet. */
function newRecord(offset: number): CommitRecord {
  return {
    floor: offset,
    topic: 0,
    owner: '',
    free: true,
    to: offset,
    claim: offset,
    moved: 0,
    partitions: 0,
    open: [],
    notes: [],
  }
}

function topicHashOf(topicId: string | undefined): number {
  return topicId === undefined ? 0 : hashOfTopic(topicId)
}

/** What the client has not delivered yet, where that is anything. */
function behindOf(consumer: Consumer): ReadonlyMap<string, number> {
  const behind = new Map<string, number>()
  for (const { topic, partition, delivered, end } of consumer.positions)
    if (delivered >= 0 && end > delivered) behind.set(keyOf(topic, partition), end - delivered)
  return behind
}

function overlaps(a: KafkaSubscription, b: KafkaSubscription): boolean {
  return a.spec.topic === b.spec.topic || a.matches(b.spec.topic) || b.matches(a.spec.topic)
}

function keyOf(topic: string, partition: number): string {
  return `${partition} ${topic}`
}

function placeOf({ topic, index }: Partition): TopicPartition {
  return { topic, partition: index }
}

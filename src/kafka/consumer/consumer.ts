// Over 250 lines: what users call, and the life of each partition that it has, which group, fetches and positions change together.
import { errorFromBroker, InvalidOptionsError, KafkaError } from '../errors.ts'
import type { CloseOptions } from '../close-deadline.ts'
import { Closing } from '../closing.ts'
import type { MetadataChange } from '../cluster/metadata.ts'
import type { TrackedTopics } from '../cluster/metadata-refresher.ts'
import { AttachedPartitions } from './attached-partitions.ts'
import { BatchStream } from './batch-stream.ts'
import { checkPlace, partitionsOf } from './check-partitions.ts'
import { notAssigned } from './consumer-batch.ts'
import type { ConsumerBatch, MemberMetadata, NextOffset } from './consumer-batch.ts'
import type { ConsumerContext } from './consumer-context.ts'
import { ConsumerListeners } from './consumer-events.ts'
import type { ConsumerEventName, ConsumerEvents } from './consumer-events.ts'
import { reportingTo } from './consumer-hooks.ts'
import { consumerSettingsOf, topicsOf } from './consumer-options.ts'
import type { ConsumerOptions, ConsumerSettings } from './consumer-options.ts'
import { Delivery } from './delivery.ts'
import type { FetchPartition } from './fetch/fetch-partition.ts'
import { Fetcher } from './fetch/fetcher.ts'
import { PositionResolver } from './fetch/position-resolver.ts'
import type { ResetPolicy } from './fetch/position.ts'
import type { LossReason } from './group-machine.ts'
import { HandlerRun } from './handler-run.ts'
import type { RunOptions } from './handler-run.ts'
import { Membership } from './membership.ts'
import { OwnedPartition } from './owned-partition.ts'
import { OwnedPartitions } from './owned-partitions.ts'
import { PartitionSet } from './partition-set.ts'
import type { TopicPartition } from './partition-set.ts'
import { Revocation } from './revocation.ts'
import { Subscription } from './subscription.ts'
import { Turns } from './turns.ts'

/** Offsets of one partition; -1 if not known yet. */
export interface PartitionProgress extends TopicPartition {
  /** The next offset to be delivered. */
  readonly delivered: number
  /** The first offset that is not finished. */
  readonly finished: number
  /** The end of the log for this reader, from the last response. The difference is its lag. */
  readonly end: number
}

/** Where the group should continue in one partition, with up to 4,096 bytes of text for the partition's next owner. */
export interface OffsetToCommit extends NextOffset {
  /** Of the leader that has written the record before. @default -1, not known */
  readonly leaderEpoch?: number | undefined
  /** @default '' */
  readonly metadata?: string | undefined
}

/**
 * Reads topics, alone or as a member of a group. It starts with the first `next` or `run`. Each partition delivers its records in order.
 * Offsets are committed up to the first unfinished record: in the background, before a partition moves to another member, and by `close`.
 *
 * ```ts
 * for await (const batch of consumer) {
 *   for (const record of batch) use(record)
 *   batch.done()
 * }
 * ```
 */
export class Consumer implements AsyncIterable<ConsumerBatch> {
  readonly #context: ConsumerContext
  readonly #settings: ConsumerSettings
  readonly #listeners: ConsumerListeners
  readonly #owned = new OwnedPartitions()
  readonly #attached = new AttachedPartitions()
  readonly #fetcher: Fetcher
  readonly #resolver: PositionResolver
  readonly #delivery: Delivery
  readonly #revocation: Revocation
  readonly #turns: Turns
  readonly #membership: Membership
  readonly #batches: BatchStream
  /** How many partitions a topic had when this consumer first saw it: those that come later are read from their start. */
  readonly #firstCounts = new Map<string, number>()
  readonly #refusedTopics = new Set<string>()
  readonly #trackedForAttached: TrackedTopics
  #topics: readonly (string | RegExp)[]
  /** The user says which partitions are read. */
  #isManual = false
  #subscription: Subscription | undefined
  #stopListening: (() => void) | undefined
  readonly #closing: Closing

  /** @internal Throws an {@link InvalidOptionsError} if options can't be used. */
  constructor(context: ConsumerContext, options: ConsumerOptions) {
    this.#context = context
    this.#settings = consumerSettingsOf(options, context.cluster.rack)
    this.#listeners = new ConsumerListeners(reportingTo(context.hooks ?? {}, this.#settings.group?.groupId))
    this.#turns = new Turns(context.clock)
    this.#trackedForAttached = context.cluster.track()
    this.#closing = new Closing(context.clock, 'consumer.close')
    this.#topics = this.#settings.topics
    const { fetch, maxBatchRecords, read } = this.#settings
    this.#fetcher = new Fetcher(context, fetch, {
      ready: (partition) => this.#withOwned(partition, (owned) => this.#delivery.ready(owned)),
      unresolved: (partition) => this.#resolver.resolve(partition),
      diverged: (partition, epoch, endOffset) => this.#diverged(partition, epoch, endOffset),
      failed: (partition, error) => this.#partitionFailed(partition, error),
    })
    this.#resolver = new PositionResolver(
      context,
      {
        policyOf: (partition) => this.#policyOf(partition),
        startAt: ({ topic, partition, topicId }, committed) =>
          this.#settings.startAt({ topic, partition, topicId }, committed),
        isCommitted: fetch.isCommitted,
        committed: (partitions) => this.#membership.committed(partitions),
      },
      {
        resolved: (partition, isReset) => this.#resolved(partition, isReset),
        diverged: (partition, epoch, endOffset) => this.#diverged(partition, epoch, endOffset),
        failed: (partition, error) => this.#partitionFailed(partition, error),
      },
    )
    this.#delivery = new Delivery({
      maxBatchRecords,
      read,
      check: () => this.#membership.check(),
      taken: (owned) => this.#fetcher.taken(owned.fetch),
      moved: (owned) => this.#membership.moved(owned),
      groupMetadata: (offsets) => this.groupMetadata(offsets),
      idle: (owned) => this.#revocation.idle(owned),
      passed: ({ topic, partition }, to) => void this.#emit('passed', { topic, partition }, { to }),
      failed: (owned, offset, error) => {
        owned.fetch.seek(offset, -1)
        owned.fetch.isPaused = true
        this.#batches.report(error)
      },
    })
    this.#revocation = new Revocation({
      clock: context.clock,
      timeoutMs: this.#settings.revokeTimeoutMs,
      autoCommit: this.#settings.autoCommit,
      delivery: this.#delivery,
      announce: (partitions, options) => this.#emit('revoking', partitions, options),
      commit: (partitions) => this.#membership.commit(partitions),
      remove: (owned) => this.#remove(owned),
    })
    this.#batches = new BatchStream(this.#delivery, this.#turns, () => this.#closing.hasBegun)
    this.#membership = this.#newMembership()
  }

  /** Partitions that this consumer is reading now. */
  get assignment(): readonly TopicPartition[] {
    return [...this.#owned].map(({ topic, partition }) => ({ topic, partition }))
  }

  /**
   * This consumer's membership, for a transaction that commits its offsets (KIP-447). Throws while it is not a
   * member, for example between two generations. Also throws if it doesn't hold the partition of one of `offsets`, or
   * hasn't delivered the records before that offset since it got the partition.
   */
  groupMetadata(offsets: readonly NextOffset[] = []): MemberMetadata {
    const metadata = this.#membership.metadata()
    for (const each of offsets) this.#checkDelivered(each)
    return metadata
  }

  /** For a transaction: returns what tells whether this consumer has held the partitions of these offsets ever since. */
  holding(offsets: readonly NextOffset[]): () => boolean {
    const held = offsets.map(({ topic, partition }) => this.#owned.get(topic, partition))
    return () => held.every((owned) => owned !== undefined && this.#owned.get(owned.topic, owned.partition) === owned)
  }

  /** How far each partition has been read. */
  get positions(): readonly PartitionProgress[] {
    return [...this.#owned].map(({ topic, partition, deliveredOffset, prefix, fetch }) => {
      return { topic, partition, delivered: deliveredOffset, finished: prefix.floor, end: fetch.endOffset }
    })
  }

  /** Bytes that are requested or waiting to be delivered. */
  get bufferedBytes(): number {
    return this.#fetcher.bufferedBytes
  }

  /** Adds a listener. Call the result to remove it. */
  on<N extends ConsumerEventName>(name: N, listener: ConsumerEvents[N]): () => void {
    return this.#listeners.add(name, listener)
  }

  /**
   * The next records. If a partition can't be read, it is paused and the call rejects once with the error. If the
   * whole consumer can't continue, every call rejects. Ends when the consumer is closed.
   */
  next(): Promise<IteratorResult<ConsumerBatch, undefined>> {
    return this.#next(() => false)
  }

  /** For `for await`. Leaving the loop does not close the consumer. */
  [Symbol.asyncIterator](): AsyncIterator<ConsumerBatch, undefined> {
    return { next: () => this.next(), return: async () => ({ done: true, value: undefined }) }
  }

  /**
   * Calls a handler for each record until the consumer is closed, up to `concurrency` at a time. Offsets are
   * committed up to the first unfinished record. If a handler throws, `run` waits for the others and rejects with
   * that error; the record is not committed. The next `run` starts with the first unfinished record of each
   * partition, and repeats finished ones behind it.
   */
  async run(options: RunOptions): Promise<void> {
    const run = new HandlerRun(
      {
        next: (isOver) => this.#next(isOver),
        wake: () => this.#delivery.wake(),
        givenToRun: (batch) => this.#delivery.givenToRun(batch),
        finishOne: (batch, index) => this.#delivery.finishOne(batch, index),
        rested: (batch) => this.#delivery.rested(batch),
        check: () => this.#membership.check(),
        turns: this.#turns,
      },
      options,
    )
    try {
      await run.run()
    } finally {
      this.#rewind()
    }
  }

  /**
   * Stops delivering records of these partitions, or of all, until they are resumed. Records that were already
   * fetched are kept.
   */
  pause(partitions: Iterable<TopicPartition> = this.assignment): void {
    for (const owned of this.#owned.find(partitionsOf('pause', partitions))) {
      owned.fetch.isPaused = true
      this.#delivery.takeBack(owned)
    }
  }

  /**
   * Continues with these partitions, or with all, also after an error. Partitions that were not paused are not
   * affected.
   */
  resume(partitions: Iterable<TopicPartition> = this.assignment): void {
    for (const owned of this.#owned.find(partitionsOf('resume', partitions))) {
      const { fetch } = owned
      // What has kept it from being read may have been that its position was not found.
      if (fetch.isPaused && fetch.topicId === undefined) void this.#begin(owned)
      else if (fetch.isPaused && fetch.position.state !== 'fetching') this.#resolver.resolve(fetch)
      fetch.isPaused = false
      this.#delivery.ready(owned)
    }
    this.#fetcher.poke()
  }

  /**
   * Reads a partition from another offset. Batches that were delivered before no longer commit anything. Throws if
   * the partition is not assigned to this consumer.
   */
  seek(place: TopicPartition & { readonly offset: number }): void {
    checkPlace('seek', place)
    const { topic, partition, offset } = place
    const owned = this.#owned.get(topic, partition)
    if (owned === undefined) {
      throw new KafkaError(`${topic}[${partition}] is not assigned to this consumer`, {
        code: 'NOT_ASSIGNED',
        action: 'fatal',
        outcome: 'not-sent',
      })
    }
    this.#moveTo(owned, offset, -1)
  }

  /**
   * Changes the topics. In a group, partitions of other topics are given back in a rebalance. Without a group, they
   * are dropped immediately, and their delivered batches are lost.
   */
  subscribe(topics: readonly (string | RegExp)[]): void {
    this.#topics = topicsOf(topics, this.#settings.group === undefined)
    if (this.#subscription === undefined || this.#closing.hasBegun) return
    this.#subscription.set(this.#topics)
    if (this.#settings.group !== undefined) return
    const wanted = new Set(this.#subscription.topics)
    for (const owned of this.#owned) if (!wanted.has(owned.topic)) this.#remove(owned)
    this.#assignAll()
  }

  /**
   * Reads exactly these partitions, each from its offset, instead of whole topics. Partitions that are already being
   * read continue where they are. Throws an {@link InvalidOptionsError} in a group.
   */
  assign(places: readonly NextOffset[]): void {
    if (this.#settings.group !== undefined) {
      const problem = 'are up to the group: leave out group, or call subscribe'
      throw new InvalidOptionsError('assign', [{ option: 'places', problem }])
    }
    for (const place of partitionsOf('assign', places)) checkPlace('assign', place as NextOffset)
    this.#isManual = true
    this.#topics = [...new Set(places.map(({ topic }) => topic))]
    this.#start()
    if (this.#closing.hasBegun) return
    this.#subscription?.set(this.#topics)
    const wanted = new PartitionSet(places)
    for (const owned of this.#owned) {
      if (!wanted.has(owned.topic, owned.partition)) this.#remove(owned)
    }
    for (const { topic, partition, offset } of places) {
      if (this.#owned.get(topic, partition) === undefined) this.#moveTo(this.#add(topic, partition), offset, -1)
    }
  }

  /**
   * Also reads `others`, for as long as this consumer has `partition`: they are revoked and lost with it, so that no two
   * members read them at once, and committed for the same group. Reading begins where `startAt` says. For topics with a partition
   * beside each of another topic, such as one for retries, which the group must not assign by itself: don't subscribe to them. Those that
   * are attached already are left alone. If the topic of an attached partition is recreated, `lost` reports it, and it
   * can be attached again. Throws if `partition` is not assigned to this consumer.
   */
  attach(partition: TopicPartition, others: readonly TopicPartition[]): void {
    const [place] = partitionsOf('attach', [partition])
    const owned = this.#owned.get(place?.topic ?? '', place?.partition ?? 0)
    if (owned === undefined)
      throw notAssigned(`${partition.topic}[${partition.partition}] is not assigned to this consumer`)
    for (const other of partitionsOf('attach', others)) {
      if (this.#owned.get(other.topic, other.partition) !== undefined) continue
      this.#trackedForAttached.add(other.topic)
      this.#attached.add(owned, this.#add(other.topic, other.partition))
    }
  }

  /**
   * Commits these offsets, whatever this consumer has finished: for code that tracks progress itself, with
   * `autoCommit: false`. Resolves when all are answered, with the error of each by index, or undefined if it was
   * committed. If you commit a partition again before that, only the last offset may be sent. Retries until the
   * broker answers or the partition is lost. Without a group, it does nothing.
   */
  commitOffsets(offsets: readonly OffsetToCommit[]): Promise<readonly (KafkaError | undefined)[]> {
    for (const place of partitionsOf('commitOffsets', offsets)) checkPlace('commitOffsets', place as NextOffset)
    const found = offsets.map(({ topic, partition, offset, leaderEpoch = -1, metadata = '' }) => {
      const owned = this.#owned.get(topic, partition)
      return owned === undefined ? undefined : ([owned, { offset, leaderEpoch, metadata }] as const)
    })
    const held = found.filter((each) => each !== undefined)
    return this.#membership.commitAt(held).then((errors) => {
      const left = errors.values()
      return offsets.map(({ topic, partition }, index) =>
        found[index] === undefined
          ? notAssigned(`${topic}[${partition}] is not assigned to this consumer`)
          : left.next().value,
      )
    })
  }

  /**
   * Commits what is finished in all partitions now. It takes no offsets: `done` finishes a batch, and a handler
   * finishes a record. Rejects if a partition is lost or its commit is refused.
   */
  async commit(...none: readonly never[]): Promise<void> {
    if (none.length > 0) {
      const problem = 'are not taken: commit() commits what is finished; commit others with commitOffsets'
      throw new InvalidOptionsError('commit', [{ option: 'offsets', problem }])
    }
    await Promise.all(this.#membership.commit(this.#owned))
  }

  /**
   * Stops delivering, waits up to `revokeTimeoutMs` for running handlers, commits what is finished, and leaves the
   * group. With `deadlineMs`, it resolves within that time; if it could not leave the group by then, the coordinator
   * notices when the session ends. Safe to call again, also from listeners; a later call can only shorten the
   * deadline. Loops over the consumer end. If you call it inside such a loop, call `done` on the batch first:
   * otherwise it waits for the batch.
   */
  close(options: CloseOptions = {}): Promise<void> {
    return this.#closing.run(options, () => this.#close())
  }

  /** Called at the end of an `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #checkDelivered({ topic, partition, offset }: NextOffset): void {
    const owned = this.#owned.get(topic, partition)
    if (owned === undefined) throw notAssigned(`${topic}[${partition}] is not assigned to this consumer`)
    const { startOffset, deliveredOffset } = owned
    if (offset >= startOffset && offset <= deliveredOffset) return
    const delivered = `this consumer has delivered ${startOffset} to ${deliveredOffset} since it has the partition`
    throw notAssigned(`offset ${offset} of ${topic}[${partition}] can't be committed: ${delivered}`)
  }

  #start(): void {
    if (this.#subscription !== undefined || this.#closing.hasBegun) return
    const { cluster } = this.#context
    this.#stopListening = cluster.onChange((changes) => this.#metadataChanged(changes))
    const subscription = new Subscription(cluster, this.#topics, (topics) => this.#membership.subscribe(topics))
    this.#subscription = subscription
    if (this.#settings.group === undefined) this.#assignAll()
    else this.#membership.join()
    cluster.wantRefresh()
  }

  #newMembership(): Membership {
    return new Membership(this.#context, this.#settings, {
      topics: () => this.#subscription?.topics ?? [],
      owned: () => this.#owned,
      assigned: (partitions) => this.#assigned(partitions),
      revoke: (partitions, released) => {
        const revoked = this.#attached.with(this.#owned.find(partitions))
        void this.#revocation.run(revoked).then(released)
      },
      lost: (partitions, reason) => this.#lost(this.#owned.find(partitions), reason),
      fatal: (error) => this.#end(error),
      commitRefused: (error) => this.#batches.report(error),
      topicIdOf: (topic, partition) => this.#owned.get(topic, partition)?.fetch.topicId,
    })
  }

  /** Without a group: all partitions, also those that come later. */
  #assignAll(): void {
    if (this.#isManual) return
    const added = new PartitionSet()
    for (const topic of this.#subscription?.topics ?? []) {
      const count = this.#countOf(topic)
      for (let partition = 0; partition < count; partition++) {
        if (this.#owned.get(topic, partition) === undefined) added.add(topic, partition)
      }
    }
    if (added.size > 0) this.#assigned(added)
  }

  /** How many partitions it has, as far as is known. */
  #countOf(topic: string): number {
    return this.#context.cluster.metadata.topic(topic)?.partitions.length ?? 0
  }

  #assigned(partitions: PartitionSet): void {
    for (const { topic, partition } of partitions) this.#add(topic, partition)
    void this.#emit('assigned', [...partitions])
  }

  #add(topic: string, partition: number): OwnedPartition {
    const owned = this.#take(topic, partition)
    void this.#begin(owned)
    return owned
  }

  #take(topic: string, partition: number): OwnedPartition {
    const former = this.#owned.get(topic, partition)
    if (former !== undefined) this.#remove(former)
    const owned = new OwnedPartition(this.#fetcher.add(topic, partition))
    this.#owned.add(owned)
    this.#membership.begin(owned)
    return owned
  }

  /** Reading needs the topic's id. */
  async #begin(owned: OwnedPartition): Promise<void> {
    const { cluster } = this.#context
    try {
      const topic = cluster.metadata.topic(owned.topic) ?? (await cluster.topic(owned.topic))
      if (owned.isOver) return
      owned.fetch.topicId = topic.id
      this.#firstCounts.set(owned.topic, this.#firstCounts.get(owned.topic) ?? topic.partitions.length)
      this.#resolver.resolve(owned.fetch)
    } catch (error) {
      if (!owned.isOver) this.#partitionFailed(owned.fetch, error as KafkaError)
    }
  }

  /** What a run was given and has left unfinished is delivered again. */
  #rewind(): void {
    for (const owned of this.#owned) {
      const { prefix, fetch } = owned
      if (fetch.isStopped || prefix.unfinished === 0 || !prefix.isAtRest) continue
      this.#moveTo(owned, prefix.floor, prefix.leaderEpoch)
    }
  }

  #lost(of: readonly OwnedPartition[], reason: LossReason | 'recreated'): void {
    const lost = this.#attached.with(of)
    for (const owned of lost) this.#remove(owned)
    const partitions = lost.map(({ topic, partition }) => ({ topic, partition }))
    if (lost.length > 0) void this.#emit('lost', partitions, reason)
  }

  #remove(owned: OwnedPartition): void {
    if (owned.isOver) return
    owned.isOver = true
    this.#owned.delete(owned)
    for (const attached of this.#attached.of(owned)) this.#remove(attached)
    this.#attached.delete(owned)
    this.#delivery.drop(owned)
    this.#fetcher.remove(owned.fetch)
    this.#membership.end(owned)
    this.#revocation.idle(owned)
  }

  #policyOf({ topic, partition, position }: FetchPartition): ResetPolicy {
    const { onReset } = this.#settings
    const isNew = position.state === 'unset' && partition >= (this.#firstCounts.get(topic) ?? Infinity)
    return isNew && onReset !== 'fail' ? 'earliest' : onReset
  }

  #resolved(fetch: FetchPartition, isReset: boolean): void {
    this.#withOwned(fetch, (owned) => {
      const { offset, lastEpoch } = fetch.position
      const from = owned.deliveredOffset
      // What a run has given back is among what the reset leaves out.
      if (isReset) this.#delivery.drop(owned)
      if (from < 0 || isReset) owned.moveTo(offset, lastEpoch)
      this.#delivery.ready(owned)
      if (from >= 0 && isReset) {
        this.#membership.moved(owned)
        void this.#emit('reset', { topic: owned.topic, partition: owned.partition }, { from, to: offset })
      }
    })
    this.#fetcher.pokeSoon()
  }

  #diverged(fetch: FetchPartition, epoch: number, endOffset: number): void {
    this.#withOwned(fetch, (owned) => {
      const { topic, partition, deliveredOffset: from } = owned
      if (this.#settings.onReset === 'fail') {
        const message = `the log of ${topic}[${partition}] was truncated at ${endOffset}; ${from} was next`
        return this.#partitionFailed(
          fetch,
          new KafkaError(message, { code: 'LOG_TRUNCATED', action: 'fatal', outcome: 'rejected' }),
        )
      }
      this.#delivery.drop(owned)
      fetch.buffer.clear()
      if (endOffset < 0) {
        fetch.position.outOfRange()
        return this.#resolver.resolve(fetch)
      }
      const to = Math.min(endOffset, from)
      // Of an epoch that the log does not have, the same would be answered again and again.
      fetch.position.truncate(to, to === endOffset ? epoch : Math.min(epoch, owned.deliveredEpoch))
      this.#fetcher.poke()
      if (to >= from) return
      owned.moveTo(to, epoch)
      this.#membership.moved(owned)
      void this.#emit('truncated', { topic, partition }, { from, to })
    })
  }

  #moveTo(owned: OwnedPartition, offset: number, lastEpoch: number): void {
    this.#delivery.takeBack(owned)
    this.#delivery.drop(owned)
    owned.fetch.seek(offset, lastEpoch)
    owned.moveTo(offset, lastEpoch)
    this.#fetcher.pokeSoon()
  }

  #metadataChanged(changes: readonly MetadataChange[]): void {
    for (const change of changes) if (change.type === 'recreated') this.#recreated(change.topic)
    this.#checkTopics()
    if (this.#settings.group === undefined) this.#assignAll()
  }

  /** A topic that may not be read would otherwise only never bring anything. One that does not exist may come yet. */
  #checkTopics(): void {
    for (const topic of this.#subscription?.topics ?? []) {
      const errorCode = this.#context.cluster.metadata.topic(topic)?.errorCode ?? 0
      if (errorCode === 0 || this.#refusedTopics.has(topic)) continue
      const error = errorFromBroker(errorCode, `Metadata of ${topic}`)
      if (error.retriable) continue
      this.#refusedTopics.add(topic)
      this.#batches.report(error)
    }
  }

  /** Nothing that was read or finished of the former topic says anything about the new one. */
  #recreated(topic: string): void {
    const former = [...this.#owned].filter((owned) => owned.topic === topic)
    const attached = new Set(former.filter((owned) => this.#attached.has(owned)))
    this.#lost(former, 'recreated')
    // They are assigned again.
    if (this.#membership.isAssignedByIds) return
    // All that the new one has, and gets later, is new.
    this.#firstCounts.set(topic, 0)
    // The group, or the caller of `assign`, takes back those that the new topic does not have.
    const count = this.#settings.group === undefined && !this.#isManual ? this.#countOf(topic) : Infinity
    const again = former
      .filter((owned) => owned.partition < count && !attached.has(owned))
      .map(({ partition }) => this.#take(topic, partition))
    if (again.length > 0)
      void this.#emit(
        'assigned',
        again.map(({ partition }) => ({ topic, partition })),
      )
    for (const owned of again) {
      owned.fetch.isOfNewTopic = true
      void this.#begin(owned)
    }
  }

  /** It is reported, and the partition rests until it is resumed. */
  #partitionFailed(fetch: FetchPartition, error: KafkaError): void {
    fetch.isPaused = true
    this.#batches.report(error)
  }

  #end(error: KafkaError): void {
    this.#batches.fail(error)
    this.#lost([...this.#owned], 'failed')
    // The group must not wait for a member that does nothing any more.
    void this.#membership.close()
  }

  /** Listeners of users; what they throw is reported as the consumer's own errors are. */
  async #emit<N extends ConsumerEventName>(name: N, ...values: Parameters<ConsumerEvents[N]>): Promise<void> {
    try {
      await this.#listeners.emit(name, ...values)
    } catch (error) {
      const message = `a listener for ${name} threw: ${error instanceof Error ? error.message : String(error)}`
      this.#batches.report(
        new KafkaError(message, { code: 'LISTENER_FAILED', action: 'fatal', outcome: 'unknown', cause: error }),
      )
    }
  }

  #withOwned(fetch: FetchPartition, run: (owned: OwnedPartition) => void): void {
    const owned = this.#owned.of(fetch)
    if (owned !== undefined && !owned.isOver) run(owned)
  }

  #next(isOver: () => boolean): Promise<IteratorResult<ConsumerBatch, undefined>> {
    this.#start()
    return this.#batches.next(isOver)
  }

  async #close(): Promise<void> {
    this.#delivery.wake()
    this.#membership.stop()
    const { deadline } = this.#closing
    await this.#revocation.run([...this.#owned], deadline)
    await Promise.race([this.#membership.close(), deadline.passed])
    deadline.end()
    this.#stopListening?.()
    this.#subscription?.end()
    this.#trackedForAttached.release()
    this.#resolver.close()
    this.#fetcher.close()
    this.#context.onClosed?.()
  }
}

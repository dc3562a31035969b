// Over 250 lines: one member's side of the contract; partitions, credit and settlement are in files of their own.
import { StateError } from '../../../core/errors.ts'
import { isPattern } from '../../../core/topic.ts'
import type {
  AttemptNote,
  Delivery,
  DeliverySink,
  PublishOutcome,
  Settlement,
  SettlementFailure,
  SubscriptionSpec,
  SubscriptionState,
  TransportSubscription,
} from '../../../core/transport.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { Handovers } from '../../../core/partitions/handovers.ts'
import type { UnstoredCount } from '../../../core/partitions/held-partition.ts'
import { PartitionSettlement } from '../../../core/partitions/settlement.ts'
import type { AckResult, AckWithMessages } from '../../../core/partitions/settlement.ts'
import type { KafkaRecord } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import { PartitionDelays } from '../delays/partition-delays.ts'
import { MAX_DELAYED } from '../partitions/partition.ts'
import type { Partition, PartitionDelivery } from '../partitions/partition.ts'
import type { GroupRetries } from '../retry/group-retries.ts'
import { positionOf } from '../wire/mapping.ts'
import type { Decoded } from '../wire/mapping.ts'
import { Credit } from './credit.ts'
import { topicMatcher } from './topic-expression.ts'

/** Part of `prefetchBytes` that messages may take which wait for their time. */
const DELAYED_SHARE = 1 / 2

/** What each partition may have waiting, however many there are. */
const LEAST_BYTES = 65_536

/** What reads for a subscription: it may do so for others, too. */
export interface Reader {
  /** Something of the partition must be committed; `now`: at once. */
  changed(partition: Partition, now: boolean): void
  /** Stores messages and acks in one step. By index: undefined for what is stored. */
  ack(acks: readonly AckWithMessages<Partition>[]): Promise<readonly AckResult[]>
  /** Its fetches rest, or go on. */
  rest(partition: Partition, rests: boolean): void
  /** How many messages the broker has for these that have not come. */
  behind(partitions: Iterable<Partition>): number | undefined
  /** Gives the partitions back; resolves when the group knows. */
  leave(subscription: KafkaSubscription): Promise<void>
  /** Where messages go whose delays have no room in a commit; undefined for a broadcast. */
  readonly retries: GroupRetries | undefined
  /** Why nothing comes of these, or can't be finished. */
  trouble(partitions: Iterable<Partition>): string | undefined
}

export interface SubscriptionParts {
  readonly context: KafkaContext
  readonly spec: SubscriptionSpec
  readonly sink: DeliverySink
  readonly publish: (batch: readonly OutgoingMessage[]) => Promise<readonly PublishOutcome[]>
  readonly onClosed: (subscription: KafkaSubscription) => void
}

/** One consumer's reading: the partitions that this member has of its topic, or of the topics of its pattern. */
export class KafkaSubscription implements TransportSubscription {
  readonly spec: SubscriptionSpec
  readonly matches: (topic: string) => boolean
  readonly #context: KafkaContext
  readonly #sink: DeliverySink
  readonly #credit: Credit
  readonly #settlement: PartitionSettlement<Partition>
  readonly #delays: PartitionDelays
  /** Those that are ours now. */
  readonly #held = new Set<Partition>()
  readonly #handovers: Handovers
  readonly #unstored: UnstoredCount = { count: 0 }
  /** Of partitions whose last commit was refused. */
  readonly #unstorable: UnstoredCount = { count: 0 }
  readonly #prefetch: number
  readonly #onClosed: SubscriptionParts['onClosed']
  reader: Reader | undefined
  /** Number of partitions that the group has given to it, whether they can be read yet or not. */
  share = 0
  /** The group has told this member what it has. */
  isAssigned = false
  #closing: Promise<void> | undefined
  #closed = false

  constructor({ context, spec, sink, publish, onClosed }: SubscriptionParts) {
    this.#onClosed = onClosed
    this.spec = spec
    this.matches = topicMatcher(spec.topic)
    this.#context = context
    this.#sink = sink
    this.#prefetch = spec.prefetch
    const { clock } = context.host
    this.#handovers = new Handovers(clock)
    this.#delays = new PartitionDelays(context, spec.prefetchBytes * DELAYED_SHARE, {
      wake: (partition) => this.#credit.ready(partition),
      changed: (partition) => this.reader?.changed(partition, false),
      lost: (partition, offset, count) => this.#delayedLost(partition, offset, count),
    })
    this.#credit = new Credit(spec, {
      now: () => clock.now(),
      receive: (batch) => sink.receive(batch),
      unstored: this.#unstored,
      storeNow: () => this.#storeNow(),
      reserve: (partition) => this.reader?.changed(partition, true),
      changed: (partition) => this.reader?.changed(partition, false),
      full: (partition) => this.#full(partition),
      consumed: (partition) => this.#consumed(partition),
      partitionCount: () => Math.max(this.share, this.#held.size),
      decode: (record, partition) => this.#decode(record, partition),
      delay: (delivery, dueAt, isAsRead) => this.#putAside(delivery, dueAt, isAsRead),
    })
    this.#settlement = new PartitionSettlement({
      isHeld: () => true,
      now: () => clock.now(),
      comesAgain: (delivery, dueAt) => this.#comesAgain(delivery, dueAt),
      publishLetters: (rejects) => publish(rejects.map(({ deadLetter }) => deadLetter)),
      ack: (acks) => (this.reader as Reader).ack(acks),
      hasAtomicLetters: hasAtomicLetters(context, spec),
      changed: (partition, now) => {
        this.reader?.changed(partition, now)
        if (partition.hasWork) this.#credit.ready(partition)
      },
      noted: (partition, isAwaited) => this.reader?.changed(partition, isAwaited),
      settled: () => {
        this.#handovers.settled()
        this.#credit.wake()
      },
      whenStored: (partition) => partition.whenStored(),
    })
  }

  get isPattern(): boolean {
    return isPattern(this.spec.topic)
  }

  get isClosed(): boolean {
    return this.#closing !== undefined
  }

  get partitions(): Iterable<Partition> {
    return this.#held
  }

  // --- what the runtime calls --------------------------------------------------------------------------------------

  request(credit: number, bytes: number): void {
    this.#credit.request(credit, bytes)
  }

  /** Partitions stay ours, with everything that has come of them. */
  pause(): void {
    this.#credit.paused = true
  }

  resume(): void {
    this.#credit.paused = false
    this.#credit.wake()
  }

  async settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    if (this.#closed) {
      const error = new StateError('The subscription is closed')
      return batch.map((_, index) => ({ index, error: error as never }))
    }
    return this.#settlement.settle(batch)
  }

  noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    return this.#settlement.note(notes)
  }

  async readyHere(): Promise<number | undefined> {
    const behind = this.reader?.behind(this.#held)
    if (behind === undefined) return undefined
    let count = behind
    for (const partition of this.#held) count += partition.unread
    return count
  }

  state(): SubscriptionState {
    const standby = !this.spec.ephemeral && this.isAssigned && this.#held.size === 0
    return { standby, trouble: this.reader?.trouble(this.#held) }
  }

  async drain(): Promise<void> {
    this.#credit.ended = true
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    await this.drain()
    this.#closed = true
    for (const partition of this.#held) partition.giveBack(this.#context.host.clock.now())
    this.#handovers.close()
    await this.reader?.leave(this)
    this.#delays.close()
    for (const partition of this.#held) partition.lose()
    this.#held.clear()
    this.#onClosed(this)
  }

  // --- what its reader calls ---------------------------------------------------------------------------------------

  /** It is ours now, and was loaded. */
  assigned(partition: Partition): void {
    partition.countInto(this.#unstored)
    this.#held.add(partition)
  }

  /** Records have come, or what kept them from being handed out is over. */
  arrived(partition: Partition): void {
    if (partition.unread >= this.#most || partition.unreadBytes >= this.#mostBytes) this.#rest(partition, true)
    this.#credit.ready(partition)
  }

  /** A commit was confirmed. */
  stored(partition: Partition): void {
    if (partition.unstoredOfAll !== this.#unstored) partition.countInto(this.#unstored)
    if (partition.hasWork) this.#credit.ready(partition)
    else this.#credit.wake()
  }

  /** A commit was refused, perhaps for good: what is finished there must not keep others from being handed out. */
  refused(partition: Partition): void {
    partition.countInto(this.#unstorable)
    this.#credit.wake()
  }

  /**
   * Hands nothing more of them out, and gives handlers time to finish: resolves when none has anything of these, or when the time is
   * over, with those that were not settled given back.
   */
  async handOver(partitions: readonly Partition[], limitMs: number): Promise<void> {
    const mine = partitions.filter((partition) => partition.mine)
    const queued: Delivery[] = []
    for (const partition of mine) {
      partition.leaving = true
      this.#credit.drop(partition)
      queued.push(...partition.outstanding.toArray())
    }
    // Those that no handler has begun with.
    if (queued.length > 0 && !this.#closed) this.#sink.recall(queued)
    await this.#handovers.wait(limitMs, () => mine.every(({ outstanding }) => outstanding.size === 0))
    const now = this.#context.host.clock.now()
    const begun = mine.filter((partition) => partition.mine).flatMap((partition) => partition.giveBack(now))
    this.#report(begun, 'its partition went to another member')
  }

  /** They are not ours any more. */
  lost(partitions: readonly Partition[], reason: string): void {
    const lost: PartitionDelivery[] = []
    for (const partition of partitions) {
      this.#credit.drop(partition)
      this.#held.delete(partition)
      lost.push(...partition.lose())
    }
    this.#delays.lost()
    this.#report(lost, reason)
    this.#handovers.settled()
  }

  #report(lost: readonly PartitionDelivery[], reason: string): void {
    if (lost.length > 0 && !this.#closed) this.#sink.lost(lost, reason)
  }

  // --- records -----------------------------------------------------------------------------------------------------

  #decode(record: KafkaRecord, { origin }: Partition): Decoded | undefined {
    const decoded = this.#context.mapping.decode(record, origin.topic, origin.index)
    const { group } = decoded
    // A redrive for another group; a line in the log of removals of a dead-letter topic.
    return (group !== undefined && group !== this.spec.group) || decoded.isRemoval ? undefined : decoded
  }

  #comesAgain(delivery: PartitionDelivery, dueAt: number | undefined): void {
    if (dueAt === undefined) delivery.owner.push(delivery)
    else this.#putAside(delivery, dueAt, false)
  }

  #putAside(delivery: PartitionDelivery, dueAt: number, isAsRead: boolean): void {
    const { owner } = delivery
    const retries = this.reader?.retries
    const moves = retries?.wants(delivery, dueAt, isAsRead) === true
    const delayed = owner.putAside(delivery, dueAt, moves || this.#delays.mayKeep(delivery.bytes))
    if (isAsRead) owner.keptAsRead(delayed)
    if (moves) retries?.move(owner, delayed, () => this.#delays.add(owner, delayed))
    else this.#delays.add(owner, delayed)
  }

  #delayedLost({ topic, index }: Partition, offset: number, count: number): void {
    const { events, name } = this.#context.host
    const reason = 'retention has removed delayed messages before their time'
    const position = positionOf(index, offset)
    events.emit('loss', { transport: name, topic, group: this.spec.group, count, position, reason })
  }

  // --- room --------------------------------------------------------------------------------------------------------

  /** Number of records of one partition that may wait here to be looked at. */
  get #most(): number {
    return Math.max(1, this.#prefetch)
  }

  /** All partitions together have no more than what may be handed out. */
  get #mostBytes(): number {
    return Math.max(LEAST_BYTES, this.spec.prefetchBytes / Math.max(1, this.#held.size))
  }

  #consumed(partition: Partition): void {
    this.#delays.consumed(partition)
    if (!partition.isPaused || partition.unread * 2 > this.#most) return
    if (partition.unreadBytes * 2 <= this.#mostBytes) this.#rest(partition, false)
  }

  #rest(partition: Partition, rests: boolean): void {
    if (partition.isPaused === rests) return
    partition.isPaused = rests
    this.reader?.rest(partition, rests)
  }

  #full(partition: Partition): void {
    if (partition.unread === 0 || partition.moving > 0) return
    if (partition.delayed.size >= MAX_DELAYED) {
      this.#context.reports.warnOnce(
        'delayed-full',
        `${partition.name} has ${MAX_DELAYED} messages of group "${this.spec.group}" that wait for their time: what comes behind them waits until some are due`,
      )
      return
    }
    // What has ended since the last record makes room.
    if (partition.stored < partition.changes) {
      this.reader?.changed(partition, true)
      return
    }
    this.#context.reports.warnOnce(
      'record-budget',
      `${partition.name} has so many unfinished messages of group "${this.spec.group}" that no more fit into its commit: later ones wait until some are finished`,
    )
  }

  #storeNow(): void {
    for (const partition of this.#held) if (partition.unstored > 0) this.reader?.changed(partition, true)
  }
}

/** A broadcast commits nothing that a letter could be stored with. */
function hasAtomicLetters({ options }: KafkaContext, { ephemeral, guarantee }: SubscriptionSpec): boolean {
  if (ephemeral || options.transactions === false) return false
  return options.transactions === true || guarantee === 'exactly-once'
}

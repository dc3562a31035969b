import { randomBytes } from 'node:crypto'
import { sleep } from '../../../core/clock.ts'
import type { AckResult, AckWithMessages } from '../../../core/partitions/settlement.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { KafkaError } from '../../../kafka/index.ts'
import type { Consumer } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import { Commits } from '../partitions/commits.ts'
import type { Partition } from '../partitions/partition.ts'
import { GroupRetries } from '../retry/group-retries.ts'
import { AckTransactions } from './ack-transactions.ts'
import { transactionalIdOf } from './former-owners.ts'
import { partitionKey } from './group-assignment.ts'
import { GroupConsumer } from './group-consumer.ts'
import { GroupPartitions, placeOf } from './group-partitions.ts'
import type { GroupPartitionsOptions } from './group-partitions.ts'
import { GroupTopics, overlaps } from './group-topics.ts'
import { GroupWarnings } from './group-warnings.ts'
import type { KafkaSubscription, Reader } from './subscription.ts'
import { topicExpression } from './topic-expression.ts'

const OWNER_BYTES = 6
/** How often it is looked whether the group has given partitions, or taken them back. */
const LOOK_MS = 20
/** How long the first partitions are waited for; and how long by a member that has none. */
const READING_MS = 5_000
const STANDBY_MS = 500
/** How long what the client has not delivered is taken for current. */
const BEHIND_MS = 100

export interface GroupReaderOptions extends Pick<
  GroupPartitionsOptions,
  'context' | 'groupId' | 'beginning' | 'recreated' | 'partitionsOf'
> {
  /** Nothing is read for anybody any more. */
  readonly ended: (reader: GroupReader) => void
}

/** One member of a group of the broker, for all subscriptions of that group in this process: one consumer reads all their topics. */
export class GroupReader implements Reader {
  readonly #options: GroupReaderOptions
  readonly #context: KafkaContext
  readonly #topics = new GroupTopics()
  /** Those that have closed, while the group has not taken their partitions back. */
  readonly #leaving = new Map<KafkaSubscription, PromiseWithResolvers<void>>()
  readonly #warnings: GroupWarnings
  readonly #commits: Commits
  readonly #partitions: GroupPartitions
  readonly #consumer: GroupConsumer
  readonly #transactions: AckTransactions
  readonly retries: GroupRetries | undefined
  readonly #closing = new AbortController()
  readonly #ended = Promise.withResolvers<void>()
  /** By partition, and when it was looked up: all subscriptions are asked in one round, and the client lists all partitions at once. */
  #behind: ReadonlyMap<string, number> | undefined
  #behindAt = 0

  constructor(options: GroupReaderOptions) {
    const { context, groupId } = options
    const owner = randomBytes(OWNER_BYTES).toString('base64url')
    this.#options = options
    this.#context = context
    this.#warnings = new GroupWarnings(context.reports, context.host.clock, groupId ?? '')
    this.#commits = new Commits({
      clock: context.host.clock,
      intervalMs: context.options.commitIntervalMs,
      owner,
      commit: (offsets) =>
        this.#consumer.current?.commitOffsets(offsets) ?? Promise.resolve(offsets.map(() => NOT_READING)),
      stored: (partition) => this.#partitions.subscriptionOf(partition)?.stored(partition),
      refused: (partition, error) => {
        context.reports.error(error, `committing for ${partition.name}`)
        this.#partitions.subscriptionOf(partition)?.refused(partition)
      },
      tooLarge: (partition, maxCharacters) => this.#warnings.recordsTooLarge(partition, maxCharacters),
      cut: (partition) => this.#warnings.recordCut(partition),
    })
    if (groupId !== undefined && context.options.retryTopics !== false)
      this.retries = new GroupRetries({
        context,
        groupId,
        consumer: () => this.#consumer.current,
        store: (moves) => this.#transactions.move(moves),
        changed: (partition) => this.changed(partition, false),
        wake: (partition) => this.#partitions.subscriptionOf(partition)?.stored(partition),
        attached: (name, source) => this.#topics.addBeside(name, source.topic),
        moveTo: (partition, offset) => this.#partitions.moveTo(partition, offset, partition.moved),
      })
    this.#partitions = new GroupPartitions({
      ...options,
      owner,
      topics: this.#topics,
      warnings: this.#warnings,
      retries: this.retries,
      consumer: () => this.#consumer.current,
      changed: (partition, now) => this.changed(partition, now),
      free: (partitions) => this.#commits.free(partitions),
    })
    this.#consumer = new GroupConsumer({
      context,
      groupId,
      partitions: this.#partitions,
      topics: () => [...this.#topics.all].map(({ spec }) => topicExpression(spec.topic)),
      closing: this.#closing.signal,
    })
    this.#transactions = new AckTransactions({
      context,
      commits: this.#commits,
      transactionalId: groupId === undefined ? true : transactionalIdOf(groupId, owner),
      hasGroup: groupId !== undefined,
      consumer: () => this.#consumer.current,
      inDoubt: (error) => void this.#consumer.doubt(error),
    })
  }

  trouble(partitions: Iterable<Partition>): string | undefined {
    const { trouble } = this.#consumer
    if (trouble !== undefined) return trouble
    for (const partition of partitions) {
      const refusal = this.#commits.refusalOf(partition)
      if (refusal !== undefined)
        return `what is finished of ${partition.name} can't be committed, and is handled again when this process ends: ${refusal.message}`
    }
    return undefined
  }

  /** Resolves when it has left the group. */
  get ended(): Promise<void> {
    return this.#ended.promise
  }

  // --- who is read for ---------------------------------------------------------------------------------------------

  /**
   * Reads for these, too. Resolves when it does, which is not before the partitions of a former one were given back: with false
   * when it reads for nobody any more, because its last subscription has left. Another reader may begin when it has `ended`.
   */
  async join(subscriptions: readonly KafkaSubscription[]): Promise<boolean> {
    const former = [...this.#leaving].filter(([old]) => subscriptions.some((each) => overlaps(old, each)))
    await Promise.all(former.map(([, left]) => left.promise))
    if (this.#closing.signal.aborted) return false
    if (this.#consumer.stopped !== undefined) throw this.#consumer.stopped
    for (const subscription of subscriptions) {
      if (subscription.isClosed) continue
      subscription.reader = this
      this.#topics.add(subscription)
    }
    this.#warnings.changed()
    this.#consumer.subscribe()
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
      if (this.#consumer.stopped !== undefined) throw this.#consumer.stopped
      if (memberSince === Infinity && this.#consumer.isMember) memberSince = clock.monotonic()
      if (memberSince !== Infinity && subscriptions.every(isReading)) {
        if (this.#options.groupId !== undefined) for (const each of subscriptions) this.#warnings.partitionsOf(each)
        return
      }
      await sleep(clock, LOOK_MS, this.#closing.signal).catch(() => {})
    }
  }

  async leave(subscription: KafkaSubscription): Promise<void> {
    if (!this.#topics.remove(subscription)) return
    const partitions = [...subscription.partitions]
    for (const partition of partitions) partition.leaving = true
    if (this.#topics.size === 0) return this.#close()
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
    if (this.#topics.size === 0) return
    this.#consumer.current?.pause(partitions.map(placeOf))
    this.#topics.forget(subscription)
    this.#warnings.changed()
    this.#consumer.subscribe()
    void this.#untilLeft(subscription)
  }

  /** Until the group has taken everything back of one that has closed: a new one of its topic may join then. */
  async #untilLeft(subscription: KafkaSubscription): Promise<void> {
    const isHeld = (): boolean =>
      this.#consumer.current?.assignment.some(({ topic }) => subscription.matches(topic)) === true
    while (isHeld() && !this.#closing.signal.aborted)
      await sleep(this.#context.host.clock, LOOK_MS, this.#closing.signal).catch(() => {})
    this.#leaving.get(subscription)?.resolve()
    this.#leaving.delete(subscription)
  }

  /** Ends at once what the client does: the transport is closed by force. */
  abort(): void {
    this.#closing.abort()
    this.#ended.resolve()
  }

  async #close(): Promise<void> {
    this.#closing.abort()
    this.#partitions.close()
    this.retries?.close()
    const { revokeTimeoutMs } = this.#context.options
    // What it still has is handed over by `revoking`.
    await this.#consumer.close(revokeTimeoutMs)
    await this.#transactions.close(revokeTimeoutMs)
    this.#commits.close()
    for (const left of this.#leaving.values()) left.resolve()
    this.#options.ended(this)
    this.#ended.resolve()
  }

  // --- what its subscriptions call ---------------------------------------------------------------------------------

  changed(partition: Partition, now: boolean): void {
    if (this.#options.groupId === undefined) {
      partition.keep()
      this.#partitions.subscriptionOf(partition)?.stored(partition)
    } else if (now) this.#commits.now(partition)
    else this.#commits.changed(partition)
  }

  ack(acks: readonly AckWithMessages<Partition>[]): Promise<readonly AckResult[]> {
    return this.#transactions.ack(acks)
  }

  rest(partition: Partition, rests: boolean): void {
    const place = [placeOf(partition)]
    if (rests) this.#consumer.current?.pause(place)
    else this.#consumer.current?.resume(place)
  }

  behind(partitions: Iterable<Partition>): number | undefined {
    const consumer = this.#consumer.current
    if (consumer === undefined) return undefined
    const now = this.#context.host.clock.monotonic()
    if (this.#behind === undefined || now - this.#behindAt >= BEHIND_MS) {
      this.#behind = behindOf(consumer)
      this.#behindAt = now
    }
    let count = 0
    for (const { topic, index } of partitions) count += this.#behind.get(partitionKey(topic, index)) ?? 0
    return count
  }
}

const NOT_READING = new KafkaError('the group is not being read now', {
  code: 'NOT_A_MEMBER',
  action: 'rejoin',
  outcome: 'not-sent',
})

/** What the client has not delivered yet, where that is anything. */
function behindOf(consumer: Consumer): ReadonlyMap<string, number> {
  const behind = new Map<string, number>()
  for (const { topic, partition, delivered, end } of consumer.positions)
    if (delivered >= 0 && end > delivered) behind.set(partitionKey(topic, partition), end - delivered)
  return behind
}

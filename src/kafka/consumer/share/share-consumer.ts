// Over 250 lines: what users call, and what the member, the brokers' sessions and the locks tell each other through it.
import { randomUUID } from 'node:crypto'
import type { CloseOptions } from '../../close-deadline.ts'
import { Closing } from '../../closing.ts'
import type { Connections } from '../../cluster/connections.ts'
import { InvalidOptionsError, KafkaError } from '../../errors.ts'
import { MAX_MS, OptionsReader } from '../../options-reader.ts'
import type { KnownNames } from '../../options-reader.ts'
import { commonVersion } from '../../protocol/api-versions.ts'
import type { ConsumerContext } from '../consumer-context.ts'
import { CODE } from '../group-errors.ts'
import { readHandler } from '../handler-run.ts'
import { PartitionSet } from '../partition-set.ts'
import { Subscription } from '../subscription.ts'
import { ShareBroker } from './share-broker.ts'
import type { Acquired } from './share-broker.ts'
import { ShareLocks } from './share-locks.ts'
import { ShareMember } from './share-member.ts'
import type { ShareHeartbeat } from './share-member.ts'
import { shareSettingsOf } from './share-options.ts'
import type { ShareConsumerOptions, ShareSettings } from './share-options.ts'
import { ShareRecord } from './share-record.ts'
import type { Said, SharePartition, Verdict } from './share-session.ts'
import { UnansweredRecords } from './unanswered-records.ts'

/** What {@link ShareConsumer.run} takes. */
export interface ShareRunOptions {
  /** How many handlers run at once. @default 1 */
  readonly concurrency?: number | undefined
  /**
   * Called for each record. A record without a verdict is accepted when the handler returns or its promise resolves.
   */
  readonly handler: (record: ShareRecord) => void | Promise<void>
  /**
   * Called when a handler threw or rejected. Unless the handler gave a verdict, the record is released and delivered
   * again. If this function throws, the run ends. @default the run ends with the handler's error
   */
  readonly onError?: ((error: unknown, record: ShareRecord) => void) | undefined
}

const KNOWN_TO_RUN: KnownNames = { names: ['concurrency', 'handler', 'onError'] }

const FIRST_VERSION_WITH_RENEWAL = 2
const NO_NODES: ReadonlyMap<number, readonly SharePartition[]> = new Map()

/**
 * A member of a share group (KIP-932, Kafka 4.2): the members share the records of all partitions, in no order, and
 * give each record a verdict. It starts with the first `next` or `run`. If a verdict doesn't reach the broker, the
 * record is delivered again, to this or another member.
 */
export class ShareConsumer implements AsyncIterable<readonly ShareRecord[]> {
  readonly #context: ConsumerContext
  readonly #options: ShareSettings
  readonly #memberId: string = newMemberId()
  readonly #member: ShareMember
  readonly #heartbeats: Connections
  readonly #fetches: Connections
  readonly #brokers = new Map<number, ShareBroker>()
  readonly #locks = new Map<ShareBroker, ShareLocks>()
  readonly #brokerOf = new Map<ShareRecord, ShareBroker>()
  readonly #unanswered = new Map<ShareBroker, UnansweredRecords>()
  #maxUndecided: number
  readonly #answerListeners = new Set<(records: readonly ShareRecord[], error: KafkaError | undefined) => void>()
  readonly #staleListeners = new Set<(records: readonly ShareRecord[]) => void>()
  readonly #timers = new Set<() => void>()
  readonly #errors: KafkaError[] = []
  #ready: ShareRecord[] = []
  #assignment = new PartitionSet()
  /** Of the assignment; undefined if it has to be looked up again: a turn with verdicts must not walk over all partitions. */
  #byNode: ReadonlyMap<number, readonly SharePartition[]> | undefined
  #subscription: Subscription | undefined
  #stopListening: (() => void) | undefined
  #cancelHeartbeat: (() => void) | undefined
  #waiting: PromiseWithResolvers<void> | undefined
  #isPokeDue = false
  #fatal: KafkaError | undefined
  readonly #closing: Closing

  /** @internal Throws an {@link InvalidOptionsError} if options can't be used. */
  constructor(context: ConsumerContext, options: ShareConsumerOptions) {
    this.#context = context
    this.#options = shareSettingsOf(options, context.cluster.rack)
    this.#maxUndecided = this.#options.maxUndecided
    this.#closing = new Closing(context.clock, 'shareConsumer.close')
    this.#heartbeats = context.cluster.connections({ purpose: 'group' })
    this.#fetches = context.cluster.connections({ purpose: 'share' })
    this.#member = new ShareMember(
      options.group,
      {
        send: (request) => void this.#heartbeat(request),
        assigned: (partitions) => {
          this.#assignment = partitions
          this.#relocate()
        },
        fatal: (error) => this.#end(error),
      },
      context.random,
    )
  }

  /**
   * Adds a listener for records whose verdict did not count, or no longer can: they are delivered again, to this or
   * another member. Call the result to remove it.
   */
  onStale(listener: (records: readonly ShareRecord[]) => void): () => void {
    this.#staleListeners.add(listener)
    return () => this.#staleListeners.delete(listener)
  }

  /**
   * Adds a listener for what became of verdicts that `accept`, `release` or `reject` have returned true for. Without an
   * error, the broker has applied them. With an error, it has not, or the answer was lost: their records may be
   * delivered again. Each of these records is reported once, before it can be delivered again here, and at the latest
   * when `close` ends. Call the result to remove the listener.
   */
  onAnswered(listener: (records: readonly ShareRecord[], error: KafkaError | undefined) => void): () => void {
    this.#answerListeners.add(listener)
    return () => this.#answerListeners.delete(listener)
  }

  /**
   * Changes `maxUndecided`. With 0, nothing more is acquired, except by a request that is on its way; what is acquired
   * stays so. Throws an {@link InvalidOptionsError} if it is not a whole number.
   */
  limit(maxUndecided: number): void {
    if (!Number.isSafeInteger(maxUndecided) || maxUndecided < 0)
      throw new InvalidOptionsError('shareConsumer.limit', [
        { option: 'maxUndecided', problem: `is ${maxUndecided}: give a whole number, 0 or more` },
      ])
    const isMore = maxUndecided > this.#maxUndecided
    this.#maxUndecided = maxUndecided
    if (isMore && this.#subscription !== undefined) this.#pokeSoon()
  }

  /**
   * The records that were acquired. Give each a verdict. Rejects like {@link ShareConsumer.run}; ends when the
   * consumer is closed.
   */
  async next(): Promise<IteratorResult<readonly ShareRecord[], undefined>> {
    if (!(await this.#untilReady(() => false))) return { done: true, value: undefined }
    return { done: false, value: this.#ready.splice(0) }
  }

  /** For `for await`. Leaving the loop does not close the consumer. */
  [Symbol.asyncIterator](): AsyncIterator<readonly ShareRecord[], undefined> {
    return { next: () => this.next(), return: async () => ({ done: true, value: undefined }) }
  }

  /**
   * Calls a handler for each record until the consumer is closed. Rejects if the consumer can't read. If a handler
   * throws, its record is released; without `onError`, `run` then waits for the other handlers and rejects with that
   * error. The next `run` continues with the records that are already acquired.
   */
  async run(options: ShareRunOptions): Promise<void> {
    const reader = new OptionsReader('run', options, KNOWN_TO_RUN)
    const concurrency = reader.number('concurrency', [1, MAX_MS, 1])
    readHandler(reader)
    reader.callable('onError', 'a function of (error, record)')
    reader.done()
    const running = new Set<Promise<void>>()
    const failures: unknown[] = []
    let ended = Promise.withResolvers<void>()
    try {
      while (await this.#untilReady(() => failures.length > 0)) {
        while (this.#ready.length > 0 && running.size < concurrency) {
          const record = this.#ready.shift() as ShareRecord
          const promise = this.#handle(record, options).catch((error: unknown) => {
            failures.push(error)
            this.#wake()
          })
          running.add(promise)
          void promise.finally(() => {
            running.delete(promise)
            ended.resolve()
          })
        }
        if (running.size < concurrency) continue
        // Promise.race over all of them would leave a reaction on the promise of a long handler each time.
        await ended.promise
        ended = Promise.withResolvers()
      }
    } finally {
      await Promise.all(running)
    }
    if (failures.length > 0) throw failures[0]
  }

  /** Resolves when there are records to deliver; false if `isOver`, which is looked at again after `#wake`, or it is closed. */
  async #untilReady(isOver: () => boolean): Promise<boolean> {
    this.#start()
    for (;;) {
      if (isOver()) return false
      if (this.#fatal !== undefined) throw this.#fatal
      const error = this.#errors.shift()
      if (error !== undefined) throw error
      if (this.#closing.hasBegun) return false
      if (this.#ready.length > 0) return true
      this.#waiting ??= Promise.withResolvers()
      await this.#waiting.promise
    }
  }

  async #handle(record: ShareRecord, { handler, onError }: ShareRunOptions): Promise<void> {
    try {
      await handler(record)
      record.accept()
    } catch (error) {
      record.release()
      if (onError === undefined) throw error
      onError(error, record)
    }
  }

  /**
   * Releases records that were not delivered, waits up to `closeTimeoutMs` for the verdicts of the rest, and leaves
   * the group. With `deadlineMs`, it resolves within that time. Safe to call again, also from listeners; a later call
   * can only shorten the deadline.
   */
  close(options: CloseOptions = {}): Promise<void> {
    return this.#closing.run(options, () => this.#close())
  }

  /** Called at the end of an `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  #start(): void {
    if (this.#subscription !== undefined || this.#closing.hasBegun) return
    const { cluster, clock } = this.#context
    this.#subscription = new Subscription(cluster, this.#options.topics, () =>
      this.#withHeartbeat(() => this.#member.subscriptionChanged(clock.now())),
    )
    this.#stopListening = cluster.onChange(() => this.#relocate())
    this.#withHeartbeat(() => this.#member.start(clock.now()))
    cluster.wantRefresh()
  }

  /** The timer follows what the member wants. */
  #withHeartbeat(run: () => void): void {
    const { clock } = this.#context
    run()
    this.#cancelHeartbeat?.()
    const { wakeAt } = this.#member
    if (wakeAt === Infinity) return
    this.#cancelHeartbeat = clock.setTimer(
      () => this.#withHeartbeat(() => this.#member.tick(clock.now())),
      Math.max(0, wakeAt - clock.now()),
    )
  }

  async #heartbeat(request: ShareHeartbeat): Promise<void> {
    const { clock } = this.#context
    try {
      const response = await this.#sendHeartbeat(request.memberEpoch, request.subscribes)
      const { assignment } = response
      const topics = assignment?.topicPartitions.map(({ topicId, partitions }) => ({ topic: topicId, partitions }))
      const answer = { ...response, assignment: topics === undefined ? undefined : PartitionSet.fromTopics(topics) }
      this.#withHeartbeat(() => this.#member.answered(request, answer, clock.now()))
    } catch (error) {
      this.#withHeartbeat(() => this.#member.failed(request, error as KafkaError, clock.now()))
    }
  }

  async #sendHeartbeat(memberEpoch: number, subscribes: boolean) {
    const { group: groupId, rack } = this.#options
    const { coordinators } = this.#context.cluster
    const { response, nodeId } = await coordinators.send(
      this.#heartbeats,
      { type: 'group', key: groupId },
      'ShareGroupHeartbeat',
      {
        groupId,
        memberId: this.#memberId,
        memberEpoch,
        rackId: subscribes ? rack : null,
        subscribedTopicNames: subscribes ? (this.#subscription?.topics ?? []) : null,
      },
    )
    const { errorCode } = response
    if (errorCode === CODE.notCoordinator || errorCode === CODE.coordinatorNotAvailable) {
      coordinators.forget('group', groupId, nodeId)
    }
    return response
  }

  /** Once for all verdicts of a turn. */
  #pokeSoon(): void {
    if (this.#isPokeDue) return
    this.#isPokeDue = true
    queueMicrotask(() => this.#poke())
  }

  #poke(): void {
    this.#isPokeDue = false
    const byNode = this.#closing.hasBegun ? NO_NODES : (this.#byNode ??= this.#leaders())
    for (const nodeId of byNode.keys()) this.#broker(nodeId)
    for (const [nodeId, broker] of this.#brokers) broker.poke(byNode.get(nodeId) ?? [])
  }

  /** What is read from which broker. */
  #leaders(): ReadonlyMap<number, readonly SharePartition[]> {
    const { metadata } = this.#context.cluster
    const byNode = new Map<number, SharePartition[]>()
    for (const { topic: topicId, partition } of this.#assignment) {
      const name = metadata.topicOfId(topicId)?.name
      const leader = name === undefined ? undefined : metadata.leaderOf(name, partition)?.leader
      if (leader === undefined) {
        this.#context.cluster.wantRefresh()
        continue
      }
      const known = byNode.get(leader)
      if (known === undefined) byNode.set(leader, [{ topicId, partition }])
      else known.push({ topicId, partition })
    }
    return byNode
  }

  /** The assignment has changed, or the metadata. */
  #relocate(): void {
    this.#byNode = undefined
    this.#poke()
  }

  /** After a request: what has come up meanwhile, or, after an error, a pause. */
  #again(broker: ShareBroker): void {
    if (this.#closing.hasBegun) return
    const pause = broker.notBefore - this.#context.clock.now()
    if (pause > 0) this.#after(pause, () => this.#poke())
    else this.#pokeSoon()
  }

  #after(ms: number, run: () => void): void {
    const cancel = this.#context.clock.setTimer(() => {
      this.#timers.delete(cancel)
      run()
    }, ms)
    this.#timers.add(cancel)
  }

  #broker(nodeId: number): ShareBroker {
    let broker = this.#brokers.get(nodeId)
    if (broker !== undefined) return broker
    const { group: groupId, maxWaitMs, maxBytes, acquireMode } = this.#options
    broker = new ShareBroker(
      nodeId,
      this.#context,
      this.#fetches,
      { groupId, memberId: this.#memberId, maxWaitMs, maxBytes, acquireMode },
      {
        room: () => this.#room,
        answered: (from, said, errors) => this.#answered(from, said, errors),
        acquired: (from, records) => this.#acquired(from, records),
        renewed: (from, lockMs, askedAt) => this.#locks.get(from)?.renewed(lockMs, askedAt),
        sessionLost: (from, error) => this.#sessionLost(from, error),
        failed: (error) => this.#report(error),
        ended: (from) => this.#again(from),
      },
    )
    this.#brokers.set(nodeId, broker)
    this.#unanswered.set(broker, new UnansweredRecords())
    const asking = broker
    this.#locks.set(asking, new ShareLocks(this.#context.clock, (records) => this.#renew(nodeId, asking, records)))
    return broker
  }

  /** Brokers are asked side by side, so each for its share of what is left. */
  get #room(): number {
    const left = this.#closing.hasBegun ? 0 : this.#maxUndecided - this.#brokerOf.size
    return left <= 0 ? 0 : Math.ceil(left / Math.max(1, this.#byNode?.size ?? 1))
  }

  #answered(broker: ShareBroker, said: Said, errors: ReadonlyMap<string, KafkaError>): void {
    const answered = this.#unanswered.get(broker)?.answered(said, (key) => errors.get(key))
    if (answered === undefined) return
    for (const { records, error } of answered.verdicts) this.#reportAnswered(records, error)
    if (answered.notRenewed.length === 0) return
    for (const record of answered.notRenewed) {
      this.#locks.get(broker)?.decided(record)
      this.#brokerOf.delete(record)
    }
    this.#ready = this.#ready.filter((record) => this.#brokerOf.has(record))
    this.#stale(answered.notRenewed)
    this.#wake()
  }

  #reportAnswered(records: readonly ShareRecord[], error: KafkaError | undefined): void {
    if (records.length === 0) return
    for (const listener of this.#answerListeners) listener(records, error)
  }

  #acquired(broker: ShareBroker, acquired: readonly Acquired[]): void {
    const { metadata } = this.#context.cluster
    const locks = this.#locks.get(broker)
    const owner = { decide: (record: ShareRecord, verdict: Verdict) => this.#decide(record, verdict) }
    for (const { partition, record, ...rest } of acquired) {
      const topic = metadata.topicOfId(partition.topicId)?.name ?? ''
      const shared = new ShareRecord(record, { topic, ...partition }, rest, owner)
      locks?.add(shared, rest.lockMs)
      this.#brokerOf.set(shared, broker)
      this.#unanswered.get(broker)?.add(shared)
      if (!this.#closing.hasBegun) this.#ready.push(shared)
      else shared.release()
    }
    this.#wake()
  }

  #renew(nodeId: number, broker: ShareBroker, records: readonly ShareRecord[]): void {
    const apis = this.#fetches.apis(nodeId)
    const version = apis === undefined ? undefined : commonVersion(apis, 'ShareAcknowledge')
    if ((version ?? 0) < FIRST_VERSION_WITH_RENEWAL) return
    for (const record of records) broker.session.say(record, record.offset, 'renew', record.generation)
    broker.mustRenew = true
    this.#poke()
  }

  #decide(record: ShareRecord, verdict: Verdict): boolean {
    const broker = this.#brokerOf.get(record)
    this.#brokerOf.delete(record)
    if (broker === undefined) return false
    this.#locks.get(broker)?.decided(record)
    const isInTime = this.#context.clock.now() < record.lockEndsAt
    const counts = isInTime && broker.session.say(record, record.offset, verdict, record.generation)
    if (!counts) {
      this.#unanswered.get(broker)?.remove(record)
      this.#stale([record])
    }
    this.#pokeSoon()
    if (this.#brokerOf.size === 0) this.#wake()
    return counts
  }

  #sessionLost(broker: ShareBroker, error: KafkaError): void {
    const records = this.#locks.get(broker)?.clear() ?? []
    for (const record of records) this.#brokerOf.delete(record)
    this.#reportAnswered(this.#unanswered.get(broker)?.clear() ?? [], error)
    this.#ready = this.#ready.filter((record) => this.#brokerOf.has(record))
    this.#stale(records)
    this.#wake()
  }

  #stale(records: readonly ShareRecord[]): void {
    if (records.length === 0) return
    for (const listener of this.#staleListeners) listener(records)
  }

  /** One that stays is met with each request: it is kept once, until it is taken. */
  #report(error: KafkaError): void {
    if (this.#errors.some(({ message }) => message === error.message)) return
    this.#errors.push(error)
    this.#wake()
  }

  #end(error: KafkaError): void {
    this.#fatal = error
    this.#wake()
  }

  #wake(): void {
    this.#waiting?.resolve()
    this.#waiting = undefined
  }

  async #close(): Promise<void> {
    const { clock, onClosed } = this.#context
    const { deadline } = this.#closing
    for (const record of this.#ready.splice(0)) record.release()
    this.#wake()
    void deadline.passed.then(() => this.#wake())
    const end = clock.now() + this.#options.closeTimeoutMs
    while (this.#brokerOf.size > 0 && clock.now() < end && !deadline.hasPassed) {
      this.#waiting ??= Promise.withResolvers()
      const { promise, resolve } = this.#waiting
      const cancel = clock.setTimer(resolve, end - clock.now())
      await promise
      cancel()
    }
    await Promise.race([this.#leave(), deadline.passed])
    deadline.end()
    const closed = new KafkaError('the share consumer was closed before the broker answered', {
      code: 'CLOSED',
      action: 'fatal',
      outcome: 'unknown',
    })
    for (const unanswered of this.#unanswered.values()) this.#reportAnswered(unanswered.clear(), closed)
    this.#cancelHeartbeat?.()
    for (const cancel of this.#timers) cancel()
    for (const locks of this.#locks.values()) locks.end()
    this.#stopListening?.()
    this.#subscription?.end()
    this.#heartbeats.close()
    this.#fetches.close()
    onClosed?.()
  }

  async #leave(): Promise<void> {
    await Promise.all([...this.#brokers.values()].map((broker) => broker.close()))
    if (this.#member.leave()) await this.#sendHeartbeat(-1, false).catch(() => {})
  }
}

/** A UUID as Kafka writes it. */
function newMemberId(): string {
  return Buffer.from(randomUUID().replaceAll('-', ''), 'hex').toString('base64url')
}

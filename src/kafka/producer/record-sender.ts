// Over 250 lines: it connects the parts of the producer, and has little else to say.
import type { Cluster } from '../cluster/cluster.ts'
import { clusterError, closedError } from '../cluster/cluster-errors.ts'
import type { Connections } from '../cluster/connections.ts'
import { callHook } from '../cluster/hooks.ts'
import type { LeaderHint, MetadataChange } from '../cluster/metadata.ts'
import { asKafkaError, KafkaError } from '../errors.ts'
import type { Clock } from '../network/clock.ts'
import { withOutcome } from '../network/connection-errors.ts'
import { Accumulator } from './accumulator.ts'
import type { TopicWriter } from './accumulator.ts'
import type { Confirmation, Entry, Identity, PartitionQueue } from './partition-queue.ts'
import { ProduceRequests } from './produce-requests.ts'
import type { TransactionStamp } from './produce-requests.ts'
import type { ProducerBatch } from './producer-batch.ts'
import type { BatchEvent } from './producer-hooks.ts'
import type { ProducerSettings } from './producer-options.ts'
import { CallQueue } from './send-calls.ts'
import type { SendCall } from './send-calls.ts'
import { Sender } from './sender.ts'
import type { ProduceOrder } from './sender.ts'
import { splitBatch } from './split-batch.ts'

export interface RecordSenderOptions {
  readonly cluster: Cluster
  readonly connections: Connections
  readonly settings: ProducerSettings
  readonly clock: Clock
  readonly random: () => number
  /** For a producer without transactions. */
  readonly producerId: (signal: AbortSignal) => Promise<Identity>
  readonly transaction: TransactionPort | undefined
  readonly onBatch: ((event: BatchEvent) => void) | undefined
}

/** What a transactional producer adds. */
export interface TransactionPort {
  stamp(): TransactionStamp
  mayProduce(topic: string, partition: number): boolean
  /** Partitions may be wanted: see `mayProduce`. */
  afterRun(): void
}

/**
 * A topic that has got nothing for so long is not kept up to date any more (KIP-526): a producer that writes to ever new topics would ask
 * for ever more of them.
 */
const IDLE_TOPIC_MS = 300_000

interface KnownTopic {
  readonly writer: TopicWriter
  /** Since idle topics were last looked for. */
  isUsed: boolean
  /** Calls that came before the topic's partitions were known. */
  readonly waiting: CallQueue<Waiting>
}

interface Waiting {
  readonly topic: KnownTopic
  readonly call: SendCall
  readonly deadline: number
  isDone: boolean
  stopListening: (() => void) | undefined
}

/** Takes records, and settles each: metadata, batches, requests, time. */
export class RecordSender {
  readonly #options: RecordSenderOptions
  readonly #settings: ProducerSettings
  readonly #sender: Sender<ProducerBatch>
  readonly #accumulator: Accumulator
  readonly #requests: ProduceRequests
  readonly #topics = new Map<string, KnownTopic>()
  /** Those whose partitions are not known yet. */
  readonly #unknown = new Set<KnownTopic>()
  readonly #tracked: ReturnType<Cluster['track']>
  readonly #stopListening: () => void
  /** Calls that wait for room, in their order. */
  readonly #waiting = new CallQueue<Waiting>()
  readonly #live = new Set<ProducerBatch>()
  #onIdle: (() => void)[] = []
  #splitting: Promise<void> = Promise.resolve()
  /** Ends what waits for the cluster. */
  readonly #closing = new AbortController()
  #idleCheckedAt: number
  #isScheduled = false
  #isClosed = false
  #timerAt = Infinity
  #cancelTimer: (() => void) | undefined

  constructor(options: RecordSenderOptions) {
    const { cluster, connections, settings, clock, random, transaction } = options
    const { metadata } = cluster
    this.#options = options
    this.#settings = settings
    this.#idleCheckedAt = clock.now()
    this.#sender = new Sender<ProducerBatch>(
      {
        isIdempotent: settings.acks === -1,
        isTransactional: transaction !== undefined,
        maxInFlightPerBroker: 5,
        maxRequestBytes: settings.maxRequestBytes,
        random,
        leaderOf: (topic, partition) => metadata.leaderOf(topic, partition)?.leader,
        mayProduce: (topic, partition) => transaction?.mayProduce(topic, partition) ?? true,
      },
      {
        close: (batch) => (batch.isClosed = true),
        send: (order) => this.#requests.send(order),
        settled: (batch, result) => this.#settled(batch, result),
        refresh: () => cluster.wantRefresh(),
        tooLarge: (topic, size) => this.#accumulator.tooLarge(topic, size),
        initProducerId: () => void this.#identify(),
        // One after the other: both a batch and its halves are in memory meanwhile.
        split: (queue, entry) => void (this.#splitting = this.#splitting.then(() => this.#split(queue, entry))),
      },
    )
    this.#accumulator = new Accumulator(
      {
        ...settings,
        random,
        now: () => clock.now(),
        hasLeader: (topic, partition) => metadata.leaderOf(topic, partition)?.leader !== undefined,
        opened: (batch) => this.#live.add(batch),
      },
      this.#sender,
    )
    this.#requests = new ProduceRequests({
      connections,
      metadata,
      acks: settings.acks,
      ackTimeoutMs: settings.ackTimeoutMs,
      compression: settings.compression,
      now: () => clock.now(),
      transaction: () => transaction?.stamp(),
      answered: (order, answers) => {
        this.#sender.answered(order, answers, clock.now())
        this.wake()
      },
      lost: (order, error) => this.#lost(order, error),
      hinted: (hint) => this.#hinted(hint),
    })
    this.#tracked = cluster.track()
    this.#stopListening = cluster.onChange((changes) => this.#metadataChanged(changes))
  }

  get bufferedBytes(): number {
    return this.#accumulator.memory.usedBytes
  }

  /** Appends what there is room for; the rest waits. The call settles its own promises. */
  submit(name: string, call: SendCall, signal?: AbortSignal): void {
    if (this.#isClosed) return call.fail(closedError())
    const topic = this.#topics.get(name) ?? this.#firstSeen(name)
    topic.isUsed = true
    const mayAppend = topic.writer.partitions > 0 && this.#waiting.length === 0 && topic.waiting.length === 0
    if (mayAppend && call.advance(this.#accumulator, topic.writer)) return this.wake()
    const waitsForRoom = topic.writer.partitions > 0 && topic.waiting.length === 0
    const queue = waitsForRoom ? this.#waiting : topic.waiting
    // The topic may never be found: that would be said first, and late.
    if (!waitsForRoom && !call.check()) return
    queue.push(this.#waitingOf(topic, call, signal))
    this.wake()
  }

  /** Something may be sent now: `run` at the end of this turn. */
  wake(): void {
    if (this.#isScheduled) return
    this.#isScheduled = true
    process.nextTick(() => {
      this.#isScheduled = false
      this.#run()
    })
  }

  wakeAll(): void {
    this.#sender.wakeAll()
    this.wake()
  }

  identified(identity: Identity): void {
    this.#sender.identified(identity)
    this.wake()
  }

  /** Resolves when everything that was submitted before is settled, well or not. */
  async flush(): Promise<void> {
    const queues = [this.#waiting, ...[...this.#unknown].map(({ waiting }) => waiting)]
    await Promise.all(queues.map((queue) => this.#reached(queue)))
    this.#accumulator.pressAll()
    this.wake()
    const settled = [...this.#live].map(
      (batch) => new Promise<void>((resolve) => (batch.onSettled ??= []).push(resolve)),
    )
    await Promise.all(settled)
  }

  /** Fails everything, and resolves when nothing is in flight any more. */
  async abandon(error: KafkaError): Promise<void> {
    for (const { waiting } of this.#unknown) this.#failWaiting(waiting, error, Infinity)
    this.#failWaiting(this.#waiting, error, Infinity)
    this.#sender.abandon(error)
    this.wake()
    if (!this.#sender.isIdle) await new Promise<void>((resolve) => this.#onIdle.push(resolve))
  }

  /** Ends everything at once. */
  close(): void {
    this.#isClosed = true
    const idle = this.abandon(closedError())
    this.#options.connections.close()
    this.#closing.abort()
    this.#tracked.release()
    this.#stopListening()
    this.#cancelTimer?.()
    this.#cancelTimer = undefined
    void idle
  }

  #run(): void {
    const now = this.#options.clock.now()
    this.#expireWaiting(now)
    this.#advance(this.#waiting)
    this.#sender.run(now)
    this.#options.transaction?.afterRun()
    if (this.#sender.isIdle) for (const resolve of this.#onIdle.splice(0)) resolve()
    this.#setTimer(now)
  }

  #setTimer(now: number): void {
    let wakeAt = Math.min(this.#sender.wakeAt, this.#waiting.first?.deadline ?? Infinity)
    for (const { waiting } of this.#unknown) wakeAt = Math.min(wakeAt, waiting.first?.deadline ?? Infinity)
    if (wakeAt >= this.#timerAt || this.#isClosed) return
    this.#cancelTimer?.()
    this.#timerAt = wakeAt
    this.#cancelTimer = this.#options.clock.setTimer(
      () => {
        this.#timerAt = Infinity
        this.#cancelTimer = undefined
        this.#run()
      },
      Math.max(0, wakeAt - now),
    )
  }

  #firstSeen(name: string): KnownTopic {
    const topic: KnownTopic = { writer: this.#accumulator.topic(name), isUsed: true, waiting: new CallQueue() }
    this.#topics.set(name, topic)
    this.#tracked.add(name)
    this.#learn(topic)
    if (topic.writer.partitions === 0) {
      this.#unknown.add(topic)
      void this.#look(topic).finally(() => this.#unknown.delete(topic))
    }
    return topic
  }

  #learn({ writer }: KnownTopic): void {
    const known = this.#options.cluster.metadata.topic(writer.topic)?.partitions.length ?? 0
    if (known > 0) writer.partitions = known
  }

  /** Until the topic's partitions are known. */
  async #look(topic: KnownTopic): Promise<void> {
    const name = topic.writer.topic
    try {
      const { deliveryTimeoutMs: timeoutMs } = this.#settings
      await this.#options.cluster.existingTopic(name, { timeoutMs, signal: this.#closing.signal })
    } catch (error) {
      const found = error instanceof KafkaError ? error : clusterError('NOT_FOUND', String(error), error)
      const reason = found.code === 'WAIT_TIMEOUT' ? this.#timedOut(`the topic ${name} was not found`) : found
      // The next call looks again.
      this.#topics.delete(name)
      this.#tracked.remove(name)
      return this.#failWaiting(topic.waiting, withOutcome(reason, 'not-sent'), Infinity)
    }
    this.#learn(topic)
    this.#topicKnown(topic)
  }

  #topicKnown(topic: KnownTopic): void {
    for (let first = topic.waiting.first; first !== undefined; first = topic.waiting.first) {
      topic.waiting.shift()
      this.#waiting.push(first)
    }
    this.wake()
  }

  #metadataChanged(changes: readonly MetadataChange[]): void {
    for (const change of changes) {
      if (change.type === 'recreated') this.#recreated(change)
      if (change.type === 'leader') this.#sender.leaderChanged(change.topic, change.partition)
    }
    for (const topic of this.#topics.values()) this.#learn(topic)
    this.#forgetIdle()
    this.wakeAll()
  }

  /** Their numbers are kept: a broker may still know them when the topic is written to again. */
  #forgetIdle(): void {
    const now = this.#options.clock.now()
    if (now - this.#idleCheckedAt < IDLE_TOPIC_MS) return
    this.#idleCheckedAt = now
    const live = new Set([...this.#live].map(({ topic }) => topic))
    for (const { topic } of this.#waiting) live.add(topic.writer.topic)
    for (const [name, topic] of this.#topics) {
      const isBusy = topic.isUsed || this.#unknown.has(topic) || live.has(name)
      topic.isUsed = false
      if (isBusy) continue
      this.#topics.delete(name)
      this.#tracked.remove(name)
    }
  }

  #recreated({ topic, oldId, newId }: MetadataChange & { readonly type: 'recreated' }): void {
    const message = `${topic} was deleted and made again: it was ${oldId} and is ${newId}`
    const error = new KafkaError(message, { code: 'TOPIC_RECREATED', action: 'fatal', outcome: 'not-sent' })
    this.#sender.abandonTopic(topic, error)
  }

  #hinted(hint: LeaderHint): void {
    if (this.#options.cluster.applyHint(hint)) this.#sender.leaderChanged(hint.topic, hint.partition)
  }

  #lost(order: ProduceOrder<ProducerBatch>, error: KafkaError): void {
    // Nobody would know whether the second one is a repetition.
    const isFinal = this.#settings.acks === 0 && error.outcome === 'unknown'
    const { code, message } = error
    const reason = isFinal
      ? new KafkaError(message, { code, action: 'fatal', outcome: 'unknown', cause: error })
      : error
    this.#sender.lost(order, reason, this.#options.clock.now())
    this.wake()
  }

  #settled(batch: ProducerBatch, result: Confirmation | KafkaError): void {
    const { onBatch } = this.#options
    const error = result instanceof KafkaError ? result : undefined
    batch.isClosed = true
    this.#live.delete(batch)
    if (result instanceof KafkaError) batch.failed(result)
    else batch.confirmed(result)
    if (onBatch !== undefined) {
      const { topic, partition, count, size, openedAt } = batch
      const durationMs = this.#options.clock.now() - openedAt
      callHook(onBatch, { topic, partition, records: count, bytes: size, durationMs, error })
    }
    for (const resolve of batch.onSettled ?? []) resolve()
    this.#accumulator.memory.give(batch.release())
    if (this.#waiting.length > 0) this.wake()
  }

  async #split(queue: PartitionQueue<ProducerBatch>, entry: Entry<ProducerBatch>): Promise<void> {
    const { batch } = entry
    const { memory } = this.#accumulator
    let halves: readonly ProducerBatch[]
    try {
      halves = await splitBatch(batch, await batch.bytes(this.#settings.compression), memory)
    } catch (error) {
      // Memory may have run out. Whatever it is, the batch must not wait forever, and those behind it have their turn.
      this.#sender.notSplit(queue, entry, asKafkaError(error))
      return this.wake()
    }
    const settled = batch.onSettled && afterAll(batch.onSettled, halves.length)
    for (const half of halves) {
      this.#live.add(half)
      if (settled !== undefined) half.onSettled = [settled]
    }
    this.#live.delete(batch)
    memory.give(batch.release())
    this.#sender.split(queue, entry, halves)
    this.wake()
  }

  async #identify(): Promise<void> {
    try {
      this.#sender.identified(await this.#options.producerId(this.#closing.signal))
    } catch (error) {
      const reason = error instanceof KafkaError ? error : clusterError('CLUSTER_UNREACHABLE', String(error), error)
      this.#sender.notIdentified(withOutcome(reason, 'not-sent'))
    }
    this.wake()
  }

  #waitingOf(topic: KnownTopic, call: SendCall, signal: AbortSignal | undefined): Waiting {
    const deadline = this.#options.clock.now() + this.#settings.deliveryTimeoutMs
    const waiting: Waiting = { topic, call, deadline, isDone: false, stopListening: undefined }
    if (signal === undefined) return waiting
    const aborted = () => {
      waiting.isDone = true
      call.fail(clusterError('ABORTED', 'the caller aborted the signal', signal.reason))
    }
    waiting.stopListening = () => signal.removeEventListener('abort', aborted)
    if (signal.aborted) aborted()
    else signal.addEventListener('abort', aborted, { once: true })
    return waiting
  }

  #advance(queue: CallQueue<Waiting>): void {
    for (let first = queue.first; first !== undefined; first = queue.first) {
      if (!first.isDone && !first.call.advance(this.#accumulator, first.topic.writer, first.deadline)) {
        // Batches that linger would keep the room that is waited for.
        return this.#accumulator.pressAll()
      }
      first.stopListening?.()
      queue.shift()
    }
  }

  #expireWaiting(now: number): void {
    if ((this.#waiting.first?.deadline ?? Infinity) <= now) {
      this.#failWaiting(this.#waiting, this.#timedOut('there was no room for the record'), now)
    }
    for (const { writer, waiting } of this.#unknown) {
      if ((waiting.first?.deadline ?? Infinity) > now) continue
      this.#failWaiting(waiting, this.#timedOut(`the topic ${writer.topic} was not found`), now)
    }
  }

  /** Of what was not sent; it says why the brokers can't be reached, if they can't. */
  #timedOut(what: string): KafkaError {
    const { failure } = this.#options.cluster
    const why = failure === undefined ? '' : `: ${failure.message}`
    const message = `${what} within the delivery timeout of ${this.#settings.deliveryTimeoutMs} ms${why}`
    const { code, action } = failure ?? ({ code: 'DELIVERY_TIMEOUT', action: 'retry' } as const)
    return new KafkaError(message, { code, action, outcome: 'not-sent', cause: failure })
  }

  #failWaiting(queue: CallQueue<Waiting>, error: KafkaError, until: number): void {
    for (let first = queue.first; first !== undefined && first.deadline <= until; first = queue.first) {
      queue.shift()
      first.stopListening?.()
      if (!first.isDone) first.call.fail(error)
    }
  }

  /** Resolves when all that wait in the queue now have been appended or have failed. */
  async #reached(queue: CallQueue<Waiting>): Promise<void> {
    const topic = queue.first?.topic
    if (topic === undefined) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const reached = () => {
      resolve()
      return true
    }
    queue.push(this.#waitingOf(topic, { advance: reached, check: () => true, fail: reached }, undefined))
    await promise
  }
}

/** Calls each of `waiting` when the result has been called `times` times. */
function afterAll(waiting: readonly (() => void)[], times: number): () => void {
  let left = times
  return () => {
    if (--left === 0) for (const resolve of waiting) resolve()
  }
}

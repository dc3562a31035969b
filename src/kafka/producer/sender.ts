import { backoffMs } from '../cluster/backoff.ts'
import type { KafkaError } from '../errors.ts'
import { PartitionQueue } from './partition-queue.ts'
import type { BatchAnswer, Confirmation, Entry, Identity, OutgoingBatch, Verdict } from './partition-queue.ts'

export interface SenderSettings {
  /** False: without numbers, a batch whose answer was lost may be written twice. */
  readonly isIdempotent: boolean
  readonly isTransactional: boolean
  readonly maxInFlightPerBroker: number
  /** Of the batches in one request; a batch that is larger goes alone. */
  readonly maxRequestBytes: number
  /** From 0 to 1. */
  readonly random: () => number
  /** Undefined while it isn't known. */
  readonly leaderOf: (topic: string, partition: number) => number | undefined
  /** Whether the transaction has the partition; if not, `wake` must be called when it has. @default always */
  readonly mayProduce?: (topic: string, partition: number) => boolean
}

export interface ProducePart<B extends OutgoingBatch> {
  readonly queue: PartitionQueue<B>
  readonly entry: Entry<B>
  /** Frozen with the entry's base sequence until a new epoch renumbers it. */
  readonly identity: Identity
}

export interface ProduceOrder<B extends OutgoingBatch> {
  readonly broker: number
  readonly parts: readonly ProducePart<B>[]
}

/** What the machine asks its driver to do. */
export interface SenderEffects<B extends OutgoingBatch> {
  /** The batch must not grow any more. */
  close(batch: B): void
  /** Write one Produce request; ends with `answered` or `lost`. Orders to one broker are written in the order of the calls. */
  send(order: ProduceOrder<B>): void
  /** Once for each batch: nothing reads it any more. */
  settled(batch: B, result: Confirmation | KafkaError): void
  /** The leader that was known for the partition is not the leader. */
  refresh(topic: string): void
  /** Answered by `identified` or `notIdentified`. */
  initProducerId(): void
  /** The topic does not take batches of so many bytes. */
  tooLarge(topic: string, size: number): void
  /** Halve the batch; answered by `split` or `notSplit`. */
  split(queue: PartitionQueue<B>, entry: Entry<B>): void
}

interface Broker<B extends OutgoingBatch> {
  inFlight: number
  failures: number
  retryAt: number
  /** Partitions that may have something to send, each at most once; the first one is served first. */
  ready: PartitionQueue<B>[]
}

const NO_IDENTITY: Identity = { producerId: -1n, producerEpoch: -1 }
const LAST_EPOCH = 32_767

/**
 * Which batches are sent, where and when. Pure: its caller reports what happens, and it calls its effects; it reads no clock. After
 * any calls of a turn, `run` sends what may be sent.
 */
export class Sender<B extends OutgoingBatch> {
  readonly #settings: SenderSettings
  readonly #effects: SenderEffects<B>
  readonly #queues = new Map<string, (PartitionQueue<B> | undefined)[]>()
  readonly #brokers = new Map<number, Broker<B>>()
  /** Partitions with batches that are not settled. */
  readonly #active = new Set<PartitionQueue<B>>()
  readonly #isQueued = new Set<PartitionQueue<B>>()
  #identity: Identity | undefined
  #isIdentifying = false
  /** A partition has got into the line of another broker. */
  #hasMoved = false
  #wakeAt = Infinity

  constructor(settings: SenderSettings, effects: SenderEffects<B>) {
    this.#settings = settings
    this.#effects = effects
    if (!settings.isIdempotent) this.#identity = NO_IDENTITY
  }

  /** When `run` must be called at the latest, if nothing happens before. */
  get wakeAt(): number {
    return this.#wakeAt
  }

  get isIdle(): boolean {
    return this.#active.size === 0
  }

  queueOf(topic: string, partition: number): PartitionQueue<B> {
    let queues = this.#queues.get(topic)
    if (queues === undefined) this.#queues.set(topic, (queues = []))
    const { isIdempotent, isTransactional } = this.#settings
    return (queues[partition] ??= new PartitionQueue<B>(
      topic,
      partition,
      { isIdempotent, isTransactional },
      (batch, result) => this.#effects.settled(batch, result),
    ))
  }

  add(queue: PartitionQueue<B>, batch: B): void {
    queue.add(batch)
    this.#active.add(queue)
    this.#wakeBy(batch.deadline)
    this.wake(queue)
  }

  /** Something that kept the partition waiting may have ended: a batch has become full, a transaction has got the partition. */
  wake(queue: PartitionQueue<B>): void {
    if (this.#isQueued.has(queue) || queue.isEmpty) return
    const leader = this.#settings.leaderOf(queue.topic, queue.partition)
    if (leader === undefined) return this.#effects.refresh(queue.topic)
    this.#isQueued.add(queue)
    this.#brokerOf(leader).ready.push(queue)
  }

  wakeAll(): void {
    for (const queue of this.#active) this.wake(queue)
  }

  leaderChanged(topic: string, partition: number): void {
    const queue = this.#queues.get(topic)?.[partition]
    if (queue === undefined) return
    queue.retryAt = -Infinity
    // The former leader may not answer, and its line not move.
    if (this.#isQueued.delete(queue)) {
      for (const broker of this.#brokers.values()) broker.ready = broker.ready.filter((each) => each !== queue)
    }
    this.wake(queue)
  }

  /** The producer id, or a newer epoch. Partitions take it when nothing of theirs is in flight. */
  identified(identity: Identity): void {
    this.#isIdentifying = false
    this.#identity = identity
    for (const queue of this.#active) this.#proceed(queue)
  }

  /** No producer id is to be had: everything that waits fails. */
  notIdentified(error: KafkaError): void {
    this.#isIdentifying = false
    this.abandon(error)
  }

  /** Without an answer that is expected (acks 0), `answers` is undefined. */
  answered(order: ProduceOrder<B>, answers: readonly BatchAnswer[] | undefined, now: number): void {
    const broker = this.#brokerOf(order.broker)
    broker.inFlight--
    broker.failures = 0
    const random = this.#settings.random()
    for (const [index, { queue, entry }] of order.parts.entries()) {
      const answer = answers === undefined ? WRITTEN : (answers[index] ?? UNANSWERED)
      this.#judge(queue, queue.answered(entry, answer, now), now, random)
    }
  }

  /** The request ended without an answer. */
  lost(order: ProduceOrder<B>, error: KafkaError, now: number): void {
    const broker = this.#brokerOf(order.broker)
    broker.inFlight--
    const random = this.#settings.random()
    if (broker.retryAt <= now) broker.retryAt = now + backoffMs(++broker.failures, random)
    this.#wakeBy(broker.retryAt)
    for (const { queue, entry } of order.parts) this.#judge(queue, queue.lost(entry, error, now), now, random)
  }

  split(queue: PartitionQueue<B>, entry: Entry<B>, halves: readonly B[]): void {
    queue.split(entry, halves)
    this.#proceed(queue)
  }

  notSplit(queue: PartitionQueue<B>, entry: Entry<B>, error: KafkaError): void {
    queue.notSplit(entry, error)
    this.#proceed(queue)
  }

  /** The topic has been deleted and made again: the batches for the old one fail. */
  abandonTopic(topic: string, error: KafkaError): void {
    for (const queue of this.#queues.get(topic)?.values() ?? []) {
      if (queue === undefined) continue
      queue.abandonLog(error)
      this.#proceed(queue)
    }
  }

  /** Everything fails: at once, or when its request has ended. */
  abandon(error: KafkaError): void {
    for (const queue of this.#active) {
      queue.abandon(error)
      this.#proceed(queue)
    }
  }

  run(now: number): void {
    if (now >= this.#wakeAt) this.#tick(now)
    do {
      this.#hasMoved = false
      for (const [id, broker] of this.#brokers) this.#serve(id, broker, now)
    } while (this.#hasMoved)
  }

  /** What is due: deadlines, the end of a linger or a pause. */
  #tick(now: number): void {
    this.#wakeAt = Infinity
    for (const queue of this.#active) {
      if (queue.deadline <= now) {
        queue.expire(now)
        this.#proceed(queue)
      }
      if (!this.#active.has(queue)) continue
      this.#wakeBy(queue.deadline)
      if (queue.retryAt > now) this.#wakeBy(queue.retryAt)
      else if (queue.readyAt > now) this.#wakeBy(queue.readyAt)
      this.wake(queue)
    }
    for (const { retryAt } of this.#brokers.values()) if (retryAt > now) this.#wakeBy(retryAt)
  }

  #serve(id: number, broker: Broker<B>, now: number): void {
    const { maxInFlightPerBroker } = this.#settings
    while (broker.ready.length > 0 && broker.inFlight < maxInFlightPerBroker && broker.retryAt <= now) {
      const parts = this.#gather(id, broker, now)
      if (parts.length === 0) return
      broker.inFlight++
      this.#effects.send({ broker: id, parts })
    }
  }

  /** One batch of each partition that is ready, up to the size of a request. Those with more go to the end of the line. */
  #gather(id: number, broker: Broker<B>, now: number): ProducePart<B>[] {
    const { maxRequestBytes, leaderOf, mayProduce } = this.#settings
    const parts: ProducePart<B>[] = []
    const line = broker.ready
    broker.ready = []
    let bytes = 0
    for (const [index, queue] of line.entries()) {
      if (bytes >= maxRequestBytes) {
        broker.ready = [...line.slice(index), ...broker.ready]
        break
      }
      this.#isQueued.delete(queue)
      if (leaderOf(queue.topic, queue.partition) !== id) {
        // Its new leader may have been served already, and nothing else may happen for long.
        this.#hasMoved = true
        this.wake(queue)
        continue
      }
      if (mayProduce?.(queue.topic, queue.partition) === false) continue
      if (!queue.canSend(id, now, this.#currentIdentity())) {
        if (queue.retryAt > now) this.#wakeBy(queue.retryAt)
        else if (queue.readyAt > now) this.#wakeBy(queue.readyAt)
        continue
      }
      const entry = queue.send(id, now, this.#identity, (batch) => this.#effects.close(batch))
      parts.push({ queue, entry, identity: queue.identity })
      bytes += entry.batch.size
      this.wake(queue)
    }
    return parts
  }

  #judge(queue: PartitionQueue<B>, { retry, needsNewId, tooLarge }: Verdict, now: number, random: number): void {
    if (tooLarge !== undefined) this.#effects.tooLarge(queue.topic, tooLarge)
    if (retry !== undefined) {
      queue.retryAt = now + backoffMs(++queue.failures, random)
      this.#wakeBy(queue.retryAt)
      if (retry.action === 'refresh' || retry.action === 'rediscover') this.#effects.refresh(queue.topic)
    }
    if (needsNewId === true && queue.identity === this.#identity) this.#identity = undefined
    this.#proceed(queue)
  }

  /** After anything that has changed the state of a partition's batches. */
  #proceed(queue: PartitionQueue<B>): void {
    if (queue.hasGap) this.#closeGap(queue)
    const entry = queue.takeToSplit()
    if (entry !== undefined) this.#effects.split(queue, entry)
    if (queue.isEmpty && queue.inFlight === 0) {
      this.#active.delete(queue)
      return
    }
    this.#wakeBy(queue.deadline)
    this.wake(queue)
  }

  /** A new epoch, unless another partition has brought one already. */
  #closeGap(queue: PartitionQueue<B>): void {
    const current = this.#identity
    if (current === queue.identity) {
      const { producerId, producerEpoch } = current
      this.#identity = producerEpoch === LAST_EPOCH ? undefined : { producerId, producerEpoch: producerEpoch + 1 }
    }
    const identity = this.#currentIdentity()
    if (identity !== undefined) queue.renumber(identity)
  }

  #currentIdentity(): Identity | undefined {
    if (this.#identity === undefined && !this.#isIdentifying) {
      this.#isIdentifying = true
      this.#effects.initProducerId()
    }
    return this.#identity
  }

  #brokerOf(id: number): Broker<B> {
    let broker = this.#brokers.get(id)
    if (broker === undefined) {
      this.#brokers.set(id, (broker = { inFlight: 0, failures: 0, retryAt: -Infinity, ready: [] }))
    }
    return broker
  }

  #wakeBy(at: number): void {
    this.#wakeAt = Math.min(this.#wakeAt, at)
  }
}

const WRITTEN: BatchAnswer = { errorCode: 0, baseOffset: -1, logAppendTimeMs: -1, errorMessage: null }
/** The broker's answer does not name the partition. */
const UNANSWERED: BatchAnswer = { errorCode: -1, baseOffset: -1, logAppendTimeMs: -1, errorMessage: 'no answer for it' }

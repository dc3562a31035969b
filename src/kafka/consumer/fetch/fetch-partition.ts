import { backoffMs } from '../../cluster/backoff.ts'
import type { FetchBudget } from './fetch-budget.ts'
import { PartitionBuffer } from './partition-buffer.ts'
import { Position } from './position.ts'

/** What reads from one broker. */
export interface FetchedBroker {
  readonly isInFlight: boolean
  readonly isFull: boolean
}

/** A partition that is being read, from its assignment until it is taken away. */
export class FetchPartition {
  readonly topic: string
  readonly partition: number
  /** Names it among all partitions; made once, because every request needs it. */
  readonly key: string
  /** From which it is read now; undefined while it has no leader. */
  broker: FetchedBroker | undefined
  /** Undefined if the cluster is too old to have ids, or the topic is not known yet. */
  topicId: string | undefined
  /** It took the place of another topic of this name: what is committed may be of that one. */
  isOfNewTopic = false
  readonly position: Position = new Position()
  readonly buffer: PartitionBuffer
  isPaused = false
  /** Nothing more is fetched and nothing delivered. */
  isStopped = false
  /** A replica near by, that the leader has named (KIP-392). */
  replica: { readonly nodeId: number; readonly until: number } | undefined
  /** Where the log ends for this reader; -1 if no answer has said. */
  endOffset = -1
  #notBefore = -Infinity
  #failures = 0

  constructor(topic: string, partition: number, budget: FetchBudget) {
    this.topic = topic
    this.partition = partition
    this.key = keyOf(topic, partition)
    this.buffer = new PartitionBuffer(budget)
  }

  get notBefore(): number {
    return this.#notBefore
  }

  isReadable(now: number): boolean {
    return !this.isStopped && !this.isPaused && this.position.state === 'fetching' && now >= this.#notBefore
  }

  hasRecords(): boolean {
    return !this.isStopped && !this.isPaused && this.buffer.chunks > 0
  }

  failed(now: number, random: number): void {
    this.#notBefore = now + backoffMs(++this.#failures, random)
  }

  succeeded(): void {
    this.#failures = 0
    this.#notBefore = -Infinity
  }

  /** Reads elsewhere; what was fetched is worthless. */
  seek(offset: number, lastEpoch: number): void {
    this.buffer.clear()
    this.position.moveTo(offset, lastEpoch)
    this.succeeded()
  }

  stop(): void {
    this.isStopped = true
    this.buffer.clear()
  }
}

export function keyOf(topic: string, partition: number): string {
  return `${partition} ${topic}`
}

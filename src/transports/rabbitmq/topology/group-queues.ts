import type { OutgoingMessage } from '../../../core/message.ts'
import { bucketOf } from '../partitions/key-bucket.ts'
import { carriedBy } from '../wire/carried-properties.ts'
import { partitionOf, partitionQueue } from './names.ts'
import type { Names } from './names.ts'

const MOST = 10_000

/** How many queues the groups have that copies were published to: a copy goes to its queue, past all exchanges. */
export class GroupQueues {
  readonly #names: Names
  /** By the first queue of the group. */
  readonly #partitions = new Map<string, number>()

  constructor(names: Names) {
    this.#names = names
  }

  /** The first queue of the group that a copy is for. */
  firstOf(message: OutgoingMessage): string {
    return carriedBy(message)?.groupQueue ?? this.#names.group(message.topic, message.group as string)
  }

  isKnown(first: string): boolean {
    return this.#partitions.has(first)
  }

  learn(first: string, partitions: number): void {
    if (this.#partitions.size < MOST || this.#partitions.has(first)) this.#partitions.set(first, partitions)
  }

  forget(message: OutgoingMessage): void {
    this.#partitions.delete(this.firstOf(message))
  }

  /** The queue of a copy: the one where its key is in order with the others. */
  queueOf(message: OutgoingMessage): string {
    const first = this.firstOf(message)
    const partitions = this.#partitions.get(first) ?? 1
    return message.key === undefined ? first : partitionQueue(first, partitionOf(bucketOf(message.key), partitions))
  }
}

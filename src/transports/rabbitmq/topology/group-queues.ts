import type { OutgoingMessage } from '../../../core/message.ts'
import { bucketOf } from '../partitions/key-bucket.ts'
import { carriedBy } from '../wire/carried-properties.ts'
import { ALL_TOPICS, partitionOf, partitionQueue } from './names.ts'
import type { KnownGroups } from './known-groups.ts'
import type { Names } from './names.ts'

const MOST = 10_000

/** How many queues the groups have that copies were published to: a copy goes to its queue, past all exchanges. */
export class GroupQueues {
  readonly #names: Names
  readonly #groups: Pick<KnownGroups, 'get'>
  /** By the first queue of the group. */
  readonly #partitions = new Map<string, number>()

  constructor(names: Names, groups: Pick<KnownGroups, 'get'>) {
    this.#names = names
    this.#groups = groups
  }

  /** The first queue of the group that a copy is for. */
  firstOf(message: OutgoingMessage): string {
    const { topic } = message
    const group = message.group as string
    const carried = carriedBy(message)?.groupQueue
    if (carried !== undefined) return carried
    // A dead letter from before its group changed to shared queues does not say so.
    return this.#names.group(this.#groups.get(topic, group)?.layout?.perGroup === true ? ALL_TOPICS : topic, group)
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

import type { FetchPartition } from './fetch/fetch-partition.ts'
import { keyOf } from './fetch/fetch-partition.ts'
import type { OwnedPartition } from './owned-partition.ts'
import type { TopicPartition } from './partition-set.ts'

/** The partitions that a consumer has now. */
export class OwnedPartitions implements Iterable<OwnedPartition> {
  readonly #byKey = new Map<string, OwnedPartition>()
  readonly #byFetch = new Map<FetchPartition, OwnedPartition>()

  add(owned: OwnedPartition): void {
    this.#byKey.set(owned.fetch.key, owned)
    this.#byFetch.set(owned.fetch, owned)
  }

  /** Not one that has come in its place. */
  delete(owned: OwnedPartition): void {
    const { fetch } = owned
    if (this.#byKey.get(fetch.key) === owned) this.#byKey.delete(fetch.key)
    this.#byFetch.delete(fetch)
  }

  get(topic: string, partition: number): OwnedPartition | undefined {
    return this.#byKey.get(keyOf(topic, partition))
  }

  /** The one that is read by this; undefined if it was taken away. */
  of(fetch: FetchPartition): OwnedPartition | undefined {
    return this.#byFetch.get(fetch)
  }

  /** Those of them that the consumer has. */
  find(partitions: Iterable<TopicPartition>): OwnedPartition[] {
    return [...partitions].flatMap(({ topic, partition }) => this.get(topic, partition) ?? [])
  }

  [Symbol.iterator](): Iterator<OwnedPartition> {
    return this.#byKey.values()
  }
}

import type { OwnedPartition } from './owned-partition.ts'

/** Partitions that a consumer reads because it has another one, and for as long as it has that. */
export class AttachedPartitions {
  readonly #byOwner = new Map<OwnedPartition, Set<OwnedPartition>>()
  readonly #ownerOf = new Map<OwnedPartition, OwnedPartition>()

  add(owner: OwnedPartition, attached: OwnedPartition): void {
    let all = this.#byOwner.get(owner)
    if (all === undefined) this.#byOwner.set(owner, (all = new Set()))
    all.add(attached)
    this.#ownerOf.set(attached, owner)
  }

  /** True for one that is attached to another. */
  has(partition: OwnedPartition): boolean {
    return this.#ownerOf.has(partition)
  }

  of(owner: OwnedPartition): readonly OwnedPartition[] {
    return [...(this.#byOwner.get(owner) ?? [])]
  }

  /** These, each with those that are attached to it; none twice. */
  with(partitions: readonly OwnedPartition[]): readonly OwnedPartition[] {
    if (this.#ownerOf.size === 0) return partitions
    return [...new Set(partitions.flatMap((owned) => [owned, ...this.of(owned)]))]
  }

  /** It has gone, as one or the other. */
  delete(partition: OwnedPartition): void {
    for (const attached of this.of(partition)) this.#ownerOf.delete(attached)
    this.#byOwner.delete(partition)
    const owner = this.#ownerOf.get(partition)
    if (owner !== undefined) this.#byOwner.get(owner)?.delete(partition)
    this.#ownerOf.delete(partition)
  }
}

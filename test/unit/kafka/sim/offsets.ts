/** A committed offset. */
export interface Committed {
  readonly offset: number
  readonly leaderEpoch: number
  readonly metadata: string | null
}

/** The offsets of one group, those of open transactions apart. */
export class GroupOffsets {
  readonly #committed = new Map<string, Committed>()
  readonly #pending = new Map<bigint, Map<string, Committed>>()

  get(topic: string, partition: number): Committed | undefined {
    return this.#committed.get(keyOf(topic, partition))
  }

  entries(): readonly (readonly [topic: string, partition: number])[] {
    return [...this.#committed.keys()].map((key) => {
      const at = key.lastIndexOf('/')
      return [key.slice(0, at), Number(key.slice(at + 1))]
    })
  }

  commit(topic: string, partition: number, committed: Committed): void {
    this.#committed.set(keyOf(topic, partition), committed)
  }

  /** Counts once the transaction of the producer is committed. */
  commitLater(producerId: bigint, topic: string, partition: number, committed: Committed): void {
    let pending = this.#pending.get(producerId)
    if (pending === undefined) this.#pending.set(producerId, (pending = new Map()))
    pending.set(keyOf(topic, partition), committed)
  }

  /** A transaction has an offset here that may still change. */
  isUnstable(topic: string, partition: number): boolean {
    return [...this.#pending.values()].some((pending) => pending.has(keyOf(topic, partition)))
  }

  endTransaction(producerId: bigint, isCommit: boolean): void {
    const pending = this.#pending.get(producerId)
    this.#pending.delete(producerId)
    if (isCommit) for (const [key, committed] of pending ?? []) this.#committed.set(key, committed)
  }

  /** As after `offsets.retention.minutes`, or with its topic. */
  expire(topic?: string): void {
    for (const key of this.#committed.keys()) {
      if (topic === undefined || key.startsWith(`${topic}/`)) this.#committed.delete(key)
    }
  }
}

function keyOf(topic: string, partition: number): string {
  return `${topic}/${partition}`
}

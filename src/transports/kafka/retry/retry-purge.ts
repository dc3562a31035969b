import type { Timer } from '../../../core/clock.ts'
import type { KafkaContext } from '../context.ts'
import { isAuthorization } from '../errors.ts'
import type { Partition } from '../partitions/partition.ts'

/** How often what was handled is deleted: a retry topic has no other retention. */
const PURGE_MS = 60_000

/** Deletes from the partitions of retry topics what their groups have behind them. */
export class RetryPurge {
  readonly #context: KafkaContext
  /** Up to where each is deleted. */
  readonly #deleted = new Map<Partition, number>()
  #timer: Timer | undefined
  #isClosed = false

  constructor(context: KafkaContext) {
    this.#context = context
  }

  /** Those that are ours. */
  get partitions(): readonly Partition[] {
    return [...this.#deleted.keys()].filter(({ mine }) => mine)
  }

  /** It is read from now on. */
  add(partition: Partition): void {
    this.#deleted.set(partition, partition.to)
    this.#arm()
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
  }

  #arm(): void {
    if (this.#isClosed) return
    this.#timer ??= this.#context.host.clock.setTimer(PURGE_MS, () => void this.#purge())
  }

  async #purge(): Promise<void> {
    const topics = new Map<string, Record<number, number>>()
    for (const [partition, deleted] of this.#deleted) {
      const { mine, topic, index, storedFloor } = partition
      if (!mine) this.#deleted.delete(partition)
      else if (storedFloor > deleted) topics.set(topic, { ...topics.get(topic), [index]: storedFloor })
    }
    for (const [topic, offsets] of topics) await this.#delete(topic, offsets)
    this.#timer = undefined
    if (this.#deleted.size > 0) this.#arm()
  }

  async #delete(topic: string, offsets: Readonly<Record<number, number>>): Promise<void> {
    const { client, reports } = this.#context
    try {
      await client.admin().records.deleteBefore(topic, offsets)
      for (const [partition, deleted] of this.#deleted) {
        const offset = partition.topic === topic ? offsets[partition.index] : undefined
        if (offset !== undefined) this.#deleted.set(partition, Math.max(deleted, offset))
      }
    } catch (error) {
      if (this.#isClosed) return
      if (!isAuthorization(error)) return reports.error(error, `deleting what was handled from "${topic}"`)
      reports.warnOnce(
        'retry-topic-grows',
        `what was handled can't be deleted from "${topic}": an ACL must allow Delete on it`,
      )
    }
  }
}

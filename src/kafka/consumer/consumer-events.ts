import type { TopicPartition } from './partition-set.ts'
import { kindOf, listed, OptionsReader } from '../options-reader.ts'
import type { LossReason } from './group-machine.ts'

/** Events of {@link Consumer.on}, and what listeners are called with. */
export interface ConsumerEvents {
  /** The consumer got these partitions. */
  readonly assigned: (partitions: readonly TopicPartition[]) => void
  /**
   * These partitions are about to move to another member. They deliver nothing more; what is finished within
   * `deadlineMs` is committed. The consumer waits for the listener, for at most that time.
   */
  readonly revoking: (
    partitions: readonly TopicPartition[],
    options: { readonly deadlineMs: number },
  ) => void | Promise<void>
  /**
   * These partitions were lost without warning: other members may already be working on them. `recreated`: the topic
   * was deleted and recreated; `assigned` follows for the partitions of the new one.
   */
  readonly lost: (partitions: readonly TopicPartition[], reason: LossReason | 'recreated') => void
  /**
   * Records that were read are no longer in the log. Reading continues at `to`, with the records that replaced them
   * (KIP-320).
   */
  readonly truncated: (partition: TopicPartition, offsets: { readonly from: number; readonly to: number }) => void
  /** Nothing is left to deliver before `to`: transaction markers, aborted records, or records removed by compaction. */
  readonly passed: (partition: TopicPartition, offsets: { readonly to: number }) => void
  /**
   * The log did not have the offset `from`, so reading continues at `to`. If `to` is larger, the records between them
   * were missed.
   */
  readonly reset: (partition: TopicPartition, offsets: { readonly from: number; readonly to: number }) => void
}

/** Names of events of a consumer. */
export type ConsumerEventName = keyof ConsumerEvents

/** Listeners of one consumer. */
export class ConsumerListeners {
  readonly #listeners: { [N in ConsumerEventName]: Set<ConsumerEvents[N]> } = {
    assigned: new Set(),
    revoking: new Set(),
    lost: new Set(),
    truncated: new Set(),
    reset: new Set(),
    passed: new Set(),
  }

  /** `first` are called before those of users. */
  constructor(first: Partial<ConsumerEvents> = {}) {
    for (const [name, listener] of Object.entries(first)) {
      this.add(name as ConsumerEventName, listener)
    }
  }

  add<N extends ConsumerEventName>(name: N, listener: ConsumerEvents[N]): () => void {
    const reader = new OptionsReader('on', { name, listener }, { names: ['name', 'listener'] })
    const names = Object.keys(this.#listeners)
    if (!reader.has('name')) reader.problem('name', `is ${kindOf(name)}: give ${listed(names)}`)
    reader.oneOf('name', names, name)
    if (typeof listener !== 'function') reader.problem('listener', `is ${kindOf(listener)}: give a function`)
    reader.done()
    this.#listeners[name].add(listener)
    return () => this.#listeners[name].delete(listener)
  }

  /** What listeners return or throw; a listener that throws does not keep the others from being called. */
  async emit<N extends ConsumerEventName>(name: N, ...values: Parameters<ConsumerEvents[N]>): Promise<void> {
    const results = [...this.#listeners[name]].map(async (listener) => {
      await (listener as (...values: unknown[]) => unknown)(...values)
    })
    const ended = await Promise.allSettled(results)
    for (const each of ended) if (each.status === 'rejected') throw each.reason
  }
}

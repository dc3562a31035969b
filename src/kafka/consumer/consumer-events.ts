import type { TopicPartition } from './partition-set.ts'
import { kindOf, listed, OptionsReader } from '../options-reader.ts'
import type { LossReason } from './group-machine.ts'

/** What {@link Consumer.on} listens to, and with what listeners are called. */
export interface ConsumerEvents {
  /** Partitions that are read from now on. */
  readonly assigned: (partitions: readonly TopicPartition[]) => void
  /**
   * Partitions are about to go to another member. Nothing of them is delivered any more; what is finished within `deadlineMs` is
   * committed. It is waited for, until then.
   */
  readonly revoking: (
    partitions: readonly TopicPartition[],
    options: { readonly deadlineMs: number },
  ) => void | Promise<void>
  /** Partitions are gone, without warning: others may work on them already. `recreated`: their topic has been made again. */
  readonly lost: (partitions: readonly TopicPartition[], reason: LossReason | 'recreated') => void
  /** Records that were read are no longer in the log; reading continues at `to`, with those that have taken their place (KIP-320). */
  readonly truncated: (partition: TopicPartition, offsets: { readonly from: number; readonly to: number }) => void
  /** Nothing is left to be delivered before `to`: markers of transactions, aborted records, or what compaction has removed. */
  readonly passed: (partition: TopicPartition, offsets: { readonly to: number }) => void
  /** The log did not have the offset `from`; reading continues at `to`. What is between them, if `to` is larger, was missed. */
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

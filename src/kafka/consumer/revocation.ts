import type { CloseDeadline } from '../close-deadline.ts'
import type { Clock } from '../network/clock.ts'
import type { Delivery } from './delivery.ts'
import type { OwnedPartition } from './owned-partition.ts'
import type { TopicPartition } from './partition-set.ts'

export interface RevocationOptions {
  readonly clock: Clock
  readonly timeoutMs: number
  readonly autoCommit: boolean
  readonly delivery: Delivery
  /** Listeners of users. */
  readonly announce: (partitions: readonly TopicPartition[], options: { readonly deadlineMs: number }) => Promise<void>
  /** The promises reject if a partition is lost, or its commit refused. */
  readonly commit: (partitions: readonly OwnedPartition[]) => readonly Promise<void>[]
  readonly remove: (owned: OwnedPartition) => void
}

/** Takes partitions away in good order: nothing more is delivered, what runs may finish, what is finished is committed. All within a bound. */
export class Revocation {
  readonly #options: RevocationOptions
  readonly #waiting = new Map<OwnedPartition, PromiseWithResolvers<void>>()

  constructor(options: RevocationOptions) {
    this.#options = options
  }

  /** Resolves when they are removed. */
  async run(revoked: readonly OwnedPartition[], limit?: CloseDeadline): Promise<void> {
    if (revoked.length === 0) return
    const { clock, timeoutMs, autoCommit, delivery, announce, commit, remove } = this.#options
    const deadlineMs = Math.min(timeoutMs, limit?.leftMs ?? Infinity)
    for (const owned of revoked) {
      owned.fetch.stop()
      delivery.takeBack(owned)
      delivery.drop(owned)
    }
    const partitions = revoked.map(({ topic, partition }) => ({ topic, partition }))
    const late = Promise.withResolvers<void>()
    const cancel = clock.setTimer(late.resolve, deadlineMs)
    void limit?.passed.then(late.resolve)
    const work = Promise.all([announce(partitions, { deadlineMs }), ...revoked.map((each) => this.#untilIdle(each))])
    await Promise.race([work, late.promise])
    if (autoCommit) {
      // A commit that is refused was reported; the next owner repeats what was not committed.
      const commits = commit(revoked).map((each) => each.catch(() => {}))
      await Promise.race([Promise.all(commits), late.promise])
    }
    cancel()
    for (const owned of revoked) remove(owned)
  }

  /** Nobody is at work on it any more, or what is done is of no use. */
  idle(owned: OwnedPartition): void {
    this.#waiting.get(owned)?.resolve()
    this.#waiting.delete(owned)
  }

  async #untilIdle(owned: OwnedPartition): Promise<void> {
    // A handler that calls `close` is counted when it has returned its promise.
    await Promise.resolve()
    if (owned.isOver || owned.prefix.isAtRest) return
    const waiting = this.#waiting.get(owned) ?? Promise.withResolvers<void>()
    this.#waiting.set(owned, waiting)
    await waiting.promise
  }
}

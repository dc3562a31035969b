/** Counters since the consumer was created, and current gauges. */
export interface ConsumerStats {
  readonly received: number
  readonly handled: number
  readonly failed: number
  readonly acked: number
  readonly retried: number
  readonly deadLettered: number
  readonly dropped: number
  readonly released: number
  readonly lost: number
  readonly settleFailed: number
  readonly doubleSettled: number
  readonly abandoned: number
  /**
   * Messages that were acked without a handler, because they are none of the events of the consumer (see `defineEvents`) or do not
   * match its `where`.
   */
  readonly skipped: number
  /** Handlers (or batches) running now. */
  readonly running: number
  /** Messages in this process that no handler has yet, including those that wait for a retry. */
  readonly buffered: number
  /** Unsettled messages in this process, including those with a handler. Never more than `prefetch`. */
  readonly unsettled: number
  readonly bufferedBytes: number
}

/** Counters of one consumer, updated in place on the hot path. */
export class ConsumerCounters {
  received = 0
  handled = 0
  failed = 0
  acked = 0
  retried = 0
  deadLettered = 0
  dropped = 0
  released = 0
  lost = 0
  settleFailed = 0
  doubleSettled = 0
  abandoned = 0
  skipped = 0

  snapshot(gauges: Pick<ConsumerStats, 'running' | 'buffered' | 'unsettled' | 'bufferedBytes'>): ConsumerStats {
    const {
      received,
      handled,
      failed,
      acked,
      retried,
      deadLettered,
      dropped,
      released,
      lost,
      settleFailed,
      doubleSettled,
      abandoned,
      skipped,
    } = this
    return {
      received,
      handled,
      failed,
      acked,
      retried,
      deadLettered,
      dropped,
      released,
      lost,
      settleFailed,
      doubleSettled,
      abandoned,
      skipped,
      ...gauges,
    }
  }
}

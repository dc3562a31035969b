import type { ConsumerStats } from './bus-types.ts'

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
      ...gauges,
    }
  }
}

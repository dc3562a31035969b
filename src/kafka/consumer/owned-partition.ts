import type { FetchPartition } from './fetch/fetch-partition.ts'
import { FinishedPrefix } from './offsets/finished-prefix.ts'
import type { OwnershipSpan } from './offsets/commit-pipeline.ts'

/** A partition from the moment in which this consumer gets it until it is taken away: what is delivered and finished of it. */
export class OwnedPartition implements OwnershipSpan {
  readonly topic: string
  readonly partition: number
  readonly fetch: FetchPartition
  /** What is finished; nothing is committed while its offset is -1, because reading has not begun. */
  readonly prefix: FinishedPrefix = new FinishedPrefix(-1, -1)
  /** Where reading began, or began again after a seek, a reset or a truncation. */
  startOffset = -1
  /** How often reading has begun: what was delivered before commits nothing any more. */
  starts = 0
  /** Behind the last record that was delivered. */
  deliveredOffset = -1
  deliveredEpoch = -1
  /** The last record with which a handler has begun; -1 if none has. */
  begunOffset = -1
  /** What is finished has moved since the last commit. */
  mustCommit = false
  /** Nothing of it counts any more. */
  isOver = false

  constructor(fetch: FetchPartition) {
    this.fetch = fetch
    this.topic = fetch.topic
    this.partition = fetch.partition
  }

  /** Continues reading there, without waiting for what was delivered before. */
  moveTo(offset: number, lastEpoch: number): void {
    this.prefix.moveTo(offset, lastEpoch)
    this.startOffset = offset
    this.starts++
    this.deliveredOffset = offset
    this.deliveredEpoch = lastEpoch
    this.begunOffset = -1
  }
}

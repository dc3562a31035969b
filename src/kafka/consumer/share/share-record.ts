import type { KafkaRecord } from '../../records/record.ts'
import type { Verdict } from './share-session.ts'

/** What a record needs of the consumer that has acquired it. */
export interface ShareRecordOwner {
  /** False if it comes too late. */
  decide(record: ShareRecord, verdict: Verdict): boolean
}

/**
 * A record that this consumer has acquired: until its lock expires, no other member of the group gets it. Give it a
 * verdict, once; until then, its lock is renewed.
 */
export class ShareRecord {
  readonly record: KafkaRecord
  readonly topic: string
  readonly topicId: string
  readonly partition: number
  /** How often the group has acquired it, including this time. */
  readonly deliveryCount: number
  /** Of the session in which it was acquired. */
  readonly generation: number
  readonly #owner: ShareRecordOwner
  /** When its lock expires and another member may get it, unless the lock is renewed. */
  lockEndsAt: number
  #verdict: Verdict | undefined

  /** @internal */
  constructor(
    record: KafkaRecord,
    place: { readonly topic: string; readonly topicId: string; readonly partition: number },
    acquired: { readonly deliveryCount: number; readonly generation: number; readonly lockEndsAt: number },
    owner: ShareRecordOwner,
  ) {
    this.record = record
    this.topic = place.topic
    this.topicId = place.topicId
    this.partition = place.partition
    this.deliveryCount = acquired.deliveryCount
    this.generation = acquired.generation
    this.lockEndsAt = acquired.lockEndsAt
    this.#owner = owner
  }

  /** Its place in the partition. */
  get offset(): number {
    return this.record.offset
  }

  /** What it was given; undefined if nothing yet. */
  get verdict(): Verdict | undefined {
    return this.#verdict
  }

  /**
   * It is done. False if it is too late: it already has a verdict, or its lock has expired and it will be delivered
   * again.
   */
  accept(): boolean {
    return this.#decide('accept')
  }

  /** Deliver it again, to any member. */
  release(): boolean {
    return this.#decide('release')
  }

  /** It can't be handled; don't deliver it again. */
  reject(): boolean {
    return this.#decide('reject')
  }

  #decide(verdict: Verdict): boolean {
    if (this.#verdict !== undefined) return false
    this.#verdict = verdict
    return this.#owner.decide(this, verdict)
  }
}

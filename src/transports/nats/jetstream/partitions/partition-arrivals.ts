import { early } from '../../../../core/partitions/attempt-state.ts'
import { PartitionDelivery } from '../../../../core/partitions/partition-delivery.ts'
import { compilePattern } from '../../../../core/topic.ts'
import type { Incoming } from '../../connection/incoming.ts'
import type { Session } from '../../connection/session.ts'
import type { Mapping, Unsaid } from '../../wire/mapping.ts'
import type { Subjects } from '../../wire/subjects.ts'
import type { AckReply } from '../consume/ack-reply.ts'
import type { Partition } from './partition.ts'

/** Maximum number of subjects whose partition is remembered. */
const MAX_PLACES = 10_000

interface Place {
  readonly partition: Partition
  readonly topic: string
}

export interface PartitionArrivalsHost {
  readonly session: Session
  readonly mapping: Mapping
  readonly subjects: Subjects
  /** The topic or pattern that is read. */
  readonly topic: string
  readonly group: string
  readonly stream: string
  readonly partitions: readonly Partition[]
  /** The partition of a subject's second token; empty when there is one partition for all. */
  readonly byToken: ReadonlyMap<string, Partition>
  changedIn(partition: Partition): void
  wake(): void
}

/** Puts what the readers receive into its partition. */
export class PartitionArrivals {
  readonly #host: PartitionArrivalsHost
  readonly #matches: (topic: string) => boolean
  readonly #places = new Map<string, Place | undefined>()
  #lastSubject = ''
  #lastPlace: Place | undefined
  #reply: AckReply | undefined
  readonly #unsaid: Unsaid

  constructor(host: PartitionArrivalsHost) {
    this.#host = host
    this.#matches = compilePattern(host.topic)
    this.#unsaid = {
      id: () => `${host.stream}-${this.#reply?.seq ?? 0}`,
      time: () => this.#reply?.time ?? 0,
    }
  }

  /** `isForOthers`: the reader does not read this partition any more. */
  read(native: Incoming, reply: AckReply, isForOthers: (partition: Partition) => boolean): void {
    const place = native.subject === this.#lastSubject ? this.#lastPlace : this.#placeOf(native.subject)
    if (place === undefined) return
    const { partition, topic } = place
    // While it is fresh, what comes was requested before it came to us, and is not what comes next.
    if (!partition.mine || partition.leaving || partition.isFresh) return
    const { seq } = reply
    if (isForOthers(partition)) {
      if (seq > partition.droppedTo) partition.droppedTo = seq
      return
    }
    const known = partition.arrived(seq)
    if (known === undefined) return
    const { mapping, session, group: own } = this.#host
    this.#reply = reply
    const { message, group, deliverAt } = mapping.decode(native, topic, this.#unsaid)
    if (group !== undefined && group !== own) {
      // A redrive for another group.
      if (partition.buffer.length === 0) {
        partition.passed()
        this.#host.changedIn(partition)
      }
      return
    }
    const isEarly = deliverAt !== undefined && known.notBefore === undefined && deliverAt > session.host.clock.now()
    partition.push(
      new PartitionDelivery(
        partition,
        message,
        seq,
        partition.ordinal,
        native.size,
        isEarly ? early(known, deliverAt) : known,
        native.subject,
      ),
    )
    this.#host.wake()
  }

  #placeOf(subject: string): Place | undefined {
    let place = this.#places.get(subject)
    if (place === undefined && !this.#places.has(subject)) {
      place = this.#findPlace(subject)
      if (this.#places.size >= MAX_PLACES) this.#places.clear()
      this.#places.set(subject, place)
    }
    this.#lastSubject = subject
    this.#lastPlace = place
    return place
  }

  #findPlace(subject: string): Place | undefined {
    const { subjects, byToken, partitions } = this.#host
    const topic = subjects.topicOf(subject)
    // Before 2.10 a consumer of a pattern reads more than that.
    if (!this.#matches(topic)) return undefined
    const partition = byToken.size === 0 ? partitions[0] : byToken.get(subjects.tokenOf(subject))
    return partition === undefined ? undefined : { partition, topic }
  }
}

import type { PartitionInfo } from '../transport.ts'

/**
 * How many looks in a row must find it. A partition that flows may show waiting messages and none in flight at one moment, and
 * its position may wait for one message that is retried later.
 */
const LOOKS = 5

/** What a look at the partitions found. */
export interface PartitionLook {
  /** Some partition may stand still: look again soon. */
  readonly isSuspicious: boolean
  /** Describes a partition that stands still for certain. */
  readonly reason: string | undefined
}

interface Sighting {
  readonly position: string
  readonly lag: number
  readonly looks: number
}

/**
 * Finds partitions that stand still: they have messages to deliver, none is being handled, and the position of the group does
 * not move. Only those that belong to this member, or to none: other members look after theirs.
 */
export class PartitionWatch {
  readonly #consumerId: string
  #seen: ReadonlyMap<string, Sighting> = new Map()

  constructor(consumerId: string) {
    this.#consumerId = consumerId
  }

  look(partitions: readonly PartitionInfo[]): PartitionLook {
    const found = partitions.filter((info) => this.#mayStandStill(info))
    const seen = new Map<string, Sighting>()
    for (const info of found) {
      const sighting = { position: JSON.stringify(info.position) ?? '', lag: info.lag ?? 0 }
      const before = this.#seen.get(info.partition)
      const isSame = before !== undefined && before.position === sighting.position && before.lag <= sighting.lag
      seen.set(info.partition, { ...sighting, looks: isSame ? before.looks + 1 : 1 })
    }
    this.#seen = seen
    const still = found.filter(({ partition }) => (seen.get(partition)?.looks ?? 0) >= LOOKS)
    return { isSuspicious: found.length > 0, reason: describeStill(still) }
  }

  /** A broker without a log has no positions, so that nothing shows whether a partition advances. */
  #mayStandStill(info: PartitionInfo): boolean {
    const { head, inFlight, member } = info
    if (member !== undefined && member !== this.#consumerId) return false
    return head !== undefined && inFlight === 0 && waitingIn(info) > 0
  }
}

function describeStill(still: readonly PartitionInfo[]): string | undefined {
  const [first] = still
  if (first === undefined) return undefined
  const who = first.member === undefined ? 'no member serves it' : 'this member takes none of them'
  const more = still.length > 1 ? `; ${still.length - 1} more partitions stand still` : ''
  return `partition "${first.partition}" does not advance: ${waitingIn(first)} messages wait, and ${who}${more}`
}

function waitingIn({ ready, lag }: PartitionInfo): number {
  return ready ?? lag ?? 0
}

import type { SimClock } from './clock.ts'
import { CODE } from './codes.ts'
import { SharePartitionState } from './share-partition.ts'
import type { Answer, Asked } from './wire.ts'

interface Member {
  readonly id: string
  epoch: number
  topics: readonly string[]
  /** As it was told last; undefined: not yet. */
  told: string | undefined
  cancelSession: () => void
}

export interface ShareGroupContext {
  readonly clock: SimClock
  readonly topics: () => readonly { readonly name: string; readonly id: string; readonly partitions: number }[]
}

const SESSION_MS = 45_000
const HEARTBEAT_MS = 5_000

/** A share group as its coordinator has it: every partition has a member, and every member a partition, shared or not. */
export class ShareGroup {
  readonly #context: ShareGroupContext
  readonly #members = new Map<string, Member>()
  readonly #partitions = new Map<string, SharePartitionState>()
  #epoch = 0
  lockMs = 30_000
  deliveryLimit = 5

  constructor(context: ShareGroupContext) {
    this.#context = context
  }

  get members(): readonly string[] {
    return [...this.#members.keys()]
  }

  /** What is known of a partition, whichever broker leads it. */
  partition(topicId: string, index: number): SharePartitionState {
    const key = `${topicId}/${index}`
    let state = this.#partitions.get(key)
    if (state === undefined)
      this.#partitions.set(key, (state = new SharePartitionState(this.lockMs, this.deliveryLimit)))
    return state
  }

  /** Gives up a member, as if it had been silent. */
  fence(memberId: string): void {
    const member = this.#members.get(memberId)
    member?.cancelSession()
    if (this.#members.delete(memberId)) this.#epoch++
  }

  heartbeat({
    memberId,
    memberEpoch,
    subscribedTopicNames,
  }: Asked<'ShareGroupHeartbeat'>): Answer<'ShareGroupHeartbeat'> {
    if (memberEpoch === -1) {
      if (!this.#members.has(memberId)) return { errorCode: CODE.UNKNOWN_MEMBER_ID }
      this.fence(memberId)
      return { errorCode: 0, memberId, memberEpoch }
    }
    const member = this.#members.get(memberId) ?? (memberEpoch === 0 ? this.#join(memberId) : undefined)
    if (member === undefined) return { errorCode: CODE.UNKNOWN_MEMBER_ID }
    if (memberEpoch > member.epoch) return { errorCode: CODE.FENCED_MEMBER_EPOCH }
    member.cancelSession()
    member.cancelSession = this.#context.clock.setTimer(() => this.fence(memberId), SESSION_MS)
    if (subscribedTopicNames !== null && subscribedTopicNames.join() !== member.topics.join()) {
      member.topics = subscribedTopicNames
      this.#epoch++
    }
    const assigned = this.#assignedTo(member)
    member.epoch = Math.max(1, this.#epoch)
    const isNew = member.told !== assigned.join() || memberEpoch === 0 || subscribedTopicNames !== null
    member.told = assigned.join()
    const assignment = isNew ? { topicPartitions: byTopic(assigned) } : null
    return { errorCode: 0, memberId, memberEpoch: member.epoch, heartbeatIntervalMs: HEARTBEAT_MS, assignment }
  }

  #join(id: string): Member {
    const member: Member = { id, epoch: 0, topics: [], told: undefined, cancelSession: () => {} }
    this.#members.set(id, member)
    this.#epoch++
    return member
  }

  #assignedTo(member: Member): readonly string[] {
    const members = [...this.#members.keys()]
    const place = members.indexOf(member.id)
    const mine: string[] = []
    for (const { name, id, partitions } of this.#context.topics()) {
      if (!member.topics.includes(name)) continue
      for (let index = 0; index < partitions; index++) {
        const isMine = index % members.length === place || index === place % partitions
        if (isMine) mine.push(`${id}/${index}`)
      }
    }
    return mine
  }
}

function byTopic(keys: readonly string[]): readonly { topicId: string; partitions: number[] }[] {
  const groups = Map.groupBy(keys, (key) => key.split('/')[0] as string)
  return [...groups].map(([topicId, group]) => ({
    topicId,
    partitions: group.map((key) => Number(key.split('/')[1])),
  }))
}

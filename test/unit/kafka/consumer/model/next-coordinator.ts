import { stickyAssignor } from '../../../../../src/kafka/consumer/assignors/sticky.ts'
import type { TopicInfos } from '../../../../../src/kafka/consumer/assignors/assignor.ts'
import { CODE } from '../../../../../src/kafka/consumer/group-errors.ts'
import type { NextAnswer, NextRequest } from '../../../../../src/kafka/consumer/next/next-member.ts'
import type { CommitRequest } from '../../../../../src/kafka/consumer/offsets/commit-pipeline.ts'
import { PartitionSet } from '../../../../../src/kafka/consumer/partition-set.ts'
import { Checks } from './checks.ts'
import type { World } from './world.ts'

interface Member {
  readonly instanceId: string | null
  epoch: number
  previousEpoch: number
  assigned: PartitionSet
  revoking: PartitionSet
  deadline: number
  revokeBy: number
  hasLeft: boolean
}

const SESSION_MS = 45_000
const REBALANCE_MS = 60_000

/** A coordinator of one KIP-848 group, as Kafka's behaves. Topic ids are the topics' names. */
export class NextCoordinator {
  readonly #world: World
  readonly #topics: TopicInfos
  readonly members: Map<string, Member> = new Map()
  readonly committed: Map<string, number> = new Map()
  onCommit: (memberId: string, topic: string, partition: number, offset: number) => void = () => {}
  #target = new Map<string, PartitionSet>()
  #epoch = 1

  constructor(world: World, topics: TopicInfos) {
    this.#world = world
    this.#topics = topics
  }

  /** How often the target has changed. */
  get rebalances(): number {
    return this.#epoch
  }

  heartbeat(request: NextRequest, instanceId: string | null): NextAnswer {
    const { memberId, memberEpoch, owned } = request
    if (memberEpoch === 0) {
      const code = this.#join(memberId, instanceId)
      if (code !== CODE.none) return refusal(code)
    }
    const member = this.members.get(memberId)
    if (member === undefined || member.hasLeft) return refusal(CODE.unknownMember)
    if (member.instanceId !== instanceId) return refusal(CODE.fencedInstance)
    const isRetry =
      memberEpoch === member.previousEpoch && owned !== undefined && owned.minus(member.assigned).size === 0
    if (memberEpoch !== 0 && memberEpoch !== member.epoch && !isRetry) return refusal(CODE.fencedMemberEpoch)
    member.deadline = this.#world.now + SESSION_MS
    const before = member.assigned
    this.#reconcile(memberId, member, owned)
    const isChanged = !before.equals(member.assigned) || request.isFull || memberEpoch !== member.epoch
    return {
      errorCode: CODE.none,
      errorMessage: null,
      memberId,
      memberEpoch: member.epoch,
      heartbeatIntervalMs: 3_000,
      assignment: isChanged ? member.assigned : undefined,
    }
  }

  leave(memberId: string, epoch: number): void {
    const member = this.members.get(memberId)
    if (member === undefined) return
    // A static member keeps what it has until its session ends.
    if (epoch === -2) member.hasLeft = true
    else this.#remove(memberId)
  }

  commit({ identity, entries }: CommitRequest): number {
    const member = this.members.get(identity.memberId)
    if (member === undefined) return CODE.unknownMember
    if (member.epoch !== identity.epoch) return CODE.staleMemberEpoch
    for (const { span, commit } of entries) {
      this.onCommit(identity.memberId, span.topic, span.partition, commit.offset)
      this.committed.set(Checks.key(span), commit.offset)
    }
    return CODE.none
  }

  tick(): void {
    const { now } = this.#world
    for (const [id, { deadline, revokeBy }] of this.members) {
      if (now >= deadline || now >= revokeBy) this.#remove(id)
    }
  }

  #join(memberId: string, instanceId: string | null): number {
    const known = this.members.get(memberId)
    if (known !== undefined && !known.hasLeft) {
      known.previousEpoch = 0
      return CODE.none
    }
    const former = [...this.members].find(([, each]) => instanceId !== null && each.instanceId === instanceId)
    if (former !== undefined) {
      const [formerId, member] = former
      if (!member.hasLeft) return CODE.unreleasedInstance
      this.members.delete(formerId)
      member.hasLeft = false
      this.members.set(memberId, member)
      const target = this.#target.get(formerId)
      this.#target.delete(formerId)
      if (target !== undefined) this.#target.set(memberId, target)
      member.revoking = new PartitionSet()
      member.revokeBy = Infinity
      return CODE.none
    }
    this.members.set(memberId, {
      instanceId,
      epoch: 0,
      previousEpoch: -1,
      assigned: new PartitionSet(),
      revoking: new PartitionSet(),
      deadline: this.#world.now + SESSION_MS,
      revokeBy: Infinity,
      hasLeft: false,
    })
    this.#retarget()
    return CODE.none
  }

  #remove(memberId: string): void {
    this.members.delete(memberId)
    this.#retarget()
  }

  #retarget(): void {
    this.#epoch++
    const members = [...this.members].map(([id, { instanceId, assigned }]) => {
      return { id, instanceId, topics: [...this.#topics.keys()], rack: null, owned: assigned.toTopics(), generation: 1 }
    })
    this.#target = new Map(stickyAssignor.assign(members, this.#topics))
  }

  /** Brings what a member has closer to what it is to have. */
  #reconcile(id: string, member: Member, owned: PartitionSet | undefined): void {
    if (member.revoking.size > 0) {
      const isReleased =
        owned !== undefined && [...member.revoking].every((each) => !owned.has(each.topic, each.partition))
      if (!isReleased) return
      member.revoking = new PartitionSet()
      member.revokeBy = Infinity
    }
    const target = this.#target.get(id) ?? new PartitionSet()
    const revoked = member.assigned.minus(target)
    const kept = member.assigned.minus(revoked)
    if (revoked.size > 0 && owned?.minus(kept).size !== 0) {
      member.assigned = kept
      member.revoking = revoked
      member.revokeBy = this.#world.now + REBALANCE_MS
      return
    }
    const free = [...target].filter(({ topic, partition }) => !this.#isTaken(id, topic, partition))
    member.assigned = new PartitionSet([...kept, ...free])
    if (member.epoch === this.#epoch) return
    member.previousEpoch = member.epoch
    member.epoch = this.#epoch
  }

  #isTaken(by: string, topic: string, partition: number): boolean {
    for (const [id, { assigned, revoking }] of this.members) {
      if (id !== by && (assigned.has(topic, partition) || revoking.has(topic, partition))) return true
    }
    return false
  }
}

function refusal(errorCode: number): NextAnswer {
  return {
    errorCode,
    errorMessage: null,
    memberId: null,
    memberEpoch: 0,
    heartbeatIntervalMs: 3_000,
    assignment: undefined,
  }
}

import { CODE } from './codes.ts'
import type { SimClock } from './clock.ts'
import { assignUniformly } from './uniform-assignor.ts'
import type { Answer, Asked } from './wire.ts'

type HeartbeatAnswer = Answer<'ConsumerGroupHeartbeat'>

interface Member {
  readonly id: string
  readonly instanceId: string | null
  epoch: number
  formerEpoch: number
  topics: readonly string[]
  pattern: string | null
  /** What it may have, by topic id and partition. */
  assigned: ReadonlySet<string>
  /** What it must give up before its epoch goes on. */
  revoking: ReadonlySet<string>
  rebalanceMs: number
  cancelSession: () => void
  cancelRevocation: (() => void) | undefined
}

export interface ConsumerGroupContext {
  readonly clock: SimClock
  /** Topics that exist: names, ids, and how many partitions. */
  readonly topics: () => readonly { readonly name: string; readonly id: string; readonly partitions: number }[]
  readonly random: () => string
}

const NOTHING: ReadonlySet<string> = new Set()

/** A group of KIP-848, as its coordinator has it: it assigns, and reconciles each member with the target step by step. */
export class ConsumerGroup {
  readonly #context: ConsumerGroupContext
  readonly #members = new Map<string, Member>()
  #target = new Map<string, ReadonlySet<string>>()
  #epoch = 0
  #shape = ''
  sessionMs = 45_000
  heartbeatMs = 5_000

  constructor(context: ConsumerGroupContext) {
    this.#context = context
  }

  get epoch(): number {
    return this.#epoch
  }

  get members(): readonly string[] {
    return [...this.#members.keys()]
  }

  /** What a member has now, as `id/partition`. */
  assignedTo(memberId: string): ReadonlySet<string> {
    return this.#members.get(memberId)?.assigned ?? NOTHING
  }

  heartbeat(request: Asked<'ConsumerGroupHeartbeat'>): HeartbeatAnswer {
    const { memberId, memberEpoch } = request
    if (memberEpoch < 0) return this.#leave(request)
    const member = memberEpoch === 0 ? this.#join(request) : this.#members.get(memberId)
    if (member === undefined) return refused(CODE.UNKNOWN_MEMBER_ID)
    if (typeof member === 'number') return refused(member)
    if (memberEpoch !== 0 && memberEpoch !== member.epoch) {
      // The answer with its new epoch was lost; it still has only what it may have.
      const isBehind = memberEpoch === member.formerEpoch && owns(request, member.assigned)
      if (!isBehind) return refused(CODE.FENCED_MEMBER_EPOCH)
    }
    this.#seen(member)
    const before = member.assigned
    this.#subscribe(member, request)
    this.#updateTarget()
    this.#reconcile(member, request)
    // A full request is answered in full.
    const isFull = memberEpoch === 0 || request.subscribedTopicNames !== null || memberEpoch !== member.epoch
    return {
      errorCode: 0,
      memberId: member.id,
      memberEpoch: member.epoch,
      heartbeatIntervalMs: this.heartbeatMs,
      assignment: isFull || member.assigned !== before ? { topicPartitions: byTopic(member.assigned) } : null,
    }
  }

  /** Whether an offset may be committed or asked for with this member and epoch. */
  check(memberId: string, epoch: number): number {
    if (epoch < 0 && this.#members.size === 0) return 0
    const member = this.#members.get(memberId)
    if (member === undefined) return CODE.UNKNOWN_MEMBER_ID
    return epoch === member.epoch ? 0 : CODE.STALE_MEMBER_EPOCH
  }

  /** Gives up a member, as if it had been silent. */
  fence(memberId: string): void {
    const member = this.#members.get(memberId)
    if (member !== undefined) this.#remove(member)
  }

  #join(request: Asked<'ConsumerGroupHeartbeat'>): Member | number {
    const { memberId, instanceId, rebalanceTimeoutMs } = request
    const id = memberId === '' ? this.#context.random() : memberId
    const same = instanceId === null ? undefined : this.#static(instanceId)
    if (same !== undefined && same.id !== id) {
      // Only one that has left for a moment can be replaced.
      if (same.epoch !== -2) return CODE.UNRELEASED_INSTANCE_ID
      const member = this.#add(id, request)
      member.assigned = same.assigned
      this.#target.set(id, this.#target.get(same.id) ?? NOTHING)
      this.#target.delete(same.id)
      same.cancelSession()
      this.#members.delete(same.id)
      return member
    }
    const known = this.#members.get(id)
    if (known === undefined) return this.#add(id, request)
    known.rebalanceMs = rebalanceTimeoutMs
    // It starts again with nothing.
    known.assigned = NOTHING
    this.#revoked(known)
    return known
  }

  #add(id: string, { instanceId, rebalanceTimeoutMs }: Asked<'ConsumerGroupHeartbeat'>): Member {
    const member: Member = {
      id,
      instanceId,
      epoch: 0,
      formerEpoch: 0,
      topics: [],
      pattern: null,
      assigned: NOTHING,
      revoking: NOTHING,
      rebalanceMs: rebalanceTimeoutMs,
      cancelSession: () => {},
      cancelRevocation: undefined,
    }
    this.#members.set(id, member)
    return member
  }

  #leave({ memberId, memberEpoch, instanceId }: Asked<'ConsumerGroupHeartbeat'>): HeartbeatAnswer {
    const member = this.#members.get(memberId)
    if (member === undefined) return refused(CODE.UNKNOWN_MEMBER_ID)
    if (memberEpoch === -2 && instanceId !== null) {
      member.epoch = -2
      this.#revoked(member)
      this.#seen(member)
    } else this.#remove(member)
    return { errorCode: 0, memberId, memberEpoch, heartbeatIntervalMs: this.heartbeatMs }
  }

  #subscribe(member: Member, { subscribedTopicNames, subscribedTopicRegex }: Asked<'ConsumerGroupHeartbeat'>): void {
    if (subscribedTopicNames !== null) member.topics = subscribedTopicNames
    if (subscribedTopicRegex !== null) member.pattern = subscribedTopicRegex === '' ? null : subscribedTopicRegex
  }

  /** A new target, with a new epoch, when members, subscriptions or topics have changed. */
  #updateTarget(): void {
    const topics = this.#context.topics()
    const members = [...this.#members.values()].map(({ id, topics: names, pattern }) => ({
      id,
      topics: topics.filter(
        ({ name }) => names.includes(name) || (pattern !== null && new RegExp(`^(?:${pattern})$`).test(name)),
      ),
    }))
    const shape = JSON.stringify(
      members.map(({ id, topics: its }) => [id, its.map(({ id: topic, partitions }) => [topic, partitions])]),
    )
    if (shape === this.#shape) return
    this.#shape = shape
    this.#epoch++
    this.#target = assignUniformly(members, this.#target)
  }

  #reconcile(member: Member, request: Asked<'ConsumerGroupHeartbeat'>): void {
    const target = this.#target.get(member.id) ?? NOTHING
    if (member.revoking.size > 0) {
      const { topicPartitions } = request
      const owned = topicPartitions === null ? undefined : new Set(keysOf(topicPartitions))
      if (owned === undefined || [...member.revoking].some((key) => owned.has(key))) return
      this.#revoked(member)
    }
    const kept = new Set([...member.assigned].filter((key) => target.has(key)))
    if (kept.size < member.assigned.size) {
      const given = [...member.assigned].filter((key) => !kept.has(key))
      member.assigned = kept
      if (member.epoch > 0) return this.#revoke(member, new Set(given))
    }
    const free = [...target].filter((key) => !kept.has(key) && !this.#isTaken(key, member))
    if (free.length > 0) member.assigned = new Set([...kept, ...free])
    if (member.epoch !== this.#epoch) {
      member.formerEpoch = member.epoch
      member.epoch = this.#epoch
    }
  }

  #isTaken(key: string, by: Member): boolean {
    return [...this.#members.values()].some(
      (other) => other !== by && (other.assigned.has(key) || other.revoking.has(key)),
    )
  }

  #revoke(member: Member, partitions: ReadonlySet<string>): void {
    member.revoking = partitions
    member.cancelRevocation = this.#context.clock.setTimer(() => this.#remove(member), member.rebalanceMs)
  }

  #revoked(member: Member): void {
    member.revoking = NOTHING
    member.cancelRevocation?.()
    member.cancelRevocation = undefined
  }

  #static(instanceId: string): Member | undefined {
    return [...this.#members.values()].find((member) => member.instanceId === instanceId)
  }

  #seen(member: Member): void {
    member.cancelSession()
    member.cancelSession = this.#context.clock.setTimer(() => this.#remove(member), this.sessionMs)
  }

  #remove(member: Member): void {
    member.cancelSession()
    this.#revoked(member)
    this.#members.delete(member.id)
    this.#target.delete(member.id)
    this.#updateTarget()
  }
}

function refused(errorCode: number): HeartbeatAnswer {
  return { errorCode, errorMessage: null, memberEpoch: 0, heartbeatIntervalMs: 0 }
}

type TopicPartitions = readonly { readonly topicId: string; readonly partitions: readonly number[] }[]

function keysOf(topicPartitions: TopicPartitions): readonly string[] {
  return topicPartitions.flatMap(({ topicId, partitions }) => partitions.map((partition) => `${topicId}/${partition}`))
}

function owns({ topicPartitions }: Asked<'ConsumerGroupHeartbeat'>, assigned: ReadonlySet<string>): boolean {
  return topicPartitions !== null && keysOf(topicPartitions).every((key) => assigned.has(key))
}

function byTopic(keys: ReadonlySet<string>): TopicPartitions {
  const topics = new Map<string, number[]>()
  for (const key of keys) {
    const at = key.lastIndexOf('/')
    const topicId = key.slice(0, at)
    topics.set(topicId, [...(topics.get(topicId) ?? []), Number(key.slice(at + 1))])
  }
  return [...topics].map(([topicId, partitions]) => ({ topicId, partitions }))
}

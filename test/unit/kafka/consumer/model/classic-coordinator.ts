import type {
  ClassicRequest,
  Joined,
  JoinRequest,
  SyncRequest,
} from '../../../../../src/kafka/consumer/classic/classic-member.ts'
import { CODE } from '../../../../../src/kafka/consumer/group-errors.ts'
import type { CommitRequest } from '../../../../../src/kafka/consumer/offsets/commit-pipeline.ts'
import type { World } from './world.ts'

export interface JoinInput {
  readonly request: JoinRequest
  readonly instanceId: string | null
  readonly metadata: Buffer
  readonly rebalanceTimeoutMs: number
  readonly sessionTimeoutMs: number
}

interface Member {
  readonly instanceId: string | null
  metadata: Buffer
  sessionTimeoutMs: number
  rebalanceTimeoutMs: number
  deadline: number
  joining: ((errorCode: number, joined: Joined) => void) | undefined
  syncing: ((errorCode: number, assignment: Uint8Array) => void) | undefined
  assignment: Uint8Array
}

const NOBODY: Joined = { memberId: '', generation: -1, protocol: null, members: undefined }
const EMPTY = new Uint8Array()

/** A coordinator of one classic group, as Kafka's behaves. */
export class ClassicCoordinator {
  readonly #world: World
  readonly members: Map<string, Member> = new Map()
  readonly #pendingIds = new Set<string>()
  state: 'empty' | 'preparing' | 'completing' | 'stable' = 'empty'
  generation = 0
  rebalances = 0
  #leader = ''
  #ids = 0
  #phaseEnd = Infinity
  readonly committed: Map<string, number> = new Map()
  /** Checks of the test. */
  onCommit: (memberId: string, topic: string, partition: number, offset: number) => void = () => {}

  constructor(world: World) {
    this.#world = world
  }

  join(
    { request, instanceId, metadata, ...timeouts }: JoinInput,
    answer: (code: number, joined: Joined) => void,
  ): void {
    let { memberId } = request
    if (memberId === '') {
      memberId = `${instanceId ?? 'm'}-${this.#ids++}`
      const former = instanceId === null ? undefined : this.#ofInstance(instanceId)
      if (former !== undefined) return this.#replace(former, memberId, metadata, answer)
      if (instanceId === null) {
        this.#pendingIds.add(memberId)
        return answer(CODE.memberIdRequired, { ...NOBODY, memberId })
      }
    } else if (this.#isFenced(memberId, instanceId)) return answer(CODE.fencedInstance, NOBODY)
    else if (!this.members.has(memberId) && !this.#pendingIds.delete(memberId))
      return answer(CODE.unknownMember, NOBODY)
    const known = this.members.get(memberId)
    const isSame = known?.metadata.equals(metadata) === true
    if (known !== undefined && isSame && this.state === 'stable' && this.#leader !== memberId) {
      return answer(CODE.none, this.#joined(memberId))
    }
    const member: Member = known ?? {
      instanceId,
      metadata,
      ...timeouts,
      deadline: Infinity,
      joining: undefined,
      syncing: undefined,
      assignment: EMPTY,
    }
    member.metadata = metadata
    this.members.set(memberId, member)
    if (this.state !== 'preparing') this.#prepare()
    member.joining?.(CODE.rebalanceInProgress, NOBODY)
    member.joining = answer
    this.#tryComplete()
  }

  sync(
    { memberId, generation, assignments }: SyncRequest,
    instanceId: string | null,
    answer: (code: number, assignment: Uint8Array) => void,
  ): void {
    const member = this.members.get(memberId)
    if (this.#isFenced(memberId, instanceId)) return answer(CODE.fencedInstance, EMPTY)
    if (member === undefined) return answer(CODE.unknownMember, EMPTY)
    if (generation !== this.generation) return answer(CODE.illegalGeneration, EMPTY)
    if (this.state === 'preparing') return answer(CODE.rebalanceInProgress, EMPTY)
    if (this.state === 'stable') {
      this.#touch(member)
      return answer(CODE.none, member.assignment)
    }
    member.syncing = answer
    if (memberId !== this.#leader) return
    for (const each of this.members.values()) each.assignment = EMPTY
    for (const { memberId: id, assignment } of assignments) {
      const other = this.members.get(id)
      if (other !== undefined) other.assignment = assignment
    }
    this.state = 'stable'
    for (const each of this.members.values()) {
      if (each.syncing === undefined) continue
      each.syncing(CODE.none, each.assignment)
      each.syncing = undefined
      this.#touch(each)
    }
  }

  heartbeat({ memberId, generation }: ClassicRequest, instanceId: string | null): number {
    const code = this.#check(memberId, generation, instanceId)
    const member = this.members.get(memberId)
    if (code !== CODE.none || member === undefined) return code
    this.#touch(member)
    return this.state === 'preparing' ? CODE.rebalanceInProgress : CODE.none
  }

  leave(memberId: string): void {
    this.#remove(memberId)
  }

  commit({ identity, entries }: CommitRequest, instanceId: string | null): number {
    const code = this.#check(identity.memberId, identity.epoch, instanceId)
    if (code !== CODE.none) return code
    if (this.state === 'completing') return CODE.rebalanceInProgress
    for (const { span, commit } of entries) {
      this.onCommit(identity.memberId, span.topic, span.partition, commit.offset)
      this.committed.set(`${span.topic}/${span.partition}`, commit.offset)
    }
    const member = this.members.get(identity.memberId)
    if (member !== undefined) this.#touch(member)
    return CODE.none
  }

  /** Sessions and phases end by themselves. */
  tick(): void {
    const { now } = this.#world
    for (const [id, member] of this.members) {
      if (member.joining === undefined && member.syncing === undefined && now >= member.deadline) this.#remove(id)
    }
    if (now < this.#phaseEnd) return
    this.#phaseEnd = Infinity
    if (this.state === 'preparing') {
      for (const [id, member] of this.members) {
        if (member.joining === undefined && member.instanceId === null) this.members.delete(id)
      }
      this.#complete()
    } else if (this.state === 'completing') {
      for (const [id, member] of this.members) if (member.syncing === undefined) this.members.delete(id)
      this.#prepare()
      this.#tryComplete()
    }
  }

  #check(memberId: string, generation: number, instanceId: string | null): number {
    if (this.#isFenced(memberId, instanceId)) return CODE.fencedInstance
    if (!this.members.has(memberId)) return CODE.unknownMember
    return generation === this.generation ? CODE.none : CODE.illegalGeneration
  }

  #isFenced(memberId: string, instanceId: string | null): boolean {
    const owner = instanceId === null ? undefined : this.#ofInstance(instanceId)
    return owner !== undefined && owner !== memberId
  }

  #ofInstance(instanceId: string): string | undefined {
    for (const [id, member] of this.members) if (member.instanceId === instanceId) return id
    return undefined
  }

  /** A static member that has come back takes its former place, without a rebalance if nothing has changed. */
  #replace(formerId: string, id: string, metadata: Buffer, answer: (code: number, joined: Joined) => void): void {
    const member = this.members.get(formerId) as Member
    this.members.delete(formerId)
    member.joining?.(CODE.fencedInstance, NOBODY)
    member.syncing?.(CODE.fencedInstance, EMPTY)
    member.joining = member.syncing = undefined
    this.members.set(id, member)
    if (this.#leader === formerId) this.#leader = id
    member.metadata = metadata
    this.#touch(member)
    if (this.state === 'stable') return answer(CODE.none, { ...this.#joined(id), members: undefined })
    if (this.state !== 'preparing') this.#prepare()
    member.joining = answer
    this.#tryComplete()
  }

  #prepare(): void {
    this.state = 'preparing'
    this.rebalances++
    for (const member of this.members.values()) {
      member.syncing?.(CODE.rebalanceInProgress, EMPTY)
      member.syncing = undefined
    }
    this.#phaseEnd = this.#world.now + this.#longestRebalance()
  }

  #tryComplete(): void {
    if (this.state !== 'preparing') return
    for (const { joining } of this.members.values()) if (joining === undefined) return
    this.#complete()
  }

  #complete(): void {
    this.generation++
    if (this.members.size === 0) {
      this.state = 'empty'
      return
    }
    this.state = 'completing'
    this.#phaseEnd = this.#world.now + this.#longestRebalance()
    const joined = [...this.members].filter(([, { joining }]) => joining !== undefined)
    if (!joined.some(([id]) => id === this.#leader)) this.#leader = joined[0]?.[0] ?? ''
    for (const [id, member] of this.members) {
      const answer = member.joining
      member.joining = undefined
      this.#touch(member)
      answer?.(CODE.none, this.#joined(id))
    }
  }

  #joined(memberId: string): Joined {
    const all = [...this.members].map(([id, { instanceId, metadata }]) => ({
      memberId: id,
      groupInstanceId: instanceId,
      metadata,
    }))
    const isAssigning = memberId === this.#leader && this.state === 'completing'
    return {
      memberId,
      generation: this.generation,
      protocol: 'cooperative-sticky',
      members: isAssigning ? all : undefined,
    }
  }

  #remove(memberId: string): void {
    const member = this.members.get(memberId)
    if (!this.members.delete(memberId)) return
    member?.joining?.(CODE.unknownMember, NOBODY)
    member?.syncing?.(CODE.unknownMember, EMPTY)
    if (this.state !== 'preparing') this.#prepare()
    this.#tryComplete()
  }

  #touch(member: Member): void {
    member.deadline = this.#world.now + member.sessionTimeoutMs
  }

  #longestRebalance(): number {
    return Math.max(0, ...[...this.members.values()].map(({ rebalanceTimeoutMs }) => rebalanceTimeoutMs))
  }
}

import { CODE } from './codes.ts'
import type { SimClock } from './clock.ts'
import type { Answer, Asked } from './wire.ts'

type JoinAnswer = Answer<'JoinGroup'>
type SyncAnswer = Answer<'SyncGroup'>

interface Member {
  id: string
  readonly instanceId: string | null
  protocols: Asked<'JoinGroup'>['protocols']
  sessionMs: number
  rebalanceMs: number
  assignment: Uint8Array
  joining: ((answer: JoinAnswer) => void) | undefined
  syncing: ((answer: SyncAnswer) => void) | undefined
  cancelSession: () => void
}

type State = 'empty' | 'preparing' | 'completing' | 'stable'

const NOTHING: Uint8Array = Buffer.alloc(0)

/** A group whose members elect a leader that assigns the partitions, as its coordinator has it. */
export class ClassicGroup {
  readonly #clock: SimClock
  readonly #members = new Map<string, Member>()
  /** Ids that were given to members who have not joined with them yet; what ends the wait for each. */
  readonly #expected = new Map<string, () => void>()
  #state: State = 'empty'
  #generation = 0
  #leader = ''
  #protocolType = ''
  #protocol = ''
  #nextId = 1
  #cancelRebalance: (() => void) | undefined
  /** It was empty: more members are waited for. */
  #isGathering = false
  /** How long a group without members waits for more of them. */
  initialDelayMs = 20
  /** Rebalances that were completed. */
  rebalances = 0

  constructor(clock: SimClock) {
    this.#clock = clock
  }

  get state(): State {
    return this.#state
  }

  get generation(): number {
    return this.#generation
  }

  get members(): readonly string[] {
    return [...this.#members.keys()]
  }

  join(request: Asked<'JoinGroup'>, version: number, clientId: string | null): JoinAnswer | Promise<JoinAnswer> {
    const { memberId, groupInstanceId, protocolType, protocols } = request
    const refuse = (errorCode: number, id = memberId): JoinAnswer => ({
      errorCode,
      memberId: id,
      protocolName: version >= 7 ? null : '',
      generationId: -1,
    })
    if (this.#members.size > 0 && (protocolType !== this.#protocolType || !this.#hasCommon(protocols, memberId))) {
      return refuse(CODE.INCONSISTENT_GROUP_PROTOCOL)
    }
    this.#protocolType = protocolType
    if (groupInstanceId !== null) {
      const known = this.#static(groupInstanceId)
      if (known !== undefined && memberId !== '' && memberId !== known.id) return refuse(CODE.FENCED_INSTANCE_ID)
      if (known !== undefined && memberId === '') return this.#replace(known, request)
    }
    const known = this.#members.get(memberId)
    if (known !== undefined) return this.#rejoin(known, request)
    if (memberId === '' && groupInstanceId === null && version >= 4) {
      const id = this.#newId(clientId)
      this.#expect(id, request.sessionTimeoutMs)
      return refuse(CODE.MEMBER_ID_REQUIRED, id)
    }
    if (memberId !== '' && !this.#hasCome(memberId)) return refuse(CODE.UNKNOWN_MEMBER_ID)
    const member = this.#add(memberId === '' ? this.#newId(groupInstanceId ?? clientId) : memberId, request)
    return this.#wait(member)
  }

  sync(request: Asked<'SyncGroup'>): SyncAnswer | Promise<SyncAnswer> {
    const errorCode = this.#check(request.memberId, request.groupInstanceId, request.generationId)
    if (errorCode !== 0) return { errorCode }
    const member = this.#members.get(request.memberId) as Member
    if (this.#state === 'preparing') return { errorCode: CODE.REBALANCE_IN_PROGRESS }
    this.#seen(member)
    if (this.#state === 'stable') return this.#assignmentOf(member)
    return new Promise((resolve) => {
      member.syncing = resolve
      if (member.id !== this.#leader) return
      for (const { memberId, assignment } of request.assignments) {
        const assigned = this.#members.get(memberId)
        if (assigned !== undefined) assigned.assignment = assignment
      }
      this.#become('stable')
      for (const each of this.#members.values()) {
        each.syncing?.(this.#assignmentOf(each))
        each.syncing = undefined
        this.#seen(each)
      }
    })
  }

  heartbeat({ memberId, groupInstanceId, generationId }: Asked<'Heartbeat'>): number {
    const errorCode = this.#check(memberId, groupInstanceId, generationId)
    if (errorCode !== 0) return errorCode
    this.#seen(this.#members.get(memberId) as Member)
    return this.#state === 'preparing' ? CODE.REBALANCE_IN_PROGRESS : 0
  }

  leave(memberId: string, instanceId: string | null): number {
    const known = instanceId === null ? this.#members.get(memberId) : this.#static(instanceId)
    if (known === undefined) return CODE.UNKNOWN_MEMBER_ID
    if (memberId !== '' && known.id !== memberId) return CODE.FENCED_INSTANCE_ID
    this.#remove(known)
    return 0
  }

  /** Whether a commit with this member and generation counts. */
  checkCommit(memberId: string, instanceId: string | null, generation: number): number {
    if (generation < 0 && this.#members.size === 0) return 0
    const errorCode = this.#check(memberId, instanceId, generation)
    if (errorCode !== 0) return errorCode
    this.#seen(this.#members.get(memberId) as Member)
    return this.#state === 'completing' ? CODE.REBALANCE_IN_PROGRESS : 0
  }

  /** As a coordinator does that has lost its memory: everyone must join again. */
  forget(): void {
    for (const member of this.#members.values()) this.#remove(member)
  }

  #check(memberId: string, instanceId: string | null, generation: number): number {
    if (instanceId !== null) {
      const known = this.#static(instanceId)
      if (known !== undefined && known.id !== memberId) return CODE.FENCED_INSTANCE_ID
    }
    if (!this.#members.has(memberId)) return CODE.UNKNOWN_MEMBER_ID
    return generation === this.#generation ? 0 : CODE.ILLEGAL_GENERATION
  }

  #static(instanceId: string): Member | undefined {
    return [...this.#members.values()].find((member) => member.instanceId === instanceId)
  }

  #newId(prefix: string | null): string {
    return `${prefix ?? 'member'}-${this.#nextId++}`
  }

  #hasCommon(protocols: Asked<'JoinGroup'>['protocols'], except: string): boolean {
    const others = [...this.#members.values()].filter(({ id }) => id !== except)
    return protocols.some(({ name }) => others.every((other) => other.protocols.some((each) => each.name === name)))
  }

  #expect(id: string, sessionMs: number): void {
    const cancel = this.#clock.setTimer(() => {
      this.#expected.delete(id)
      this.#completeIfAll()
    }, sessionMs)
    this.#expected.set(id, cancel)
  }

  #hasCome(id: string): boolean {
    this.#expected.get(id)?.()
    return this.#expected.delete(id)
  }

  #add(id: string, request: Asked<'JoinGroup'>): Member {
    const { groupInstanceId, protocols, sessionTimeoutMs, rebalanceTimeoutMs } = request
    const member: Member = {
      id,
      instanceId: groupInstanceId,
      protocols,
      sessionMs: sessionTimeoutMs,
      rebalanceMs: rebalanceTimeoutMs < 0 ? sessionTimeoutMs : rebalanceTimeoutMs,
      assignment: NOTHING,
      joining: undefined,
      syncing: undefined,
      cancelSession: () => {},
    }
    this.#members.set(id, member)
    return member
  }

  /** A process with the instance id of another, or the same one after a restart. */
  #replace(known: Member, request: Asked<'JoinGroup'>): JoinAnswer | Promise<JoinAnswer> {
    const isUnchanged = isSame(known.protocols, request.protocols)
    known.joining?.({ errorCode: CODE.FENCED_INSTANCE_ID })
    known.syncing?.({ errorCode: CODE.FENCED_INSTANCE_ID })
    known.cancelSession()
    this.#members.delete(known.id)
    const member = this.#add(this.#newId(request.groupInstanceId), request)
    member.assignment = known.assignment
    if (this.#leader === known.id) this.#leader = member.id
    if (this.#state !== 'stable' || !isUnchanged) return this.#wait(member)
    this.#seen(member)
    return { ...this.#joined(member), skipAssignment: this.#leader === member.id }
  }

  #rejoin(member: Member, request: Asked<'JoinGroup'>): JoinAnswer | Promise<JoinAnswer> {
    const isUnchanged = isSame(member.protocols, request.protocols)
    member.protocols = request.protocols
    const mustRebalance =
      this.#state === 'preparing' || !isUnchanged || (this.#state === 'stable' && this.#leader === member.id)
    if (mustRebalance) return this.#wait(member)
    this.#seen(member)
    return this.#joined(member)
  }

  /** Until all members have joined, or the time for it is over. */
  #wait(member: Member): Promise<JoinAnswer> {
    member.cancelSession()
    return new Promise((resolve) => {
      member.joining?.({ errorCode: CODE.UNKNOWN_MEMBER_ID })
      member.joining = resolve
      this.#prepare()
      this.#completeIfAll()
    })
  }

  #prepare(): void {
    if (this.#state === 'preparing') return
    for (const member of this.#members.values()) {
      member.syncing?.({ errorCode: CODE.REBALANCE_IN_PROGRESS })
      member.syncing = undefined
    }
    this.#isGathering = this.#state === 'empty'
    this.#become('preparing')
    const limit = Math.max(...[...this.#members.values()].map(({ rebalanceMs }) => rebalanceMs))
    const wait = this.#isGathering ? this.initialDelayMs : limit
    this.#cancelRebalance = this.#clock.setTimer(() => this.#complete(), wait)
  }

  #completeIfAll(): void {
    if (this.#state !== 'preparing' || this.#isGathering || this.#expected.size > 0) return
    if ([...this.#members.values()].every(({ joining }) => joining !== undefined)) this.#complete()
  }

  #complete(): void {
    this.#cancelRebalance?.()
    for (const member of this.#members.values()) {
      if (member.joining !== undefined || member.instanceId !== null) continue
      member.cancelSession()
      this.#members.delete(member.id)
    }
    this.#generation++
    if (this.#members.size === 0) return this.#become('empty')
    this.rebalances++
    this.#become('completing')
    if (!this.#members.has(this.#leader)) this.#leader = [...this.#members.keys()][0] as string
    const [first] = this.#members.values()
    const common = first?.protocols.find(({ name }) => this.#hasCommon([{ name, metadata: NOTHING }], ''))
    this.#protocol = common?.name ?? ''
    for (const member of this.#members.values()) {
      member.assignment = NOTHING
      member.joining?.(this.#joined(member))
      member.joining = undefined
      this.#seen(member)
    }
  }

  #joined(member: Member): JoinAnswer {
    const metadataOf = ({ protocols }: Member) =>
      protocols.find(({ name }) => name === this.#protocol)?.metadata ?? NOTHING
    const isLeader = member.id === this.#leader
    return {
      errorCode: 0,
      generationId: this.#generation,
      protocolType: this.#protocolType,
      protocolName: this.#protocol,
      leader: this.#leader,
      memberId: member.id,
      members: isLeader
        ? [...this.#members.values()].map((each) => ({
            memberId: each.id,
            groupInstanceId: each.instanceId,
            metadata: Buffer.from(metadataOf(each)),
          }))
        : [],
    }
  }

  #assignmentOf({ assignment }: Member): SyncAnswer {
    return {
      errorCode: 0,
      protocolType: this.#protocolType,
      protocolName: this.#protocol,
      assignment: Buffer.from(assignment),
    }
  }

  /** The member has shown itself: its session starts again. */
  #seen(member: Member): void {
    member.cancelSession()
    member.cancelSession = this.#clock.setTimer(() => {
      // While it waits for others, its silence says nothing.
      if (member.joining === undefined && member.syncing === undefined) this.#remove(member)
      else this.#seen(member)
    }, member.sessionMs)
  }

  #remove(member: Member): void {
    member.cancelSession()
    member.joining?.({ errorCode: CODE.UNKNOWN_MEMBER_ID })
    member.syncing?.({ errorCode: CODE.UNKNOWN_MEMBER_ID })
    this.#members.delete(member.id)
    if (this.#members.size === 0) {
      this.#cancelRebalance?.()
      this.#generation++
      this.#become('empty')
    } else if (this.#state === 'preparing') this.#completeIfAll()
    else this.#prepare()
  }

  #become(state: State): void {
    if (state !== 'preparing') this.#cancelRebalance = undefined
    this.#state = state
  }
}

function isSame(a: Asked<'JoinGroup'>['protocols'], b: Asked<'JoinGroup'>['protocols']): boolean {
  return (
    a.length === b.length &&
    a.every(({ name, metadata }, index) => {
      const other = b[index]
      return other !== undefined && other.name === name && Buffer.compare(metadata, other.metadata) === 0
    })
  )
}

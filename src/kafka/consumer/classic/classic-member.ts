// Over 250 lines: one state machine, whose phases and requests are not to be changed from two places.
import { backoffMs } from '../../cluster/backoff.ts'
import { errorFromBroker } from '../../errors.ts'
import type { KafkaError } from '../../errors.ts'
import { CODE } from '../group-errors.ts'
import type { GroupMachine, LossReason, MemberEffects, MemberIdentity } from '../group-machine.ts'
import { PartitionSet } from '../partition-set.ts'
import { SessionFence } from '../session-fence.ts'

export interface ClassicSettings {
  readonly groupId: string
  readonly isCooperative: boolean
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  readonly heartbeatIntervalMs: number
}

export type ClassicRequest = JoinRequest | SyncRequest | HeartbeatRequest

export interface JoinRequest {
  readonly type: 'join'
  readonly memberId: string
  /** In which `owned` was assigned. */
  readonly generation: number
  readonly owned: PartitionSet
  /** For the coordinator's log (KIP-800). */
  readonly reason: string
}

export interface SyncRequest {
  readonly type: 'sync'
  readonly memberId: string
  readonly generation: number
  readonly protocol: string | null
  /** Those of the leader; empty for the others. */
  readonly assignments: MemberAssignments
}

export interface HeartbeatRequest {
  readonly type: 'heartbeat'
  readonly memberId: string
  readonly generation: number
}

export type MemberAssignments = readonly { readonly memberId: string; readonly assignment: Uint8Array }[]

export interface Joined {
  readonly memberId: string
  readonly generation: number
  readonly protocol: string | null
  /** Undefined unless this member leads, and is to assign. */
  readonly members: readonly JoinedMember[] | undefined
}

export interface JoinedMember {
  readonly memberId: string
  readonly groupInstanceId: string | null
  readonly metadata: Buffer
}

export interface ClassicEffects extends MemberEffects<ClassicRequest> {
  /** Answered by `assigned`, with the same object. */
  assign(joined: Joined): void
}

type Phase = 'unjoined' | 'revoking' | 'joining' | 'assigning' | 'syncing' | 'stable' | 'closed'

interface Sent<Request> {
  readonly request: Request
  readonly at: number
}

/** Of a session; a heartbeat that is not answered within it is given up, so that there is time for others. */
const ABANDON_AT = 1 / 3

/** A member of a classic group (KIP-62, KIP-345, KIP-429). Pure. */
export class ClassicMember implements GroupMachine<ClassicRequest> {
  readonly #settings: ClassicSettings
  readonly #effects: ClassicEffects
  readonly #random: () => number
  readonly #fence: SessionFence
  #phase: Phase = 'unjoined'
  #memberId = ''
  #generation = -1
  #owned = new PartitionSet()
  #revoking: PartitionSet | undefined
  #mustRejoin: string | undefined
  #pending: Sent<JoinRequest | SyncRequest> | undefined
  #joined: Joined | undefined
  /** What the last join has said that it holds. */
  #claimed = new PartitionSet()
  #heartbeat: Sent<HeartbeatRequest> | undefined
  #abandoned = false
  #heartbeatAt = Infinity
  #retryAt = Infinity
  #retry: JoinRequest | SyncRequest | undefined
  #failures = 0
  #isClosing = false

  constructor(settings: ClassicSettings, effects: ClassicEffects, random: () => number) {
    this.#settings = settings
    this.#effects = effects
    this.#random = random
    this.#fence = new SessionFence(settings)
  }

  get phase(): Phase {
    return this.#phase
  }

  get memberId(): string {
    return this.#memberId
  }

  get owned(): PartitionSet {
    return this.#owned
  }

  /** Commits are taken while members join, not between the end of the join and the assignment. */
  get identity(): MemberIdentity | undefined {
    if (this.#generation < 0 || this.#phase === 'assigning' || this.#phase === 'syncing') return undefined
    return { memberId: this.#memberId, epoch: this.#generation }
  }

  get wakeAt(): number {
    if (this.#phase === 'closed') return Infinity
    const fence = this.#owned.size > 0 ? this.#fence.expiresAt : Infinity
    const abandon = this.#heartbeat === undefined || this.#abandoned ? Infinity : this.#abandonAt(this.#heartbeat)
    return Math.min(fence, this.#retryAt, abandon, this.#heartbeat === undefined ? this.#heartbeatAt : Infinity)
  }

  start(now: number): void {
    if (this.#phase === 'unjoined' && this.#retry === undefined) this.#join('the member starts', now)
  }

  tick(now: number): void {
    if (this.#phase === 'closed') return
    this.#checkFence(now)
    if (now >= this.#retryAt && this.#retry !== undefined) this.#sendAgain(this.#retry, now)
    if (this.#heartbeat !== undefined) {
      if (!this.#abandoned && now >= this.#abandonAt(this.#heartbeat)) {
        this.#abandoned = true
        this.#effects.abandon(this.#heartbeat.request)
      }
    } else if (now >= this.#heartbeatAt) this.#sendHeartbeat(now)
  }

  /** The topics that are subscribed to, or their partitions, have changed. */
  rejoin(reason: string, now: number): void {
    if (this.#phase === 'stable') this.#join(reason, now)
    else this.#mustRejoin ??= reason
  }

  joinAnswered(request: ClassicRequest, errorCode: number, joined: Joined, now: number): void {
    this.#checkFence(now)
    const sent = this.#pending
    if (sent?.request !== request || this.#phase !== 'joining') return
    this.#pending = undefined
    if (errorCode !== CODE.none) return this.#joinRefused(request, errorCode, joined.memberId, now)
    this.#memberId = joined.memberId
    this.#claimed = sent.request.type === 'join' ? sent.request.owned : this.#claimed
    this.#generation = joined.generation
    this.#joined = joined
    this.#fence.settled(sent.at)
    this.#heartbeatAt = now + this.#settings.heartbeatIntervalMs
    if (joined.members === undefined) return this.#sync([], now)
    this.#phase = 'assigning'
    this.#effects.assign(joined)
  }

  /** What the leader has decided; only the leader calls it. */
  assigned(joined: Joined, assignments: MemberAssignments, now: number): void {
    this.#checkFence(now)
    if (this.#phase === 'assigning' && this.#joined === joined) this.#sync(assignments, now)
  }

  syncAnswered(request: ClassicRequest, errorCode: number, assignment: PartitionSet, now: number): void {
    this.#checkFence(now)
    const sent = this.#pending
    if (sent?.request !== request || this.#phase !== 'syncing') return
    this.#pending = undefined
    if (errorCode !== CODE.none) return this.#syncRefused(request, errorCode, now)
    this.#phase = 'stable'
    this.#fence.settled(sent.at)
    // The answer may have waited for a frozen process, and the partitions may be another's by now.
    if (now >= this.#fence.expiresAt) return this.#expire(now)
    // A member that leaves does its part for the others up to here: a commit needs an end of the rebalance.
    if (this.#isClosing) return
    const revoked = this.#owned.minus(assignment)
    const added = assignment.minus(this.#owned)
    this.#owned = new PartitionSet([...this.#owned, ...added])
    if (revoked.size > 0) this.#revoke(revoked)
    if (added.size > 0) this.#effects.assigned(added)
    // What was lost meanwhile is held back for this member to release: the group waits for it to say so.
    const isAwaited = this.#claimed.minus(assignment).size > 0
    const reason = isAwaited ? 'partitions were lost' : this.#mustRejoin
    this.#mustRejoin = undefined
    if (reason !== undefined) this.#join(reason, now)
  }

  heartbeatAnswered(request: ClassicRequest, errorCode: number, now: number): void {
    this.#checkFence(now)
    const sent = this.#heartbeat
    if (sent?.request !== request) return
    this.#heartbeat = undefined
    const isCurrent = sent.request.generation === this.#generation && sent.request.memberId === this.#memberId
    switch (errorCode) {
      case CODE.none:
        if (!isCurrent) return
        this.#failures = 0
        return this.#fence.settled(sent.at)
      case CODE.rebalanceInProgress:
        if (!isCurrent) return
        this.#fence.acknowledged(sent.at)
        if (this.#phase !== 'joining') this.#fence.rebalancing()
        return this.#phase === 'stable' ? this.#join('the group is rebalancing', now) : undefined
      case CODE.illegalGeneration:
      case CODE.unknownMember:
        return isCurrent && !this.#isOvertaken(errorCode) ? this.#givenUp(errorCode, now) : undefined
      case CODE.coordinatorLoading:
      case CODE.coordinatorNotAvailable:
      case CODE.notCoordinator:
        return this.#heartbeatSoon(now)
      default: {
        const error = this.#errorOf(errorCode, 'Heartbeat')
        return error.retriable ? this.#heartbeatSoon(now) : this.#end(error)
      }
    }
  }

  failed(request: ClassicRequest, error: KafkaError, now: number): void {
    this.#checkFence(now)
    if (request === this.#heartbeat?.request) {
      this.#heartbeat = undefined
      return error.retriable ? this.#heartbeatSoon(now) : this.#end(error)
    }
    if (request.type === 'heartbeat' || request !== this.#pending?.request) return
    this.#pending = undefined
    if (request.type === 'join') this.#fence.rebalancing()
    if (error.retriable) this.#later(request, now)
    else this.#end(error)
  }

  released(partitions: PartitionSet, now: number): void {
    this.#checkFence(now)
    if (this.#revoking !== partitions) return
    this.#revoking = undefined
    this.#owned = this.#owned.minus(partitions)
    this.#join('partitions were released', now)
  }

  identityRefused(errorCode: number, { memberId, epoch }: MemberIdentity, now: number): void {
    if (memberId !== this.#memberId || epoch !== this.#generation || this.#phase === 'closed') return
    if (this.#isOvertaken(errorCode)) return
    if (errorCode === CODE.fencedInstance) this.#end(this.#errorOf(errorCode, 'OffsetCommit'))
    else this.#givenUp(errorCode, now)
  }

  close(): void {
    this.#isClosing = true
  }

  /** Ends the member. Undefined if the coordinator has nothing to forget. */
  leave(): MemberIdentity | undefined {
    const identity = this.#memberId === '' ? undefined : { memberId: this.#memberId, epoch: this.#generation }
    this.#phase = 'closed'
    this.#owned = new PartitionSet()
    this.#revoking = undefined
    return identity
  }

  #abandonAt({ at }: Sent<HeartbeatRequest>): number {
    const { sessionTimeoutMs, heartbeatIntervalMs } = this.#settings
    return at + Math.max(ABANDON_AT * sessionTimeoutMs, Math.min(2 * heartbeatIntervalMs, sessionTimeoutMs / 2))
  }

  #checkFence(now: number): void {
    if (this.#owned.size > 0 && now >= this.#fence.expiresAt) this.#expire(now)
  }

  #expire(now: number): void {
    this.#lose('session-expired')
    this.#generation = -1
    if (this.#phase === 'stable' || this.#phase === 'revoking') this.#join('the session has expired', now)
  }

  /** The coordinator knows the member, but has completed its join: the answer to that is on its way. */
  #isOvertaken(errorCode: number): boolean {
    return errorCode === CODE.illegalGeneration && this.#phase === 'joining' && this.#pending !== undefined
  }

  /** The coordinator no longer has this member in this generation. */
  #givenUp(errorCode: number, now: number): void {
    this.#generation = -1
    if (errorCode === CODE.unknownMember) this.#memberId = ''
    this.#lose('fenced')
    // A join that is on its way stays: its answer says what the coordinator thinks of it.
    if (this.#phase !== 'joining') this.#joinAgain('the coordinator has given up the member', now)
  }

  #lose(reason: LossReason): void {
    const lost = this.#owned
    this.#owned = new PartitionSet()
    this.#revoking = undefined
    if (lost.size > 0) this.#effects.lost(lost, reason)
  }

  #revoke(partitions: PartitionSet): void {
    this.#revoking = partitions
    this.#effects.revoke(partitions)
  }

  #join(reason: string, now: number): void {
    if (this.#phase === 'closed' || this.#isClosing) return
    if (this.#revoking !== undefined) return
    if (!this.#settings.isCooperative && this.#owned.size > 0) {
      this.#phase = 'revoking'
      return this.#revoke(this.#owned)
    }
    this.#phase = 'joining'
    this.#joined = undefined
    this.#mustRejoin = undefined
    this.#sendAgain(this.#joinRequest(reason), now)
  }

  /** After an error: at once the first time, then with growing pauses until a heartbeat succeeds. */
  #joinAgain(reason: string, now: number): void {
    if (this.#phase === 'closed') return
    if (this.#isClosing) {
      // No other rebalance for this member: what it holds it still holds in this generation, and must be able to commit.
      this.#phase = 'stable'
      return
    }
    if (this.#failures === 0) {
      this.#failures = 1
      return this.#join(reason, now)
    }
    this.#phase = 'joining'
    this.#joined = undefined
    this.#later(this.#joinRequest(reason), now)
  }

  #joinRequest(reason: string): JoinRequest {
    return { type: 'join', memberId: this.#memberId, generation: this.#generation, owned: this.#owned, reason }
  }

  #joinRefused(request: ClassicRequest, errorCode: number, memberId: string, now: number): void {
    const reason = request.type === 'join' ? request.reason : ''
    switch (errorCode) {
      case CODE.memberIdRequired:
        this.#memberId = memberId
        return this.#joinAgain(reason, now)
      case CODE.unknownMember:
      case CODE.illegalGeneration:
        this.#generation = -1
        if (errorCode === CODE.unknownMember) this.#memberId = ''
        this.#lose('fenced')
        return this.#later(this.#joinRequest(reason), now)
      default: {
        const error = this.#errorOf(errorCode, 'JoinGroup')
        if (error.retriable || error.action === 'rejoin') this.#later(this.#joinRequest(reason), now)
        else this.#end(error)
      }
    }
  }

  #sync(assignments: MemberAssignments, now: number): void {
    this.#phase = 'syncing'
    const { protocol = null } = this.#joined ?? {}
    const request: SyncRequest = {
      type: 'sync',
      memberId: this.#memberId,
      generation: this.#generation,
      protocol,
      assignments,
    }
    this.#sendAgain(request, now)
  }

  #syncRefused(request: SyncRequest | ClassicRequest, errorCode: number, now: number): void {
    const error = this.#errorOf(errorCode, 'SyncGroup')
    if (errorCode === CODE.rebalanceInProgress) this.#joinAgain('the group is rebalancing', now)
    else if (errorCode === CODE.illegalGeneration || errorCode === CODE.unknownMember) this.#givenUp(errorCode, now)
    else if (error.retriable && request.type === 'sync') this.#later(request, now)
    else this.#end(error)
  }

  #sendAgain(request: JoinRequest | SyncRequest, now: number): void {
    this.#retry = undefined
    this.#retryAt = Infinity
    // What is owned and which id to use may have changed during the pause.
    const fresh = request.type === 'join' ? this.#joinRequest(request.reason) : request
    if (fresh.type === 'join') this.#fence.joining()
    this.#pending = { request: fresh, at: now }
    this.#effects.send(fresh)
  }

  #later(request: JoinRequest | SyncRequest, now: number): void {
    this.#failures++
    this.#retry = request
    this.#retryAt = now + backoffMs(this.#failures, this.#random())
  }

  #sendHeartbeat(now: number): void {
    const { heartbeatIntervalMs } = this.#settings
    this.#heartbeatAt = now + heartbeatIntervalMs
    // Without a generation there is nothing to keep alive; a join keeps its member alive by itself.
    if (this.#generation < 0 || (this.#phase === 'joining' && this.#owned.size === 0)) return
    const request: HeartbeatRequest = { type: 'heartbeat', memberId: this.#memberId, generation: this.#generation }
    this.#heartbeat = { request, at: now }
    this.#abandoned = false
    this.#effects.send(request)
  }

  #heartbeatSoon(now: number): void {
    const pause = backoffMs(4, this.#random())
    this.#heartbeatAt = Math.min(this.#heartbeatAt, now + Math.min(pause, this.#settings.heartbeatIntervalMs))
  }

  #end(error: KafkaError): void {
    if (this.#phase === 'closed') return
    this.#phase = 'closed'
    this.#lose('failed')
    this.#effects.fatal(error)
  }

  #errorOf(errorCode: number, api: string): KafkaError {
    return errorFromBroker(errorCode, `${api} of group ${this.#settings.groupId}`)
  }
}

import { backoffMs } from '../../cluster/backoff.ts'
import { errorFromBroker } from '../../errors.ts'
import type { KafkaError } from '../../errors.ts'
import { CODE } from '../group-errors.ts'
import type { GroupMachine, LossReason, MemberEffects, MemberIdentity } from '../group-machine.ts'
import { PartitionSet } from '../partition-set.ts'
import { SessionFence } from '../session-fence.ts'

export interface NextSettings {
  readonly groupId: string
  readonly isStatic: boolean
  /** What the broker's group.consumer.session.timeout.ms is, or less: brokers don't tell it. */
  readonly sessionTimeoutMs: number
  readonly rebalanceTimeoutMs: number
  /** Until the coordinator says how often. */
  readonly heartbeatIntervalMs: number
  readonly newMemberId: () => string
}

/** A heartbeat. What has not changed since the last acknowledged one is left out, unless it is full. */
export interface NextRequest {
  readonly memberId: string
  /** 0 to join. */
  readonly memberEpoch: number
  readonly isFull: boolean
  /** By topic id; undefined if unchanged. */
  readonly owned: PartitionSet | undefined
  /** Whether the topics go with it. */
  readonly subscribes: boolean
}

export interface NextAnswer {
  readonly errorCode: number
  readonly errorMessage: string | null
  readonly memberId: string | null
  readonly memberEpoch: number
  readonly heartbeatIntervalMs: number
  /** By topic id; undefined if unchanged. */
  readonly assignment: PartitionSet | undefined
}

interface Sent {
  readonly request: NextRequest
  readonly at: number
}

const MAX_UNRELEASED = 3
const ABANDON_AT = 1 / 3
const LEAVE = -1
const LEAVE_STATIC = -2

/**
 * A member of a group whose coordinator assigns (KIP-848). Partitions are named by topic id: whether an id can be resolved yet is
 * not its concern, it acknowledges them anyway. Pure.
 */
export class NextMember implements GroupMachine<NextRequest> {
  readonly #settings: NextSettings
  readonly #effects: MemberEffects<NextRequest>
  readonly #random: () => number
  readonly #fence: SessionFence
  #memberId: string
  /** The coordinator may have a member of that id, whatever has become of its epoch here. */
  #mayBeKnown = false
  #epoch = 0
  #isStarted = false
  #isClosed = false
  #isClosing = false
  #owned = new PartitionSet()
  #acknowledged = new PartitionSet()
  #target: PartitionSet | undefined
  #revoking: PartitionSet | undefined
  #mustSendAll = true
  #mustSubscribe = false
  #mustHeartbeat = false
  #heartbeat: Sent | undefined
  #isAbandoned = false
  #intervalMs: number
  #heartbeatAt = Infinity
  #failures = 0
  #unreleased = 0

  constructor(settings: NextSettings, effects: MemberEffects<NextRequest>, random: () => number) {
    this.#settings = settings
    this.#effects = effects
    this.#random = random
    this.#fence = new SessionFence(settings)
    this.#memberId = settings.newMemberId()
    this.#intervalMs = settings.heartbeatIntervalMs
  }

  get phase(): 'joining' | 'reconciling' | 'stable' | 'closed' {
    if (this.#isClosed) return 'closed'
    if (this.#epoch === 0) return 'joining'
    return this.#owned.equals(this.#acknowledged) && this.#revoking === undefined ? 'stable' : 'reconciling'
  }

  get memberId(): string {
    return this.#memberId
  }

  get owned(): PartitionSet {
    return this.#owned
  }

  get identity(): MemberIdentity | undefined {
    return this.#epoch > 0 ? { memberId: this.#memberId, epoch: this.#epoch } : undefined
  }

  get wakeAt(): number {
    if (this.#isClosed) return Infinity
    const fence = this.#owned.size > 0 ? this.#fence.expiresAt : Infinity
    if (this.#heartbeat === undefined) return Math.min(fence, this.#heartbeatAt)
    return Math.min(fence, this.#isAbandoned ? Infinity : this.#abandonAt(this.#heartbeat))
  }

  start(now: number): void {
    if (this.#isStarted) return
    this.#isStarted = true
    this.#send(now)
  }

  tick(now: number): void {
    if (this.#isClosed || !this.#isStarted) return
    this.#checkFence(now)
    if (this.#heartbeat === undefined) {
      if (now >= this.#heartbeatAt) this.#send(now)
    } else if (!this.#isAbandoned && now >= this.#abandonAt(this.#heartbeat)) {
      this.#isAbandoned = true
      this.#effects.abandon(this.#heartbeat.request)
    }
  }

  /** The topics that are subscribed to have changed. */
  subscriptionChanged(now: number): void {
    this.#mustSubscribe = true
    this.#sendSoon(now)
  }

  answered(request: NextRequest, answer: NextAnswer, now: number): void {
    this.#checkFence(now)
    const sent = this.#heartbeat
    if (this.#isClosed || sent?.request !== request) return
    this.#heartbeat = undefined
    if (answer.errorCode !== CODE.none) return this.#refused(answer, now)
    this.#failures = this.#unreleased = 0
    this.#memberId = answer.memberId ?? this.#memberId
    this.#epoch = answer.memberEpoch
    this.#intervalMs = answer.heartbeatIntervalMs
    this.#heartbeatAt = now + this.#intervalMs
    this.#mustSendAll = false
    this.#acknowledged = request.owned ?? this.#acknowledged
    if (this.#revoking === undefined) this.#fence.settled(sent.at)
    else this.#fence.acknowledged(sent.at)
    // The answer may have waited for a frozen process, and the partitions may be another's by now.
    if (now >= this.#fence.expiresAt) return this.#expire(now)
    this.#target = answer.assignment ?? this.#target
    this.#reconcile(now)
  }

  failed(request: NextRequest, error: KafkaError, now: number): void {
    this.#checkFence(now)
    if (this.#isClosed || this.#heartbeat?.request !== request) return
    this.#heartbeat = undefined
    // The coordinator may have taken it: only a full one is right in both cases.
    this.#mustSendAll = true
    if (error.retriable) this.#sendLater(now)
    else this.#end(error)
  }

  released(partitions: PartitionSet, now: number): void {
    this.#checkFence(now)
    if (this.#revoking !== partitions) return
    this.#revoking = undefined
    this.#owned = this.#owned.minus(partitions)
    this.#reconcile(now)
  }

  identityRefused(errorCode: number, { memberId, epoch }: MemberIdentity, now: number): void {
    if (memberId !== this.#memberId || epoch !== this.#epoch || this.#isClosed) return
    if (errorCode === CODE.fencedInstance) this.#end(this.#errorOf(errorCode, null))
    else this.#rejoin(errorCode, now)
  }

  close(): void {
    this.#isClosing = true
  }

  /** Ends the member. Undefined if the coordinator has nothing to forget; else what to send as its last heartbeat. */
  leave(): MemberIdentity | undefined {
    const isMember = this.#isStarted && !this.#isClosed && this.#mayBeKnown
    this.#isClosed = true
    this.#owned = new PartitionSet()
    this.#revoking = undefined
    if (!isMember) return undefined
    return { memberId: this.#memberId, epoch: this.#settings.isStatic ? LEAVE_STATIC : LEAVE }
  }

  #abandonAt({ at }: Sent): number {
    return at + ABANDON_AT * this.#settings.sessionTimeoutMs
  }

  #checkFence(now: number): void {
    if (!this.#isClosed && this.#owned.size > 0 && now >= this.#fence.expiresAt) this.#expire(now)
  }

  #expire(now: number): void {
    this.#forget('session-expired')
    this.#sendSoon(now)
  }

  /** Everything is lost, and the member joins as if it had never been in the group. */
  #forget(reason: LossReason): void {
    const lost = this.#owned
    this.#owned = new PartitionSet()
    this.#acknowledged = new PartitionSet()
    this.#revoking = undefined
    this.#target = undefined
    this.#epoch = 0
    this.#mustSendAll = true
    // What it says is about a member that no longer is.
    this.#heartbeat = undefined
    if (lost.size > 0) this.#effects.lost(lost, reason)
  }

  #reconcile(now: number): void {
    if (this.#target !== undefined && this.#revoking === undefined && !this.#isClosing) {
      const revoked = this.#owned.minus(this.#target)
      const added = this.#target.minus(this.#owned)
      this.#owned = new PartitionSet([...this.#owned, ...added])
      if (revoked.size > 0) {
        this.#revoking = revoked
        // Until it says that they are released, the coordinator counts, from when it has asked for them.
        this.#fence.rebalancing()
        this.#effects.revoke(revoked)
      }
      if (added.size > 0) this.#effects.assigned(added)
    }
    if (this.#mustHeartbeat || !this.#owned.equals(this.#acknowledged)) this.#sendSoon(now)
  }

  #refused(answer: NextAnswer, now: number): void {
    const { errorCode } = answer
    switch (errorCode) {
      case CODE.unknownMember:
      case CODE.fencedMemberEpoch:
      case CODE.staleMemberEpoch:
        return this.#rejoin(errorCode, now)
      case CODE.unreleasedInstance:
        if (++this.#unreleased < MAX_UNRELEASED) return this.#sendLater(now)
        return this.#end(this.#errorOf(errorCode, answer.errorMessage))
      default: {
        const error = this.#errorOf(errorCode, answer.errorMessage)
        if (error.retriable) this.#sendLater(now)
        else this.#end(error)
      }
    }
  }

  #rejoin(errorCode: number, now: number): void {
    if (errorCode === CODE.unknownMember) {
      this.#memberId = this.#settings.newMemberId()
      this.#mayBeKnown = false
    }
    this.#forget('fenced')
    if (this.#failures === 0) {
      this.#failures = 1
      this.#sendSoon(now)
    } else this.#sendLater(now)
  }

  /** One at a time: what has changed meanwhile goes with the next. */
  #sendSoon(now: number): void {
    if (!this.#isStarted || this.#isClosed) return
    if (this.#heartbeat === undefined) this.#send(now)
    else this.#mustHeartbeat = true
  }

  #sendLater(now: number): void {
    this.#failures++
    this.#heartbeatAt = now + backoffMs(this.#failures, this.#random())
  }

  #send(now: number): void {
    this.#mustHeartbeat = false
    this.#heartbeatAt = now + this.#intervalMs
    // A member that leaves must not come back in.
    if (this.#isClosing && this.#epoch === 0) return
    const isFull = this.#mustSendAll
    const hasChanged = isFull || !this.#owned.equals(this.#acknowledged)
    const request: NextRequest = {
      memberId: this.#memberId,
      memberEpoch: this.#epoch,
      isFull,
      owned: hasChanged ? this.#owned : undefined,
      subscribes: isFull || this.#mustSubscribe,
    }
    this.#mustSubscribe = false
    this.#heartbeat = { request, at: now }
    this.#isAbandoned = false
    this.#mayBeKnown = true
    this.#effects.send(request)
  }

  #end(error: KafkaError): void {
    this.#forget('failed')
    this.#isClosed = true
    this.#effects.fatal(error)
  }

  #errorOf(errorCode: number, detail: string | null): KafkaError {
    return errorFromBroker(errorCode, `ConsumerGroupHeartbeat of group ${this.#settings.groupId}`, detail)
  }
}

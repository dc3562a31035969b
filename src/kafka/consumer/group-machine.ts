import type { KafkaError } from '../errors.ts'
import type { PartitionSet } from './partition-set.ts'

/** With what a member commits: the generation of a classic group, or the member's epoch. */
export interface MemberIdentity {
  readonly memberId: string
  readonly epoch: number
}

/** Why partitions were taken from a member without being asked for. */
export type LossReason =
  /** The coordinator has not acknowledged a heartbeat for the length of a session: others may have them by now. */
  | 'session-expired'
  /** The coordinator has given the member up. */
  | 'fenced'
  /** The group can't be used any more; the error says why. */
  | 'failed'

/** What the machine of a member asks its driver to do. */
export interface MemberEffects<Request> {
  /** Answered by `answered` or `failed`, with the same object. */
  send(request: Request): void
  /** No answer comes in time: its connection must be closed, so that `failed` is called. */
  abandon(request: Request): void
  /** New ones: start reading at what the group has committed. */
  assigned(partitions: PartitionSet): void
  /** Stop intake, let run what runs within the bound, commit, then call `released` with the same set. */
  revoke(partitions: PartitionSet): void
  /** At once, without a commit: others may already have them. */
  lost(partitions: PartitionSet, reason: LossReason): void
  /** The member has ended for good. */
  fatal(error: KafkaError): void
}

/** What both kinds of groups have in common, for the driver. Pure: its driver reports what happens and when; it reads no clock. */
export interface GroupMachine<Request> {
  /** Undefined while nothing can be committed: outside of the group, or between two generations. */
  readonly identity: MemberIdentity | undefined
  /** All that the member may work on, including what it is revoking. */
  readonly owned: PartitionSet
  /** When `tick` must be called at the latest. */
  readonly wakeAt: number
  start(now: number): void
  /**
   * Must be called when time has passed, and before anything is delivered or acknowledged: a process that was frozen finds out here that
   * its partitions are lost.
   */
  tick(now: number): void
  /** The request got no answer. */
  failed(request: Request, error: KafkaError, now: number): void
  released(partitions: PartitionSet, now: number): void
  /** A commit was refused for the identity that it was sent with. */
  identityRefused(errorCode: number, identity: MemberIdentity, now: number): void
  /** Takes part in no further rebalance; heartbeats go on until `leave`. */
  close(): void
}

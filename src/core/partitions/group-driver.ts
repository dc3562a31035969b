/** One partition of one topic. */
export interface Partition {
  readonly topic: string
  readonly partition: number
}

/** What a member reports about itself. */
export interface MemberState {
  readonly id: string
  /** The topics that it consumes, each with the number of partitions that it knows of. */
  readonly topics: ReadonlyMap<string, number>
  /** Topics whose partitions should go to other members while there are any. */
  readonly paused: ReadonlySet<string>
  /** It joined while other members were dying, and has not lived for a lease yet: it gets no share beside proven members. */
  readonly onProbation: boolean
}

/** What the group knows of a partition. */
export interface PartitionState extends Partition {
  /** Id of the member that holds it; undefined when it is free. */
  readonly holder: string | undefined
  /**
   * Different for each claim, and never the same again, not even after the group's data was deleted. Settling with another
   * one must be refused.
   */
  readonly generation: number
}

/**
 * The group at one moment. All members compute the same shares from the same view. It shows at least what this member's own
 * earlier calls have changed: a replica that is behind must not be asked.
 */
export interface GroupView {
  /** Changes with every change of `members` or `partitions`, and with nothing else. */
  readonly version: string
  readonly members: readonly MemberState[]
  /** A partition that is missing was never held: it is free, with generation 0. */
  readonly partitions: readonly PartitionState[]
  /** How long ago the last member was fenced, in ms; undefined when not known, or long ago. */
  readonly lastDeathMs?: number | undefined
}

/** The lease of one member, as the server has it. */
export interface LeaseView {
  readonly id: string
  /** Changes with every renewal, and never repeats. Empty when a member of the group has no lease. */
  readonly version: string
  readonly leaseMs: number
  /**
   * How long ago it was renewed, in ms, by the server's clock, without time during which the server was away. Leave it out
   * when the server can't say: then the member's silence is measured here, from the first look that shows this version.
   */
  readonly silentMs?: number
  /** The server has no connection of that member. It gets no share; its lease must still end before it is fenced. */
  readonly disconnected?: boolean
}

export interface BeatRequest {
  readonly member: MemberState
  /** `member` differs from what the view shows: to be stored, so that the view changes. */
  readonly changed: boolean
  /** False when the lease was renewed a moment ago by other means (`PartitionHolder.renewed`). */
  readonly renew: boolean
  /** Version of the view that is known here: an equal one need not be returned. */
  readonly seen: string | undefined
  /**
   * Members whose leases should be returned: the next ones in the order of their ids, so that each is watched by two; all
   * of them before this member joins. More may be returned. At least every second beat must return them.
   */
  readonly watch: readonly string[] | 'all'
}

export interface BeatReply {
  /** False when this member is not in the group, or was fenced: nothing is held by it. A beat must not add it again. */
  readonly isMember: boolean
  /** Undefined when its version is `seen`. */
  readonly view: GroupView | undefined
  readonly leases: readonly LeaseView[]
}

/** A partition that was claimed. */
export interface Claimed<Position> extends Partition {
  readonly generation: number
  /** Where the last holder stood, as far as it is known. Undefined for a partition that was never held. */
  readonly position: Position | undefined
  /** The last holder was fenced, or its release never came: its outstanding messages may have been handled. */
  readonly isUnclean: boolean
}

export interface ReleaseRequest<Position> extends Partition {
  readonly generation: number
  /** Undefined: as it was last committed. */
  readonly position: Position | undefined
  /** Its messages were not all finished or put back: the next holder is to see `isUnclean`. */
  readonly isUnclean: boolean
  /** The member that takes it next, if there is one: notify it. */
  readonly next: string | undefined
}

/**
 * What an adapter does at the server for `PartitionHolder`. There is one driver for each member and group. The holder makes one call at a
 * time, except `leave`; a call must settle within a third of the lease, and rejects when its result is unknown. It may
 * nevertheless take effect later: each one is conditional, so that a late one does nothing.
 *
 * What must hold at the server, whatever arrives when:
 * 1. Only a member with a lease that is not fenced holds partitions, and a partition has one holder at most.
 * 2. Once `fence(m)` has removed the member, no renewal, claim, release or settlement that `m` sent before succeeds.
 * 3. A settlement names the generation (or is conditional on the member's own record), and an older one is refused.
 * 4. When the group's data was lost, no claim succeeds for the duration of a lease: a holder may not know yet.
 */
export interface GroupDriver<Position> {
  /** Adds the member, with a new lease. Safe to repeat. The reply contains the view. */
  join(member: MemberState): Promise<BeatReply>
  /** Renews the one lease of the member, and looks at the group. The first one comes before `join`, and only looks. */
  beat(request: BeatRequest): Promise<BeatReply>
  /**
   * Takes each of these partitions if its generation is still the given one, and it is free or held by this member, and
   * this member is not fenced. Resolves with those that were taken. Does not renew the lease.
   */
  claim(partitions: readonly PartitionState[]): Promise<readonly Claimed<Position>[]>
  /** Frees each of these partitions if this member still holds it with that generation. */
  release(partitions: readonly ReleaseRequest<Position>[]): Promise<void>
  /**
   * Fences a dead member, if its lease still has that version: invalidates the lease, frees its partitions at their last
   * committed positions (`isUnclean`), and removes it. Must complete what another member began. Does nothing when the lease was
   * renewed meanwhile.
   */
  fence(lease: LeaseView): Promise<void>
  /** Removes this member. What it still holds becomes free, as for `fence`. */
  leave(): Promise<void>
}

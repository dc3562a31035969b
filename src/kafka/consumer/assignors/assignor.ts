import type { TopicPartitions } from '../../protocol/embedded.ts'
import { compareText } from '../partition-set.ts'
import type { PartitionSet } from '../partition-set.ts'

/** A member as the leader of a classic group sees it. */
export interface GroupMember {
  readonly id: string
  /** Static members have one. */
  readonly instanceId: string | null
  readonly topics: readonly string[]
  readonly rack: string | null
  /** What it holds, or, for an eager assignor, what it had. */
  readonly owned: readonly TopicPartitions[]
  /** In which `owned` was assigned; -1 if it doesn't say. */
  readonly generation: number
}

export interface TopicInfo {
  readonly partitions: number
  /** For each partition the racks of its replicas; undefined if the cluster has none. */
  readonly racks?: readonly (readonly string[])[]
}

/** By name; a topic that a member wants and that does not exist is not in it. */
export type TopicInfos = ReadonlyMap<string, TopicInfo>

/** By member id; every member is in it. */
export type GroupAssignment = ReadonlyMap<string, PartitionSet>

/** Decides which member reads what. Pure: the same members and topics give the same result in every process. */
export interface Assignor {
  /** Goes over the wire: members of other clients choose by it. */
  readonly name: string
  /**
   * `eager`: members give up everything before they join. `cooperative`: they keep what they hold, and a partition that moves is given
   * to nobody before its holder has released it (KIP-429).
   */
  readonly protocol: 'eager' | 'cooperative'
  /** What members of other clients expect beside the subscription. */
  userData?(owned: PartitionSet, generation: number): Buffer | null
  /** What `userData` of a member says that holds nothing: `owned` and `generation` for the leader. */
  readUserData?(userData: Buffer): Pick<GroupMember, 'owned' | 'generation'>
  assign(members: readonly GroupMember[], topics: TopicInfos): GroupAssignment
}

/** Static members first, by their instance id, so that an assignment survives their restart. */
export function compareMembers(a: GroupMember, b: GroupMember): number {
  if (a.instanceId !== null && b.instanceId !== null) return compareText(a.instanceId, b.instanceId)
  if (a.instanceId !== null) return -1
  if (b.instanceId !== null) return 1
  return compareText(a.id, b.id)
}

/** Whether a member may read a partition without crossing racks. */
export function matchesRack(member: GroupMember, info: TopicInfo, partition: number): boolean {
  return member.rack === null || (info.racks?.[partition]?.includes(member.rack) ?? false)
}

/** Racks matter if members and replicas share some, and not every rack has every partition (KIP-881). */
export function needsRacks(members: readonly GroupMember[], topics: readonly TopicInfo[]): boolean {
  const all = new Set(topics.flatMap(({ racks = [] }) => racks.flat()))
  if (!members.some(({ rack }) => rack !== null && all.has(rack))) return false
  return topics.some(({ partitions, racks = [] }) => {
    for (let partition = 0; partition < partitions; partition++) {
      if (new Set(racks[partition]).size !== all.size) return true
    }
    return false
  })
}

import { PartitionSet } from '../partition-set.ts'
import { compareMembers, matchesRack, needsRacks } from './assignor.ts'
import type { Assignor, GroupAssignment, GroupMember, TopicInfo, TopicInfos } from './assignor.ts'

/** Each topic by itself, in runs of partitions: topics with the same number of partitions put the same numbers together. */
export const rangeAssignor: Assignor = { name: 'range', protocol: 'eager', assign: assignRanges }

/** What is still to be given out of one topic. */
interface Ranges {
  readonly topic: string
  readonly info: TopicInfo
  readonly members: readonly GroupMember[]
  readonly unassigned: Set<number>
  readonly quota: number
  extras: number
  readonly counts: Map<string, number>
}

function assignRanges(members: readonly GroupMember[], topics: TopicInfos): GroupAssignment {
  const assignment = new Map(members.map(({ id }) => [id, new PartitionSet()]))
  const all = [...topics].filter(([, { partitions }]) => partitions > 0).map((entry) => rangesOf(entry, members))
  const withRacks = all.filter(({ members, info }) => needsRacks(members, [info]))
  for (const together of coPartitioned(withRacks.length > 0 ? all : [])) {
    if (together.length > 1) assignTogether(together, assignment)
    else for (const ranges of together) if (withRacks.includes(ranges)) assignRuns(ranges, assignment, true)
  }
  for (const ranges of all) assignRuns(ranges, assignment, false)
  return assignment
}

function rangesOf([topic, info]: readonly [string, TopicInfo], all: readonly GroupMember[]): Ranges {
  const members = all.filter(({ topics }) => topics.includes(topic)).sort(compareMembers)
  return {
    topic,
    info,
    members,
    unassigned: new Set(Array.from({ length: info.partitions }, (_, partition) => partition)),
    quota: members.length === 0 ? 0 : Math.floor(info.partitions / members.length),
    extras: members.length === 0 ? 0 : info.partitions % members.length,
    counts: new Map(members.map(({ id }) => [id, 0])),
  }
}

/** Topics with the same members and the same number of partitions: a member that joins them reads the same numbers of all. */
function coPartitioned(all: readonly Ranges[]): Iterable<readonly Ranges[]> {
  return Map.groupBy(all, ({ members, info }) =>
    JSON.stringify([info.partitions, members.map(({ id }) => id)]),
  ).values()
}

function assignRuns(ranges: Ranges, assignment: ReadonlyMap<string, PartitionSet>, onlyInRack: boolean): void {
  for (const member of ranges.members) {
    let left = roomOf(ranges, member)
    for (const partition of ranges.unassigned) {
      if (left === 0) break
      if (onlyInRack && !matchesRack(member, ranges.info, partition)) continue
      give(ranges, member, partition, assignment)
      left--
    }
  }
}

function assignTogether(together: readonly Ranges[], assignment: ReadonlyMap<string, PartitionSet>): void {
  const [first] = together
  for (let partition = 0; partition < (first?.info.partitions ?? 0); partition++) {
    const member = first?.members.find((each) =>
      together.every((ranges) => roomOf(ranges, each) > 0 && matchesRack(each, ranges.info, partition)),
    )
    if (member !== undefined) for (const ranges of together) give(ranges, member, partition, assignment)
  }
}

function roomOf({ quota, extras, counts }: Ranges, { id }: GroupMember): number {
  return Math.max(0, quota + (extras > 0 ? 1 : 0) - (counts.get(id) ?? 0))
}

function give(
  ranges: Ranges,
  { id }: GroupMember,
  partition: number,
  assignment: ReadonlyMap<string, PartitionSet>,
): void {
  const count = (ranges.counts.get(id) ?? 0) + 1
  ranges.counts.set(id, count)
  if (count === ranges.quota + 1) ranges.extras--
  ranges.unassigned.delete(partition)
  assignment.get(id)?.add(ranges.topic, partition)
}

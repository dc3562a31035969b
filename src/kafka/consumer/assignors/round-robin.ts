import { compareText, PartitionSet } from '../partition-set.ts'
import { compareMembers } from './assignor.ts'
import type { Assignor, GroupAssignment, GroupMember, TopicInfos } from './assignor.ts'

/** All partitions of all topics, dealt out one by one. */
export const roundRobinAssignor: Assignor = { name: 'roundrobin', protocol: 'eager', assign: assignInTurn }

function assignInTurn(members: readonly GroupMember[], topics: TopicInfos): GroupAssignment {
  const assignment = new Map(members.map(({ id }) => [id, new PartitionSet()]))
  const circle = [...members].sort(compareMembers)
  let turn = 0
  for (const [topic, { partitions }] of [...topics].sort(([a], [b]) => compareText(a, b))) {
    if (!circle.some((member) => member.topics.includes(topic))) continue
    for (let partition = 0; partition < partitions; partition++) {
      // The turn stays with the one who is passed over: the next topic may be theirs.
      let member = circle[turn % circle.length]
      while (member?.topics.includes(topic) === false) member = circle[++turn % circle.length]
      if (member !== undefined) assignment.get(member.id)?.add(topic, partition)
      turn++
    }
  }
  return assignment
}

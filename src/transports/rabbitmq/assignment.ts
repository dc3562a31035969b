import { createHash } from 'node:crypto'

/**
 * Who of the members works on which partition: everybody the same number, give or take one, and few changes when members
 * come and go. Every member computes it for itself and comes to the same answer for the same members.
 *
 * @returns The owner of each partition, by partition.
 */
export function assign(partitions: number, members: readonly string[]): readonly string[] {
  const atLeast = Math.floor(partitions / members.length)
  let extras = partitions % members.length
  const loads = new Map(members.map((member) => [member, 0]))
  return Array.from({ length: partitions }, (_, partition) => {
    const ranked = members
      .map((member) => ({ member, weight: weightOf(member, partition) }))
      .sort((a, b) => (a.weight < b.weight ? 1 : -1))
    for (const { member } of ranked) {
      const load = loads.get(member) as number
      if (load > atLeast || (load === atLeast && extras === 0)) continue
      if (load === atLeast) extras--
      loads.set(member, load + 1)
      return member
    }
    // The room adds up to the number of partitions, so somebody was found above.
    return members[0] as string
  })
}

function weightOf(member: string, partition: number): string {
  return createHash('sha1').update(`${member}/${partition}`).digest('hex')
}

import { createHash } from 'node:crypto'

/**
 * Which member works on which partition: everyone gets the same number, give or take one, and few partitions move when
 * members come and go. Each member computes it for itself; the same members always lead to the same result.
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
    // Free places add up to the number of partitions, so a member was found above.
    return members[0] as string
  })
}

/**
 * The members that stand by for a partition, in the order in which they should line up: the one that `assign` gives it to when
 * its owner has gone comes first, so that the broker passes it on to that one.
 */
export function standbyLine(
  partition: number,
  owners: readonly string[],
  members: readonly string[],
): readonly string[] {
  const owner = owners[partition]
  // Those have their share before this one is given away.
  const busy = new Set(owners.slice(0, partition))
  return members
    .filter((member) => member !== owner)
    .map((member) => ({ member, weight: weightOf(member, partition) }))
    .sort((a, b) => Number(busy.has(a.member)) - Number(busy.has(b.member)) || (a.weight < b.weight ? 1 : -1))
    .map(({ member }) => member)
}

function weightOf(member: string, partition: number): string {
  return createHash('sha1').update(`${member}/${partition}`).digest('hex')
}

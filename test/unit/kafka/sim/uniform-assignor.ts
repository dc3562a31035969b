export interface AssignedMember {
  readonly id: string
  readonly topics: readonly { readonly id: string; readonly partitions: number }[]
}

/** A target that is even within each topic and moves little, as the broker's `uniform` assignor makes it. */
export function assignUniformly(
  members: readonly AssignedMember[],
  former: ReadonlyMap<string, ReadonlySet<string>>,
): Map<string, ReadonlySet<string>> {
  const assigned = new Map(members.map(({ id }) => [id, new Set<string>()]))
  const topics = new Map(members.flatMap((member) => member.topics.map((topic) => [topic.id, topic.partitions])))
  for (const [topicId, partitions] of topics) {
    const takers = members.filter((member) => member.topics.some(({ id }) => id === topicId)).map(({ id }) => id)
    const quota = Math.ceil(partitions / takers.length)
    const mine = new Map(takers.map((id) => [id, 0]))
    const take = (id: string, key: string): void => {
      assigned.get(id)?.add(key)
      mine.set(id, (mine.get(id) ?? 0) + 1)
    }
    const free: string[] = []
    for (let partition = 0; partition < partitions; partition++) {
      const key = `${topicId}/${partition}`
      const owner = takers.find((id) => former.get(id)?.has(key) === true)
      if (owner !== undefined && (mine.get(owner) ?? 0) < quota) take(owner, key)
      else free.push(key)
    }
    for (const key of free) {
      const least = takers.reduce((a, b) => (load(b) < load(a) ? b : a))
      take(least, key)
    }
    function load(id: string): number {
      return (mine.get(id) ?? 0) * 1_000_000 + (assigned.get(id)?.size ?? 0)
    }
  }
  return assigned
}

import { createHash } from 'node:crypto'

/**
 * What a member says of the topics that it handles, as text: how many they are, since when it handles any, and a digest of
 * their names. A thousand names would be too long to say at each join.
 */
export function topicSet(topics: Iterable<string>, since: number): string {
  const sorted = [...topics].sort()
  const digest = createHash('sha256').update(sorted.join('\n')).digest('hex').slice(0, 16)
  return `${sorted.length}/${since}/${digest}`
}

interface Known {
  readonly count: number
  /** Of the member that has handled these topics for longest. */
  readonly since: number
  readonly members: string[]
}

/**
 * The members that share the queues of a group, whose topics all arrive there: those with the most topics, so that none arrives at
 * a member that does not handle it. While a new version that has more topics, or fewer, is rolled out, the others stand by. Of
 * several sets of that size, the one that came last counts: the new version.
 *
 * @param members What each handles; undefined where every topic has its own queues.
 */
export function sharing(members: ReadonlyMap<string, string | undefined>): readonly string[] {
  const sets = new Map<string, Known>()
  for (const [id, said] of members) {
    const [count = 0, since = 0] = (said ?? '').split('/').map(Number)
    const digest = said?.slice(said.lastIndexOf('/') + 1) ?? ''
    const known = sets.get(digest)
    sets.set(digest, {
      count,
      since: Math.min(since, known?.since ?? Infinity),
      members: [...(known?.members ?? []), id],
    })
  }
  let best: readonly [string, Known] | undefined
  for (const each of sets) if (best === undefined || isBefore(each, best)) best = each
  return best?.[1].members ?? []
}

function isBefore([digest, a]: readonly [string, Known], [other, b]: readonly [string, Known]): boolean {
  if (a.count !== b.count) return a.count > b.count
  if (a.since !== b.since) return a.since > b.since
  return digest > other
}

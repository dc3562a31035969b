import type { GroupView, MemberState } from './group-driver.ts'

/** The member that each partition should have, by topic and partition; undefined where no member may have it. */
export type Assignment = ReadonlyMap<string, readonly (string | undefined)[]>

/** The partitions of one topic while they are being distributed. */
interface TopicShare {
  readonly topic: string
  /** Sorted. */
  readonly eligible: readonly string[]
  /** By partition: who holds it now. */
  readonly holders: readonly (string | undefined)[]
  /** By partition: who gets it. */
  readonly owners: (string | undefined)[]
  /** Number of partitions for each eligible member, without those that can't be moved. */
  readonly counts: Map<string, number>
}

/**
 * Decides which member should have which partition: the same answer from the same view, everywhere. Within each topic, and
 * in all topics together, shares of members that consume the same topics differ by one at most, and as few partitions as
 * possible move.
 *
 * `suspects` are members that seem to be dead. What they hold stays with them until they are fenced, and they get no share.
 * Members on probation get a share only where no proven member is, and paused members only where no other is.
 */
export function assignPartitions(view: GroupView, suspects: ReadonlySet<string> = new Set()): Assignment {
  const members = [...view.members].sort((a, b) => (a.id < b.id ? -1 : 1))
  const loads = new Map(members.map(({ id }) => [id, 0]))
  const shares = topicsOf(view).map(([topic, holders]) => {
    const share: TopicShare = {
      topic,
      eligible: eligibleFor(topic, members, suspects),
      holders,
      owners: holders.map(() => undefined),
      counts: new Map(),
    }
    shareTopic(share, suspects, loads)
    return share
  })
  evenOut(shares, loads)
  return new Map(shares.map(({ topic, owners }) => [topic, owners]))
}

/** The topics with their current holders, sorted by name. A topic has as many partitions as any member knows of. */
function topicsOf(view: GroupView): (readonly [string, readonly (string | undefined)[]])[] {
  const holders = new Map<string, (string | undefined)[]>()
  const known = (topic: string, count: number): (string | undefined)[] => {
    let found = holders.get(topic)
    if (found === undefined) holders.set(topic, (found = []))
    while (found.length < count) found.push(undefined)
    return found
  }
  for (const { topics } of view.members) for (const [topic, count] of topics) known(topic, count)
  // A topic that no member consumes any more has no owner; its free partitions are left out.
  for (const { topic, partition, holder } of view.partitions) {
    if (holder === undefined && !holders.has(topic)) continue
    known(topic, partition + 1)[partition] = holder
  }
  return [...holders].sort(([a], [b]) => (a < b ? -1 : 1))
}

function eligibleFor(topic: string, members: readonly MemberState[], suspects: ReadonlySet<string>): readonly string[] {
  const consuming = members.filter(({ id, topics }) => topics.has(topic) && !suspects.has(id))
  const active = consuming.filter(({ paused }) => !paused.has(topic))
  const proven = active.filter(({ onProbation }) => !onProbation)
  const chosen = proven.length > 0 ? proven : active.length > 0 ? active : consuming
  return chosen.map(({ id }) => id)
}

/** Distributes one topic evenly. Members keep what they have, up to their share. */
function shareTopic(share: TopicShare, suspects: ReadonlySet<string>, loads: Map<string, number>): void {
  const { eligible, holders, owners, counts } = share
  const held = new Map(eligible.map((id) => [id, 0]))
  let shared = 0
  for (const [partition, holder] of holders.entries()) {
    if (holder !== undefined && suspects.has(holder)) {
      owners[partition] = holder
      continue
    }
    shared++
    const count = holder === undefined ? undefined : held.get(holder)
    if (count !== undefined) held.set(holder as string, count + 1)
  }
  if (eligible.length === 0) return
  const quotas = quotasOf(eligible, shared, held, loads)
  for (const id of eligible) counts.set(id, 0)
  const give = (partition: number, id: string): void => {
    owners[partition] = id
    counts.set(id, (counts.get(id) as number) + 1)
    loads.set(id, (loads.get(id) as number) + 1)
  }
  const hasRoom = (id: string): boolean => (counts.get(id) as number) < (quotas.get(id) as number)
  for (const [partition, holder] of holders.entries())
    if (holder !== undefined && quotas.has(holder) && hasRoom(holder)) give(partition, holder)
  const open = eligible.filter(hasRoom)
  for (const partition of owners.keys()) {
    if (owners[partition] !== undefined) continue
    give(partition, open[0] as string)
    if (!hasRoom(open[0] as string)) open.shift()
  }
}

/** How many partitions of a topic each member gets. The odd ones go to members that have them, then to the idlest. */
function quotasOf(
  eligible: readonly string[],
  shared: number,
  held: ReadonlyMap<string, number>,
  loads: ReadonlyMap<string, number>,
): ReadonlyMap<string, number> {
  const even = Math.floor(shared / eligible.length)
  const quotas = new Map(eligible.map((id) => [id, even]))
  const surplus = (id: string): number => Math.max(0, (held.get(id) as number) - even)
  const load = (id: string): number => loads.get(id) as number
  const odd = [...eligible].sort((a, b) => surplus(b) - surplus(a) || load(a) - load(b) || (a < b ? -1 : 1))
  for (const id of odd.slice(0, shared % eligible.length)) quotas.set(id, even + 1)
  return quotas
}

/**
 * Each topic is distributed evenly by now, but one member may have the odd partition of every topic. Moves odd partitions
 * until the members' totals are even too.
 */
function evenOut(shares: readonly TopicShare[], loads: Map<string, number>): void {
  for (;;) {
    const ranked = [...loads].sort(([a, left], [b, right]) => right - left || (a < b ? -1 : 1))
    const move = nextMove(ranked, shares)
    if (move === undefined) return
    const { share, partition, from, to } = move
    share.owners[partition] = to
    share.counts.set(from, (share.counts.get(from) as number) - 1)
    share.counts.set(to, (share.counts.get(to) as number) + 1)
    loads.set(from, (loads.get(from) as number) - 1)
    loads.set(to, (loads.get(to) as number) + 1)
  }
}

interface Move {
  readonly share: TopicShare
  readonly partition: number
  readonly from: string
  readonly to: string
}

/** A move from a member with more partitions to one with less, by which no topic becomes less even. */
function nextMove(ranked: readonly (readonly [string, number])[], shares: readonly TopicShare[]): Move | undefined {
  for (const [from, most] of ranked)
    for (let at = ranked.length - 1; at >= 0; at--) {
      const [to, least] = ranked[at] as readonly [string, number]
      if (most - least < 2) break
      const move = moveBetween(from, to, shares)
      if (move !== undefined) return move
    }
  return undefined
}

function moveBetween(from: string, to: string, shares: readonly TopicShare[]): Move | undefined {
  let held: Move | undefined
  for (const share of shares) {
    const has = share.counts.get(from)
    const other = share.counts.get(to)
    if (has === undefined || other === undefined || has <= other) continue
    // Rather one that has to move anyway, or is there already.
    let partition = share.owners.findIndex((id, index) => id === from && share.holders[index] !== from)
    if (partition >= 0) return { share, partition, from, to }
    if (held !== undefined) continue
    partition = share.owners.lastIndexOf(from)
    held = { share, partition, from, to }
  }
  return held
}

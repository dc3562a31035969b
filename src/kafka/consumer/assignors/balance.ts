import type { MemberLoad, StickyLoad } from './sticky-load.ts'

interface Step {
  readonly from: MemberLoad
  readonly topic: string
}

/**
 * Moves partitions until no member has two more than another that could relieve it, if need be through others: A gives a partition
 * to B, which gives another to C. First only those that nobody has claimed: the others move if that was not enough. So what a
 * cooperative group has released to even out goes where it was meant to go, and nothing else moves in the next generation.
 */
export function balance(sticky: StickyLoad): void {
  evenOut(sticky, (load, topic) => [...(load.topics.get(topic) ?? [])].some((each) => !load.claimed.has(topic, each)))
  evenOut(sticky, () => true)
}

type MayMove = (load: MemberLoad, topic: string) => boolean

function evenOut(sticky: StickyLoad, mayMove: MayMove): void {
  const heaviestFirst = [...sticky.loads]
  for (;;) {
    heaviestFirst.sort((a, b) => b.size - a.size)
    const smallest = heaviestFirst.at(-1)?.size ?? 0
    if (!heaviestFirst.some((load) => load.size >= smallest + 2 && relieve(sticky, load, mayMove))) return
  }
}

/** Breadth first, so that as few partitions as possible move. */
function relieve(sticky: StickyLoad, start: MemberLoad, mayMove: MayMove): boolean {
  const reached = new Map<MemberLoad, Step | undefined>([[start, undefined]])
  const seen = new Set<string>()
  for (const load of reached.keys()) {
    for (const topic of load.topics.keys()) {
      // All that may take partitions of this topic have been reached through it.
      if (seen.has(topic) || !mayMove(load, topic)) continue
      seen.add(topic)
      let lightest: MemberLoad | undefined
      for (const other of sticky.candidates(topic)) {
        if (reached.has(other)) continue
        reached.set(other, { from: load, topic })
        if (other.size <= start.size - 2 && (lightest === undefined || other.size < lightest.size)) lightest = other
      }
      if (lightest === undefined) continue
      moveAlong(sticky, reached, lightest)
      return true
    }
  }
  return false
}

function moveAlong(sticky: StickyLoad, reached: ReadonlyMap<MemberLoad, Step | undefined>, end: MemberLoad): void {
  let to = end
  for (let step = reached.get(to); step !== undefined; step = reached.get(to)) {
    const { from, topic } = step
    const partition = cheapest(sticky, from, to, topic)
    sticky.take(from, topic, partition)
    sticky.give(to, topic, partition)
    to = from
  }
}

/** What the receiver had before; else what the giver had not; else what is read across racks now and would not be then. */
function cheapest(sticky: StickyLoad, from: MemberLoad, to: MemberLoad, topic: string): number {
  let best = -1
  let bestCost = Infinity
  for (const partition of from.topics.get(topic) ?? []) {
    const returns = to.claimed.has(topic, partition)
    const stays = from.claimed.has(topic, partition)
    const crossing = (sticky.inRack(from, topic, partition) ? 1 : 0) + (sticky.inRack(to, topic, partition) ? 0 : 1)
    const cost = (returns ? -8 : 0) + (stays ? 4 : 0) + crossing
    // Of equal ones the last: the low numbers stay where they were.
    if (cost > bestCost) continue
    bestCost = cost
    best = partition
  }
  return best
}

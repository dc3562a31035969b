import type { TopicPartition } from '../partition-set.ts'
import type { MemberLoad, StickyLoad } from './sticky-load.ts'

/**
 * Moves and swaps partitions that nobody has claimed, so that fewer are read across racks, without making the assignment less even
 * (KIP-881). Each step makes them fewer, so it ends. Claimed ones stay: members must not exchange partitions again and again.
 */
export function matchRacks(sticky: StickyLoad): void {
  let hasMoved = true
  while (hasMoved) {
    hasMoved = false
    for (const load of sticky.loads) {
      for (const { topic, partition } of unclaimedOf(load)) {
        if (sticky.inRack(load, topic, partition)) continue
        if (findPlace(sticky, load, topic, partition)) hasMoved = true
      }
    }
  }
}

function unclaimedOf({ topics, claimed }: MemberLoad): readonly TopicPartition[] {
  return [...topics].flatMap(([topic, partitions]) =>
    [...partitions].filter((each) => !claimed.has(topic, each)).map((partition) => ({ topic, partition })),
  )
}

function findPlace(sticky: StickyLoad, load: MemberLoad, topic: string, partition: number): boolean {
  const matching = sticky.candidates(topic).filter((other) => sticky.inRack(other, topic, partition))
  const lighter = matching.find(({ size }) => size < load.size)
  if (lighter !== undefined) {
    sticky.take(load, topic, partition)
    sticky.give(lighter, topic, partition)
    return true
  }
  for (const other of matching) {
    const swap = swapFor(sticky, load, other)
    if (swap === undefined) continue
    sticky.take(load, topic, partition)
    sticky.take(other, swap.topic, swap.partition)
    sticky.give(other, topic, partition)
    sticky.give(load, swap.topic, swap.partition)
    return true
  }
  return false
}

/** Something of `other` that `load` may take without crossing racks where `other` did not. */
function swapFor(sticky: StickyLoad, load: MemberLoad, other: MemberLoad) {
  for (const [topic, partitions] of other.topics) {
    if (!load.member.topics.includes(topic)) continue
    for (const partition of partitions) {
      if (other.claimed.has(topic, partition)) continue
      if (sticky.inRack(load, topic, partition) || !sticky.inRack(other, topic, partition)) return { topic, partition }
    }
  }
  return undefined
}

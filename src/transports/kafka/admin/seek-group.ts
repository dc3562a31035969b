import type { StartFrom } from '../../../core/transport.ts'
import { TimeoutError } from '../../../core/errors.ts'
import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import type { Admin, GroupOffset } from '../../../kafka/index.ts'
import { movesGroup } from '../consume/group-moves.ts'
import { decodeRecord, encodeRecord } from '../partitions/commit-record.ts'
import { retriesGivenUp } from '../retry/retry-admin.ts'
import { codeOf } from './error-code.ts'
import { startOffsets } from './start-offsets.ts'
import { topicHashes } from './topic-hashes.ts'

/** How long running members may take. They look for moves every second. */
const MEMBERS_MS = 10_000
const LOOK_MS = 100

/**
 * Moves a group. Without members, its offsets are set. With members, each of them moves the partitions that it has: resolves when all have,
 * and rejects with a `TimeoutError` after 10 s; those that come later then still move.
 */
export async function seekGroup(
  { admin, clock }: { readonly admin: Admin; readonly clock: Clock },
  topic: string,
  groupId: string,
  to: StartFrom,
): Promise<void> {
  const offsets = await startOffsets(admin, topic, to)
  const [moved, hashes] = await Promise.all([nextMove(admin, clock, topic, groupId), topicHashes(admin, [topic])])
  const moves = [...offsets].map(([partition, offset]) => {
    const metadata = encodeRecord({
      floor: offset,
      topic: hashes.get(topic) ?? 0,
      owner: '',
      free: true,
      to: offset,
      claim: offset,
      moved,
      partitions: offsets.size,
      open: [],
      notes: [],
    })
    return { topic, partition, offset, metadata }
  })
  try {
    await admin.offsets.alter(groupId, [...moves, ...(await retriesGivenUp(admin, topic, groupId))])
  } catch (error) {
    if (codeOf(error) !== 'NON_EMPTY_GROUP') throw error
    await admin.offsets.alter(movesGroup(groupId), moves)
    await untilMoved(admin, clock, topic, groupId, moved)
  }
}

/** Greater than that of every move before, whatever clocks say. */
async function nextMove(admin: Admin, clock: Clock, topic: string, groupId: string): Promise<number> {
  const committed = await Promise.all([admin.offsets.list(groupId), admin.offsets.list(movesGroup(groupId))])
  const moves = committed
    .flat()
    .filter((each) => each.topic === topic)
    .map(({ metadata, offset }) => decodeRecord(metadata, offset)?.moved ?? 0)
  return Math.max(clock.now(), 1 + Math.max(0, ...moves))
}

async function untilMoved(admin: Admin, clock: Clock, topic: string, groupId: string, moved: number): Promise<void> {
  const deadline = clock.monotonic() + MEMBERS_MS
  for (;;) {
    const [{ members }, offsets] = await Promise.all([admin.groups.describe(groupId), admin.offsets.list(groupId)])
    const held = members.flatMap(({ assignment }) => assignment.filter((each) => each.topic === topic))
    const waiting = held
      .flatMap(({ partitions }) => partitions)
      .filter((partition) => !hasMoved(offsets, topic, partition, moved))
    if (waiting.length === 0) return
    if (clock.monotonic() >= deadline) {
      const which = waiting.toSorted((a, b) => a - b).join(', ')
      throw new TimeoutError(
        `Moving the group "${groupId}" of "${topic}": its members have not moved the partitions ${which} within ${MEMBERS_MS} ms. They will when they are back; other programs in this group never do: stop them first`,
      )
    }
    await sleep(clock, LOOK_MS)
  }
}

function hasMoved(offsets: readonly GroupOffset[], topic: string, partition: number, moved: number): boolean {
  const committed = offsets.find((each) => each.topic === topic && each.partition === partition)
  if (committed === undefined) return false
  return (decodeRecord(committed.metadata, committed.offset)?.moved ?? 0) >= moved
}

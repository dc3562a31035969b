import type { MemberContext } from '../consume/member-context.ts'
import { readStateOf } from '../consume/read-count.ts'
import type { ReadStateReply } from '../consume/read-count.ts'
import { parseReaderName } from '../consume/reader-name.ts'
import type { Readers } from '../consume/readers.ts'
import { ACQUIRE } from '../scripts/group.ts'
import { ownerName } from '../topology/join-group.ts'
import { fenceFormerOwner } from './fence.ts'
import type { PartitionState } from './partition-state.ts'

/** The reply of `ACQUIRE`. */
type Acquired = readonly [number, number | Buffer, number?, Buffer?, Buffer?, ReadStateReply?, Buffer?, Buffer?]

/**
 * Takes a partition, unless it belongs to a member whose process lives. Resolves with its new generation when it is ours, no former
 * owner can receive any of its messages, and what is known of them is in `partition`; with undefined when it is not free yet.
 */
export async function takePartition(
  member: MemberContext,
  readers: Readers,
  partition: PartitionState,
): Promise<string | undefined> {
  const { context } = member
  // A handover that waits for its reply is over: the reply says nothing about what follows.
  partition.generation = ''
  partition.wasAskedFor = true
  // An earlier read must have ended: what it still brings would come after we had looked for pending entries.
  await readers.remove(partition)
  partition.mayBeOwned = true
  let reply = await acquire(member, readers, partition, '')
  if (reply[0] === 0) {
    const process = String(reply[1]).split(' ', 1)[0] as string
    if (process !== '' && (await context.lease.deadOf([process])).has(process))
      reply = await acquire(member, readers, partition, process)
  }
  if (reply[0] === 0) {
    partition.mayBeOwned = false
    return undefined
  }
  const [, generation, hasFormer, reader, floor, readState = [], newest, state] = reply
  const former = parseReaderName(String(reader ?? ''))
  // After this process has lost its lease, it may be its own.
  if (former !== undefined && former.id !== '' && String(reader) !== readers.nameOf(partition))
    await fenceFormerOwner(context, partition, former)
  remember(partition, {
    floor: String(floor ?? ''),
    newest: String(newest ?? ''),
    state: String(state ?? ''),
    readState,
  })
  partition.former = former === undefined ? undefined : { consumer: former.consumer, floor: String(floor ?? '') }
  // Before it was cut off, the former owner may have read more.
  if (hasFormer === 1) partition.reads.reset()
  return String(generation)
}

interface Found {
  /** Everything up to there has been acked; empty when the group was deleted. */
  readonly floor: string
  /** The newest id that the group has received, or empty. */
  readonly newest: string
  /** See `STREAM_STATES`. */
  readonly state: string
  readonly readState: ReadStateReply
}

function remember(partition: PartitionState, { floor, newest, state, readState }: Found): void {
  const { reads } = partition
  // Others may have read further. Without a floor, it continues where we were.
  if (floor !== '') partition.lastRead = floor
  // What its former owner receives from now on, it can't ack: it is claimed here.
  reads.forgetSeen()
  reads.see(newest)
  // No other member can report what was removed so far: the server's count has been corrected.
  reads.begin(readStateOf(readState))
  partition.lastSeen = readState.length > 0 && state !== '' ? { state, resets: reads.resets } : undefined
}

async function acquire(
  member: MemberContext,
  readers: Readers,
  partition: PartitionState,
  dead: string,
): Promise<Acquired> {
  const { context, spec } = member
  return (await context.scripts.run(
    ACQUIRE,
    [partition.group.meta, partition.keys.stream],
    [
      ownerName(member),
      String(context.options.leaseMs),
      readers.nameOf(partition),
      spec.group,
      dead,
      String(partition.keys.partition),
    ],
  )) as Acquired
}

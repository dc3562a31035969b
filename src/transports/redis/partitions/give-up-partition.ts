import { sleep } from '../../../core/clock.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import type { Claimer } from '../consume/claimer.ts'
import type { MemberContext } from '../consume/member-context.ts'
import type { Readers } from '../consume/readers.ts'
import { releaseDeliveries } from '../consume/release.ts'
import type { Source } from '../consume/source.ts'
import { replyCode } from '../errors.ts'
import { RELEASE } from '../scripts/group.ts'
import { LEAVE } from '../scripts/settle.ts'
import { ownerName, restoreGroup } from '../topology/join-group.ts'
import type { PartitionState } from './partition-state.ts'

const LEAVE_AT_ONCE = 500
/** What was deleted is put back that many times during a handover, before the partition is given up without it. */
const RESTORE_ROUNDS = 10
const RESTORE_AGAIN_MS = 100

/** What giving a partition up needs from its membership. */
export interface GiveUpParts {
  readonly member: MemberContext
  readonly claimer: Claimer
  readonly readers: Readers
  readonly isPaused: () => boolean
  /** Nothing is read any more, and the next owner can't know what was read here. */
  readonly lastLook: (partition: PartitionState) => Promise<void>
}

/** Finishes what is in flight before another member may begin. The partition's phase must be `revoking`. */
export async function handOver(parts: GiveUpParts, partition: PartitionState): Promise<void> {
  const { member, readers } = parts
  const { generation } = partition
  await readers.remove(partition)
  for (const source of partition.sources) await giveBack(parts, partition, source)
  await quiet(parts, partition)
  if (partition.phase !== 'revoking') return
  if (partition.outstanding > 0) partition.lose('the partition was handed over before its messages were handled')
  await parts.lastLook(partition)
  // Lost meanwhile, and taken again.
  if (partition.generation !== generation && partition.generation !== '') return
  partition.phase = 'idle'
  const wasReleased = await release(member, partition, generation, partition.floor)
  if (partition.generation !== generation) return
  partition.generation = ''
  // Refused when the group was moved meanwhile: we are still its owner then, and tell the server later.
  partition.mayBeOwned = !wasReleased
}

async function quiet({ member, isPaused }: GiveUpParts, partition: PartitionState): Promise<void> {
  const { host, options } = member.context
  // A partition that is given up because of a pause has time: its handlers should finish.
  if (isPaused()) await partition.whenQuiet()
  else await settledWithin(host.clock, options.handoverTimeoutMs, partition.whenQuiet())
}

/** The server may know this member as the owner of a partition that it lost: others would wait for it forever. */
export async function disclaim(parts: GiveUpParts, partition: PartitionState): Promise<void> {
  await parts.readers.remove(partition)
  await release(parts.member, partition, anyGeneration(partition), '')
  partition.mayBeOwned = false
}

/** What is left here goes to others at once, without counting as an attempt. May be called again if it fails. */
export async function leavePartition({ member, readers }: GiveUpParts, partition: PartitionState): Promise<void> {
  // Other members read on the same connection.
  await readers.remove(partition)
  const { sources, floor, mayBeOwned } = partition
  const generation = partition.generation === '' ? anyGeneration(partition) : partition.generation
  partition.generation = ''
  await Promise.all(sources.map((source) => leaveSource(member, source)))
  if (!member.owned || !mayBeOwned) return
  await release(member, partition, generation, floor)
  partition.mayBeOwned = false
}

/** False when the server knows it as another member's, or with another generation. */
async function release(
  member: MemberContext,
  { group }: PartitionState,
  generation: string,
  floor: string,
): Promise<boolean> {
  return (await member.context.scripts.run(RELEASE, [group.meta], [ownerName(member), generation, floor])) !== 0
}

function anyGeneration({ keys }: PartitionState): string {
  return `${keys.partition}:`
}

/**
 * What waits here goes back. If data of the group was deleted, it is put back first: no other member knows of these. What was in a stream
 * of copies that was deleted is lost.
 */
async function giveBack({ member, claimer }: GiveUpParts, partition: PartitionState, source: Source): Promise<void> {
  for (let round = 1; ; round++) {
    const ready = source.takeReady()
    try {
      await releaseDeliveries(member, source, ready)
      return
    } catch (error) {
      if (replyCode(error) !== 'NOGROUP' || partition.phase !== 'revoking' || round > RESTORE_ROUNDS) throw error
      source.ready = ready
      await restoreGroup(member, partition)
      if (source.missing)
        claimer.reportLoss(
          source,
          source.takeReady().map(({ id }) => id),
        )
      else if (round > 1) await sleep(member.context.host.clock, RESTORE_AGAIN_MS)
    }
  }
}

/** In steps, so that none of them blocks the server. */
async function leaveSource({ context, spec, consumer }: MemberContext, source: Source): Promise<void> {
  const keys = [source.stream, source.later, source.notes]
  const args = [spec.group, consumer, String(LEAVE_AT_ONCE)]
  while (Number(await context.scripts.run(LEAVE, keys, args)) === 1);
}

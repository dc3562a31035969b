import { KafkaError, UnencodableError } from '../errors.ts'
import { kindOf } from '../options-reader.ts'
import type { GroupBatch, GroupMember } from './transaction.ts'
import type { GroupMetadata, TransactionOffset } from './transaction-requests.ts'

export type OffsetsFrom = GroupBatch | GroupMember | GroupMetadata

/** Offsets of one group, and the member that may commit them. */
export interface GroupOffsets {
  readonly group: GroupMetadata
  readonly offsets: readonly TransactionOffset[]
  /** Whether their partitions have been held since they were given. */
  readonly isHeld: () => boolean
}

const ALWAYS = (): boolean => true

/** What a call of `offsets` commits. Throws what the consumer or the batch throws if it does not hold the partitions any more. */
export function groupOffsetsOf(from: OffsetsFrom, offsets?: readonly TransactionOffset[]): GroupOffsets {
  if (offsets === undefined && 'nextOffset' in from) {
    const { topic, partition, nextOffset, leaderEpoch } = from
    const taken = [{ topic, partition, offset: nextOffset, leaderEpoch }]
    return { group: from.groupMetadata(), offsets: taken, isHeld: from.holding?.(taken) ?? ALWAYS }
  }
  if (!Array.isArray(offsets)) {
    throw new UnencodableError(
      `the offsets of a transaction are ${kindOf(offsets)}: give a batch, or a group and an array`,
    )
  }
  if (!('groupMetadata' in from)) return { group: from, offsets: [...offsets], isHeld: ALWAYS }
  return { group: from.groupMetadata(offsets), offsets: [...offsets], isHeld: from.holding?.(offsets) ?? ALWAYS }
}

/** All offsets of one group in a transaction are sent with one generation: with another, those of lost partitions would pass. */
export function joinedOffsets(known: GroupOffsets | undefined, added: GroupOffsets): GroupOffsets {
  if (known === undefined) return added
  const { groupId, generationId, memberId } = known.group
  if (generationId !== added.group.generationId || memberId !== added.group.memberId) {
    const message = `group ${groupId} has rebalanced since the transaction's first offsets`
    throw new KafkaError(message, { code: 'NOT_A_MEMBER', action: 'rejoin', outcome: 'not-sent' })
  }
  const isHeld = (): boolean => known.isHeld() && added.isHeld()
  return { group: known.group, offsets: [...known.offsets, ...added.offsets], isHeld }
}

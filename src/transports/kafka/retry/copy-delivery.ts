import { early, RETURNED } from '../../../core/partitions/attempt-state.ts'
import type { AttemptState } from '../../../core/partitions/attempt-state.ts'
import { PartitionDelivery } from '../../../core/partitions/partition-delivery.ts'
import type { DeliveryOwner } from '../../../core/partitions/partition-delivery.ts'
import type { Position } from '../../../core/message.ts'
import type { Retried } from './retry-copy.ts'

/** A partition of a retry topic, and the one that it stands beside; every other partition is its own origin. */
export interface CopyOwner extends DeliveryOwner {
  readonly origin: DeliveryOwner
}

/** A message of a retry topic: to its consumer, it is where it was before. */
export class CopyDelivery<Owner extends CopyOwner> extends PartitionDelivery<Owner> {
  readonly retried: Retried

  constructor(retried: Retried, ...rest: ConstructorParameters<typeof PartitionDelivery<Owner>>) {
    super(...rest)
    this.retried = retried
  }

  override get position(): Position {
    return this.owner.origin.positionAt(this.retried.offset)
  }

  override with(known: AttemptState): CopyDelivery<Owner> {
    const { owner, message, place, ordinal, bytes, destination } = this
    return new CopyDelivery(this.retried, owner, message, place, ordinal, bytes, known, destination)
  }
}

/** Attempts that a message had used before its record was written. */
export function usedBefore(delivery: PartitionDelivery<CopyOwner>): number {
  return delivery instanceof CopyDelivery ? delivery.retried.used : 0
}

/** What is known of a copy, beyond what its partition's record knows of it. */
export function copyState(known: AttemptState, { used }: Retried): AttemptState {
  if (used <= known.used) return known
  return { ...known, used, history: known.history === 'new' ? 'returned' : known.history }
}

/** A copy that is read before its time: no member can have handed it out. */
export function earlyCopy(known: AttemptState, { used }: Retried, dueAt: number): AttemptState {
  if (used === 0 || known.used > used || known.history === 'died') return early(known, dueAt)
  return { ...RETURNED, used, notBefore: dueAt }
}

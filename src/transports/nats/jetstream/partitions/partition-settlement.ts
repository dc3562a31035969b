import { PartitionSettlement } from '../../../../core/partitions/settlement.ts'
import type { JetStreamPublisher } from '../publish/publisher.ts'
import { deadLetterId } from '../server/identity.ts'
import type { Session } from '../../connection/session.ts'
import type { Partition } from './partition.ts'
import type { PartitionSet } from './partition-set.ts'

export interface SettlementParts {
  readonly session: Session
  readonly publisher: JetStreamPublisher
  readonly set: PartitionSet
  /** Whether a settlement waits for the record that contains it. */
  readonly isConfirmed: boolean
}

/** Applies the runtime's outcomes to the deliveries of partitions; the records of the partitions make them last. */
export function partitionSettlement({
  session,
  publisher,
  set,
  isConfirmed,
}: SettlementParts): PartitionSettlement<Partition> {
  return new PartitionSettlement({
    isHeld: () => set.isHeld,
    now: () => session.host.clock.now(),
    comesAgain: (delivery, dueAt) => {
      const { owner } = delivery
      if (dueAt === undefined) owner.push(delivery)
      else set.delays.add(owner, owner.putAside(delivery, dueAt, false))
      set.wake()
    },
    publishLetters: (rejects) =>
      publisher.publish(
        rejects.map(({ deadLetter }) => deadLetter),
        undefined,
        rejects.map(({ delivery: { place, owner }, deadLetter }) => deadLetterId(deadLetter, place, owner.life)),
      ),
    changed: (partition, now) => {
      if (now) set.commitNow(partition)
      else set.changedIn(partition)
    },
    noted: (partition) => set.commitNow(partition),
    settled: () => set.settled(),
    whenStored: (partition, what) =>
      set.isAlone || (what === 'settlements' && !isConfirmed) ? Promise.resolve(true) : partition.whenStored(),
  })
}

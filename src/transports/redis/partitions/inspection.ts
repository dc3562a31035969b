import type { Claimer } from '../consume/claimer.ts'
import type { LossDetector } from '../consume/loss-detector.ts'
import type { MemberContext } from '../consume/member-context.ts'
import type { Readers } from '../consume/readers.ts'
import { Source } from '../consume/source.ts'
import { atOnce } from '../scripts/at-once.ts'
import { INSPECT } from '../scripts/group.ts'
import { STREAM_STATES } from '../scripts/look.ts'
import { ownerName } from '../topology/join-group.ts'
import type { PartitionState } from './partition-state.ts'

/** What other programs do to a stream that nothing happens in is looked for after that many leases. */
const QUIET_SWEEP_LEASES = 6

/** What the inspection needs from its membership. */
export interface InspectionParts {
  readonly member: MemberContext
  readonly claimer: Claimer
  readonly readers: Readers
  readonly losses: LossDetector
  readonly group: string
  readonly assignment: string
  /** Of the assignment, as of the last look. */
  readonly revision: () => string
  readonly partitions: readonly PartitionState[]
  /** Members without an order read the partitions as well. */
  readonly isMixed: () => boolean
  /** The share of this member is to be looked at again. */
  readonly soon: (ms: number) => void
  /** The server says that the partition has another generation, or none. */
  readonly disowned: (partition: PartitionState, current: string) => void
}

/**
 * Looks at what waits for its time in the partitions of a member, and at what other programs did to them: at each poll while
 * something happens, and otherwise once per lease.
 */
export class Inspection {
  readonly #of: InspectionParts
  /** Chosen at random for each run, so that members don't look all at once for what other programs do; the same for its partitions. */
  #jitter = 1

  constructor(of: InspectionParts) {
    this.#of = of
  }

  /**
   * When it is to look again (monotonic), if nothing is expected then. Undefined otherwise, and if something else is to be done
   * sooner, at `otherAt`.
   */
  quietUntil(otherAt: number): number | undefined {
    // Without owners, any member may have what another one hands back: each looks at every poll.
    if (!this.#of.member.owned) return undefined
    let until = otherAt
    for (const { phase, inspectAt, isExpectedQuiet } of this.#of.partitions) {
      if (phase === 'idle') continue
      if (!isExpectedQuiet || inspectAt === 0) return undefined
      until = Math.min(until, inspectAt)
    }
    return until < otherAt ? until : undefined
  }

  /**
   * Looks at what is due until that time (monotonic). One script for many partitions; in a cluster one for each, because they may be
   * on different servers.
   */
  async run(until: number): Promise<void> {
    const { context } = this.#of.member
    const { leaseMs } = context.options
    const now = context.host.clock.monotonic()
    const due = this.#of.partitions.filter(({ phase, inspectAt }) => phase !== 'idle' && inspectAt <= until)
    if (due.length === 0) return
    this.#jitter = 0.8 + Math.random() * 0.4
    // With jitter, so that not all groups are looked at at once.
    const quietUntil = now + leaseMs * (0.9 + Math.random() * 0.2)
    // Those that are due soon come along: one script rather than several.
    for (const partition of this.#of.partitions)
      if (partition.phase !== 'idle' && partition.inspectAt > until && partition.inspectAt <= now + leaseMs / 4)
        due.push(partition)
    await Promise.all(atOnce(due, context.commands).map((some) => this.#inspectSome(some, quietUntil)))
  }

  /**
   * Nothing is known to have happened, and nothing has: one script for many groups says so, and from time to time one that compares
   * what other programs may have changed.
   */
  async #isUntouched(partitions: readonly PartitionState[], hasAssignment: boolean): Promise<boolean> {
    const { context } = this.#of.member
    if (!partitions.every(({ isQuiet, isExpectedQuiet, inspectAt }) => isQuiet && isExpectedQuiet && inspectAt > 0))
      return false
    const unswept = partitions.filter((partition) => !this.#isSwept(partition))
    if (unswept.some(({ lastSeen, reads }) => lastSeen?.resets !== reads.resets)) return false
    const [seen, { revision, isAlone }] = await Promise.all([
      this.#lookAt(unswept),
      context.groupLooks.look({
        assignment: hasAssignment ? this.#of.assignment : undefined,
        hashes: [...new Set(partitions.map(({ group }) => group.meta))],
        beside: partitions.flatMap(({ keys, group: { later, side, sideLater, delayed } }) => [
          keys.delayed,
          later,
          side,
          sideLater,
          delayed,
        ]),
      }),
    ])
    if (!isAlone || (revision !== undefined && revision !== this.#of.revision())) return false
    if (unswept.some(({ lastSeen }, at) => seen[at] !== lastSeen?.state)) return false
    for (const partition of unswept) partition.sweptAt = context.host.clock.monotonic()
    return true
  }

  /** What has happened in these streams, as far as the server knows. */
  async #lookAt(partitions: readonly PartitionState[]): Promise<readonly string[]> {
    if (partitions.length === 0) return []
    const { scripts } = this.#of.member.context
    const streams = partitions.map(({ keys }) => keys.stream)
    return ((await scripts.run(STREAM_STATES, streams, [this.#of.group])) as readonly Buffer[]).map(String)
  }

  async #inspectSome(partitions: readonly PartitionState[], quietUntil: number): Promise<void> {
    const { member, readers } = this.#of
    const { context, owned } = member
    const [first] = partitions as [PartitionState]
    const hasAssignment = !context.commands.cluster || first.keys.partition === 0
    if (await this.#isUntouched(partitions, hasAssignment)) {
      const { clock } = context.host
      const nextAt = owned ? quietUntil : clock.monotonic() + context.options.pollIntervalMs
      for (const partition of partitions) partition.inspectAt = nextAt
      return
    }
    const keys = [hasAssignment ? this.#of.assignment : first.group.meta]
    const args = [this.#of.group, ownerName(member), readers.nameOf(first)]
    const asked = partitions.map((partition) => {
      const { generation, floor, main } = partition
      const { later, side, sideLater, delayed, meta } = partition.group
      const out = partition.unsettled(main)
      keys.push(partition.keys.stream, meta, later, side, sideLater, partition.keys.delayed, delayed)
      args.push(generation, floor, !owned || out.length > 0 ? '1' : '0')
      return { generation, floor, out }
    })
    const [revision, ...found] = (await context.scripts.run(INSPECT, keys, args)) as readonly [
      Buffer,
      ...(readonly Inspected[]),
    ]
    if (hasAssignment && String(revision) !== this.#of.revision()) this.#of.soon(0)
    for (const [at, partition] of partitions.entries())
      this.#inspected(partition, asked[at] as Asked, found[at] as Inspected, quietUntil)
  }

  #inspected(partition: PartitionState, { generation, floor, out }: Asked, found: Inspected, quietUntil: number): void {
    const { member, claimer, readers } = this.#of
    if (partition.generation !== generation || partition.phase === 'idle') return
    const { clock } = member.context.host
    const { pollIntervalMs } = member.context.options
    const [ours, current, hasSide, later, sideLater, delayed, pending] = found
    if (ours === 0) {
      this.#of.disowned(partition, String(current))
      return
    }
    partition.recordedFloor = floor
    // In flight before and after the call: pending at the server, unless the group or our consumer was deleted.
    if (pending === -2 || (pending >= 0 && pending < stillOut(partition, out))) partition.repair()
    if (partition.phase === 'held') {
      if (hasSide === 1 && partition.side?.missing !== false) this.#beginSide(partition)
      claimer.expect(partition.main, later)
      if (partition.side !== undefined) claimer.expect(partition.side, sideLater)
      this.#sweep(partition)
      readers.wake(partition)
    }
    const isQuiet = member.owned && partition.isQuiet
    partition.isExpectedQuiet = partition.isQuiet && delayed < 0 && (member.owned || pending === 0)
    if (!isQuiet) partition.wasBusy = true
    const nextAt = isQuiet ? quietUntil : clock.monotonic() + pollIntervalMs
    partition.inspectAt = delayed >= 0 ? Math.min(clock.monotonic() + delayed + 1, nextAt) : nextAt
    if (delayed >= 0 && delayed < pollIntervalMs) member.context.maintenance.soon(delayed + 1)
  }

  /** The stream of copies for the group exists, for the first time or again. */
  #beginSide(partition: PartitionState): void {
    partition.side ??= new Source(partition, true)
    partition.side.missing = false
    this.#of.claimer.recover(partition.side, this.#of.member.owned ? 'all' : 'mine')
    this.#of.readers.refresh()
  }

  /** Finds entries that no member has renewed for a lease: their member died. */
  #sweep(partition: PartitionState): void {
    const { member, claimer, readers } = this.#of
    if (this.#isSwept(partition)) return
    partition.sweptAt = member.context.host.clock.monotonic()
    partition.wasBusy = false
    void this.#look(partition).then(async () => {
      // What is compared must be compared before anything is claimed: what others have pending is no loss.
      if (partition.reads.isOpen) await readers.interrupt(partition)
      for (const source of partition.sources) claimer.recover(source, 'orphans')
    })
  }

  /**
   * What is seen first is the older state: what changes until the loss is looked for will differ from it. It counts only if
   * something was compared, or what changed before would never be looked for.
   */
  async #look(partition: PartitionState): Promise<void> {
    partition.lastSeen = undefined
    const [state = ''] = await this.#lookAt([partition]).catch(() => [])
    if ((await this.lookForLoss(partition)) && state !== '')
      partition.lastSeen = { state, resets: partition.reads.resets }
  }

  #isSwept({ wasBusy, sweptAt }: PartitionState): boolean {
    const { owned, context } = this.#of.member
    const leases = owned && !wasBusy ? QUIET_SWEEP_LEASES : 0.5
    return context.host.clock.monotonic() - sweptAt < context.options.leaseMs * leases * this.#jitter
  }

  /** Members without an order read the partitions of the others as well. False when nothing could be compared. */
  lookForLoss(partition: PartitionState): Promise<boolean> {
    return this.#of.losses.lookForLoss(partition, this.#of.member.owned && !this.#of.isMixed()).catch(() => false)
  }
}

/** See `INSPECT`. */
type Inspected = readonly [number, Buffer, number, number, number, number, number]

interface Asked {
  readonly generation: string
  readonly floor: string
  readonly out: readonly string[]
}

/** How many of these are still here and not being settled. */
function stillOut(partition: PartitionState, ids: readonly string[]): number {
  if (ids.length === 0) return 0
  const now = new Set(partition.unsettled(partition.main))
  return ids.reduce((count, id) => count + (now.has(id) ? 1 : 0), 0)
}

import type { SubscriptionSpec } from '../../core/transport.ts'
import type { Consumers } from './consumers.ts'
import type { NatsDelivery } from './delivery.ts'
import type { Lane } from './lane.ts'
import { Ownership } from './ownership.ts'
import type { OwnershipHost } from './ownership.ts'
import type { Session } from './session.ts'
import type { StateRecords } from './state-records.ts'

/** How long a member that hands over a partition waits for its handlers. */
const HANDOVER_MS = 10_000

export interface PartitionsParts {
  readonly session: Session
  readonly records: StateRecords
  readonly consumers: Consumers
  readonly lanes: readonly Lane[]
  readonly spec: SubscriptionSpec
  /** Id of the group on this topic. */
  readonly groupId: string
  /** Subject for messages among the members. */
  readonly noticeSubject: string
  readonly leaseMs: () => number
  /** How long ago the server lost the leases that it knew, in ms. */
  readonly leasesLostMs: () => number
  /** False when nothing more should be read. */
  readonly isReading: () => boolean
  /** Gives everything of a lane back, in order; reports the reason to the runtime for what it has. */
  readonly emptyLane: (lane: Lane, reason: string) => Promise<void>
  /** The group was moved or deleted. */
  readonly moved: () => void
  /** Why a lane can't be read; undefined when it can. */
  readonly trouble: (lane: Lane, detail: string | undefined) => void
}

/** One acquisition of a lane. The lane may be lost and acquired again before it is read. */
interface Acquired {
  /** What was delivered of it must be fetched back. */
  readonly expired: boolean
}

/** The lanes that have one reader at a time: starts and stops reading them as `Ownership` acquires and releases them. */
export class Partitions implements OwnershipHost {
  readonly session: Session
  readonly records: StateRecords
  readonly memberId: string
  readonly #parts: PartitionsParts
  readonly #ownership: Ownership | undefined
  /** Handovers that wait for outstanding deliveries: called when one is settled or lost. */
  readonly #handovers = new Set<() => void>()
  /** Lanes that are ours but not read yet. */
  readonly #unbegun = new Map<Lane, Acquired>()
  readonly #beginning = new Set<Lane>()
  #closed = false

  constructor(parts: PartitionsParts) {
    this.#parts = parts
    this.session = parts.session
    this.records = parts.records
    this.memberId = parts.spec.consumerId
    const units = new Set(parts.lanes.map((lane) => lane.plan.unit).filter((unit) => unit !== undefined))
    if (parts.spec.ephemeral || units.size === 0) return
    this.#ownership = new Ownership(this, [...units], parts.groupId, parts.noticeSubject)
  }

  get leaseMs(): number {
    return this.#parts.leaseMs()
  }

  get leasesLostMs(): number {
    return this.#parts.leasesLostMs()
  }

  get isStandby(): boolean {
    return this.#ownership?.isStandby ?? false
  }

  get trouble(): string | undefined {
    return this.#ownership?.trouble
  }

  formerMs(unit: string): number {
    return Math.max(0, ...this.#lanesOf(unit).map((lane) => Math.max(lane.formerMs, lane.scattered ? 1 : 0)))
  }

  async start(): Promise<void> {
    await this.#ownership?.start()
  }

  up(): void {
    this.#ownership?.up()
    this.begin()
  }

  /** Ends every waiting handover; the lanes must be emptied before `close`. */
  stopWaiting(): void {
    this.#closed = true
    this.#unbegun.clear()
    this.settled()
  }

  async close(): Promise<void> {
    await this.#ownership?.close()
  }

  // --- what is ours ------------------------------------------------------------------------------------------------

  isOurs(lane: Lane): boolean {
    return this.leaseLeftMs(lane) > 0
  }

  /** How long a lane is certainly ours, in ms. */
  leaseLeftMs({ plan: { unit } }: Lane): number {
    return unit === undefined || this.#ownership === undefined ? Infinity : this.#ownership.leftMs(unit)
  }

  /** True if no other member can have had the message since it came. False: it may have been delivered again. */
  wasOursAlone({ lane, tenure, touchedAt }: NatsDelivery): boolean {
    if (tenure !== lane.tenure) return false
    const { unit } = lane.plan
    if (unit !== undefined) return this.#ownership?.hasRunOut(unit) !== true
    return this.session.host.clock.monotonic() - touchedAt <= lane.ackWaitMs
  }

  /** False when the lease was not renewed for a while: its messages must not be held for longer than the partition. */
  mayExtend({ plan: { unit } }: Lane): boolean {
    return unit === undefined || this.#ownership === undefined || this.#ownership.isFresh(unit)
  }

  /** Some deliveries were settled, or lost. */
  settled(): void {
    for (const check of this.#handovers) check()
  }

  #lanesOf(unit: string): Lane[] {
    return this.#parts.lanes.filter((lane) => lane.plan.unit === unit)
  }

  // --- as ownership wants it ---------------------------------------------------------------------------------------

  acquire(unit: string, expired: boolean): void {
    for (const lane of this.#lanesOf(unit)) {
      lane.scattered = expired
      this.#unbegun.set(lane, { expired })
    }
    this.begin()
  }

  /**
   * Starts reading lanes that are ours but not read yet: called again when that failed, or the partition would stand
   * still.
   */
  begin(): void {
    if (!this.session.ready) return
    for (const [lane, acquired] of this.#unbegun) {
      if (this.#beginning.has(lane)) continue
      this.#beginning.add(lane)
      const { epoch } = this.session
      this.#begin(lane, acquired)
        .catch(async (error: unknown) => {
          if (this.#unbegun.get(lane) === acquired) this.#unbegun.set(lane, { expired: true })
          if (this.session.ready) {
            const why = error instanceof Error ? error.message : String(error)
            this.#parts.trouble(lane, `its consumer can't be read: ${why}`)
            this.session.error(error, `beginning to read consumer "${lane.consumer}"`)
          }
          await lane.quiet()
          return true
        })
        .catch((error: unknown) => {
          this.session.error(error, `leaving consumer "${lane.consumer}"`)
          return true
        })
        .then((hasFailed) => {
          this.#beginning.delete(lane)
          // It failed with the old connection, and the new one is already up; or the lane was lost and acquired again
          // meanwhile.
          if (this.session.epoch !== epoch || hasFailed !== true) this.begin()
        })
        .catch((error: unknown) => this.session.error(error, `beginning to read consumer "${lane.consumer}"`))
    }
  }

  async #begin(lane: Lane, acquired: Acquired): Promise<void> {
    const left = await this.#parts.consumers.takeOver(lane)
    const isWanted = (): boolean => this.#unbegun.get(lane) === acquired
    if (isWanted() && this.isOurs(lane) && this.#parts.isReading()) await lane.activate(left, acquired.expired)
    if (!isWanted()) return
    this.#unbegun.delete(lane)
    this.#parts.trouble(lane, undefined)
  }

  async release(unit: string, lost: AbortSignal): Promise<void> {
    const lanes = this.#lanesOf(unit)
    for (const lane of lanes) this.#unbegun.delete(lane)
    await Promise.all(lanes.map((lane) => lane.quiet()))
    const isOver = (): boolean =>
      lost.aborted || this.#closed || lanes.every((lane) => lane.outstanding.size === 0 && lane.handingBack === 0)
    if (!isOver()) {
      const { promise, resolve } = Promise.withResolvers<void>()
      const timer = this.session.host.clock.setTimer(HANDOVER_MS, resolve)
      const check = (): void => {
        if (isOver()) resolve()
      }
      this.#handovers.add(check)
      await promise
      this.#handovers.delete(check)
      timer.cancel()
    }
    for (const lane of lanes)
      if (!lost.aborted) await this.#parts.emptyLane(lane, 'its partition went to another member')
  }

  revoke(unit: string, reason: string): void {
    for (const lane of this.#lanesOf(unit)) {
      this.#unbegun.delete(lane)
      this.#parts.trouble(lane, undefined)
      lane.lose(reason)
      lane.quiet().catch((error: unknown) => this.session.error(error, `leaving partition ${unit}`))
    }
  }

  changed(assigned: readonly string[], revoked: readonly string[]): void {
    const { name, events } = this.session.host
    const { topic, group, consumerId } = this.#parts.spec
    events.emit('rebalance', { transport: name, topic, group, consumerId, assigned, revoked })
  }

  moved(): void {
    this.#parts.moved()
  }
}

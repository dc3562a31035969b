import type { AttemptNotes } from './attempt-notes.ts'
import type { NatsDelivery } from './delivery.ts'
import type { JetStreamApi } from './jetstream-api.ts'
import type { Lane } from './lane.ts'
import type { Mapping } from './mapping.ts'
import type { Session } from './session.ts'
import type { Subjects } from './subjects.ts'

/** What a lane needs of its subscription. */
export interface LaneHost {
  readonly session: Session
  readonly api: JetStreamApi
  readonly subjects: Subjects
  readonly mapping: Mapping
  readonly notes: AttemptNotes
  readonly group: string
  readonly ackWaitMs: number
  /** Something may be handed over, or asked for. Once per turn, however often it is called. */
  wake(): void
  /** For how long a lane is certainly ours, in ms. */
  leaseLeftMs(lane: Lane): number
  lost(deliveries: readonly NatsDelivery[], reason: string): void
  /** Acks what no handler is to see. */
  acknowledge(reply: string): void
  /** The same, after a look whether the lane's consumer is still the one that we know. */
  acknowledgeIfSame(lane: Lane, reply: string): void
  /** True while the ack of that message is on its way. */
  isAcking(lane: Lane, seq: number): boolean
  /** Hands a delivery back for a while that came before its time. `noted`: what was noted of it must be noted again. */
  putOff(delivery: NatsDelivery, delayMs: number, noted: boolean): void
  consumerMissing(lane: Lane): void
}

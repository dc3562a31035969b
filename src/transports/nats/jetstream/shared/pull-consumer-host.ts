import type { AttemptNotes } from './attempt-notes.ts'
import type { NatsDelivery } from './delivery.ts'
import type { JetStreamApi } from '../server/jetstream-api.ts'
import type { PullConsumer } from './pull-consumer.ts'
import type { Mapping } from '../../wire/mapping.ts'
import type { Session } from '../../connection/session.ts'
import type { Subjects } from '../../wire/subjects.ts'

/** What a lane needs from its subscription. */
export interface PullConsumerHost {
  readonly session: Session
  readonly api: JetStreamApi
  readonly subjects: Subjects
  readonly mapping: Mapping
  readonly notes: AttemptNotes
  readonly group: string
  readonly ackWaitMs: number
  /** Something may be handed over or requested. Runs once per turn, however often it is called. */
  wake(): void
  lost(deliveries: readonly NatsDelivery[], reason: string): void
  /** Acks a message that no handler should see. */
  acknowledge(reply: string): void
  /** Like `acknowledge`, after checking that the lane's consumer is still the one that we know. */
  acknowledgeIfSame(lane: PullConsumer, reply: string): void
  /** True while the ack of that message is in progress. */
  isAcking(lane: PullConsumer, seq: number): boolean
  /** Hands back a delivery that came before its time. `noted`: its note must be written again. */
  delay(delivery: NatsDelivery, delayMs: number, noted: boolean): void
  consumerMissing(lane: PullConsumer): void
}

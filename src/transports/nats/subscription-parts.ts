import type { AttemptNotes } from './attempt-notes.ts'
import type { JetStreamApi } from './jetstream-api.ts'
import type { Mapping } from './mapping.ts'
import type { JetStreamPublisher } from './publisher.ts'
import type { Session } from './session.ts'
import type { SessionLeases } from './session-leases.ts'
import type { StateRecords } from './state-records.ts'
import type { Subjects } from './subjects.ts'
import type { Topology } from './topology.ts'

/** What the subscriptions of one transport share. */
export interface SubscriptionParts {
  readonly session: Session
  readonly api: JetStreamApi
  readonly subjects: Subjects
  readonly topology: Topology
  readonly mapping: Mapping
  readonly notes: AttemptNotes
  readonly records: StateRecords
  readonly leases: SessionLeases
  readonly publisher: JetStreamPublisher
}

import type { AttemptNotes } from './shared/attempt-notes.ts'
import type { JetStreamApi } from './server/jetstream-api.ts'
import type { Mapping } from '../wire/mapping.ts'
import type { JetStreamPublisher } from './publish/publisher.ts'
import type { Session } from '../connection/session.ts'
import type { SessionLeases } from './partitions/session-leases.ts'
import type { StateRecords } from './server/state-records.ts'
import type { Subjects } from '../wire/subjects.ts'
import type { Topology } from './server/topology.ts'

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

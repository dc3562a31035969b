import { randomBytes } from 'node:crypto'
import { ConfigurationError } from '../../../../core/errors.ts'
import type { StartFrom, SubscriptionSpec } from '../../../../core/transport.ts'
import { sequenceBefore } from './count-messages.ts'
import type { JetStreamApi } from './jetstream-api.ts'
import { sequenceOf } from '../../wire/mapping.ts'
import { ForeignRecordError, RECORD_VERSION } from '../partitions/partition-record.ts'
import type { StateRecords } from './state-records.ts'
import { groupId } from '../../wire/subjects.ts'
import type { Layout } from '../../wire/subjects.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'

/** How a group reads a topic, and where it began, or was moved to. */
export interface GroupRecord {
  readonly v: number
  readonly topic: string
  readonly group: string
  readonly layout: Layout
  /** Identity of the stream that `to` belongs to. */
  readonly stream: string
  /** Partitions without a record of their own begin behind this sequence. */
  readonly to: number
  /** Changes when the group is moved. */
  readonly life: string
}

export interface Joined {
  readonly record: GroupRecord
  /** There was no such group before. */
  readonly isNew: boolean
}

export function newLife(): string {
  return randomBytes(6).toString('hex')
}

export async function readGroup(records: StateRecords, groupId: string): Promise<GroupRecord | undefined> {
  const record = await records.read(records.groupSubject(groupId))
  return record === undefined ? undefined : parseGroup(record.text)
}

export function parseGroup(text: string): GroupRecord {
  let record: Partial<GroupRecord> = {}
  try {
    record = (JSON.parse(text) as Partial<GroupRecord> | null) ?? {}
  } catch {
    // Reported below.
  }
  if (record.v !== RECORD_VERSION || typeof record.to !== 'number' || typeof record.topic !== 'string')
    throw new ForeignRecordError(text, record.v)
  return record as GroupRecord
}

/** The group's record; the first member to come writes it, and so decides where the group begins. */
export async function joinGroup(
  { api, records, topology, subjects, session }: SubscriptionParts,
  { topic, group, from, order, ephemeral }: SubscriptionSpec,
): Promise<Joined> {
  const plan = subjects.plan(topic, order, ephemeral, !session.isOlderThan(2, 10))
  const { layout } = plan
  const stream = topology.streamOf(plan.dead)
  const filters = [...plan.shared.map(({ filter }) => filter), ...plan.units.flatMap((unit) => unit.filters)]
  if (!plan.dead && !filters.some((filter) => topology.stores(filter))) throw elsewhere(topic, topology.name)
  const begin = async (): Promise<GroupRecord> => ({
    v: RECORD_VERSION,
    topic,
    group,
    layout,
    stream: topology.identityOf(stream) ?? '',
    to: await startOf(api, stream, filters, from),
    life: newLife(),
  })
  // A broadcast has no members but this one.
  if (ephemeral) return { record: await begin(), isNew: false }
  const subject = records.groupSubject(groupId(topic, group))
  for (;;) {
    const found = await records.read(subject)
    if (found !== undefined) {
      const record = parseGroup(found.text)
      // Who wants no order may have one.
      if (record.layout !== layout && (layout !== 'none' || record.layout === 'strict'))
        throw mixture(topic, group, record.layout)
      return { record, isNew: false }
    }
    const record = await begin()
    const seq = await records.write(subject, JSON.stringify(record), 0)
    if (seq !== undefined) return { record, isNew: true }
  }
}

/** A group reads a topic in one way: two at once would deliver every message twice. */
function mixture(topic: string, group: string, layout: Layout): ConfigurationError {
  return new ConfigurationError(`The consumer of "${topic}"`, [
    {
      path: 'order',
      message: `the group "${group}" reads this topic with order '${layout}' already, which is stored in another way on the server: use another group, or delete this one first (admin.deleteGroup)`,
    },
  ])
}

function elsewhere(topic: string, stream: string): ConfigurationError {
  return new ConfigurationError(`The consumer of "${topic}"`, [
    {
      path: 'topic',
      message: `the stream "${stream}" (stream.bind) stores nothing of it: its topics are its subjects, as "nats stream info" lists them`,
    },
  ])
}

/** The sequence behind which a group begins. */
export async function startOf(
  api: JetStreamApi,
  stream: string,
  filters: readonly string[],
  from: StartFrom,
): Promise<number> {
  if (from === 'earliest') return 0
  if (from === 'latest') return (await api.streamInfo(stream)).state.last_seq
  if ('timeMs' in from) return sequenceBefore(api, stream, filters, from.timeMs)
  // One that is not there yet would look like one of a stream that has lost its messages.
  const { last_seq: last } = (await api.streamInfo(stream)).state
  return Math.min(last, Math.max(0, (sequenceOf(from.position) ?? 0) - 1))
}

import { sleep } from '../../../../core/clock.ts'
import { compilePattern, isPattern } from '../../../../core/topic.ts'
import type { GroupInfo, PartitionInfo, StartFrom } from '../../../../core/transport.ts'
import type { Position } from '../../../../core/message.ts'
import { consumerConfig, mayGiveUp, metadataOf } from '../shared/durable-consumers.ts'
import { countFrom } from './count-messages.ts'
import { isNotFound, JetStreamError } from '../../errors.ts'
import { newLife, parseGroup, readGroup, startOf } from './group-record.ts'
import type { GroupRecord } from './group-record.ts'
import type { ConsumerConfig, ConsumerInfo } from './jetstream-types.ts'
import { mapLimited } from './limited.ts'
import { positionOf } from '../../wire/mapping.ts'
import { notifyMoved } from '../consume/members.ts'
import { encodeRecord, floorOf, NOTHING_LEFT, RECORD_VERSION } from '../partitions/partition-record.ts'
import { PartitionStore } from '../partitions/partition-store.ts'
import { consumerName, groupId } from '../../wire/subjects.ts'
import type { SharedPlan, SubscriptionPlan, UnitPlan } from '../../wire/subjects.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'

/** The ends of partitions are requested for at most this many. */
const MAX_LOOKED_UP = 1_000
/** Attempts to write what members of the group may write at the same time. */
const SEEK_TRIES = 8
const SEEK_PAUSE_MS = 10

/** Sequences of the first and the last message of some filters. */
interface Ends {
  readonly start: number | undefined
  readonly head: number | undefined
}

/** What several groups have in common is looked up once. */
interface Lookups {
  ends(filter: string): Promise<Ends>
  /** Whether the lease of a session is not over. */
  isAlive(session: string): Promise<boolean>
}

/** What the groups of a stream have done, and where they are. */
export class GroupAdmin {
  readonly #parts: SubscriptionParts

  constructor(parts: SubscriptionParts) {
    this.#parts = parts
  }

  // --- looking -----------------------------------------------------------------------------------------------------

  async groups(topic: string | undefined): Promise<GroupInfo[]> {
    const { records } = this.#parts
    const subjects = await records.subjects(records.groupSubject('*'))
    const found = await mapLimited(subjects, async (subject) => {
      const record = await records.read(subject)
      return record === undefined ? undefined : parseGroup(record.text)
    })
    const wanted = found.filter((record) => record !== undefined && (topic === undefined || reads(record.topic, topic)))
    const partitions = wanted.reduce(
      (count, record) => count + (record?.layout === 'key' ? this.#parts.subjects.partitions + 1 : 1),
      0,
    )
    const lookups = this.#lookups(partitions <= MAX_LOOKED_UP)
    const infos: GroupInfo[] = []
    for (const record of wanted)
      if (record !== undefined) infos.push(await this.#describe(record, topic ?? record.topic, lookups))
    return infos
  }

  #lookups(withEnds: boolean): (stream: string) => Lookups {
    const { api, records } = this.#parts
    const ends = new Map<string, Promise<Ends>>()
    const sessions = new Map<string, Promise<boolean>>()
    const endsOf = async (stream: string, filter: string): Promise<Ends> => {
      const [first, last] = await Promise.all([
        api.message(stream, { seq: 1, next_by_subj: filter }),
        api.message(stream, { last_by_subj: filter }),
      ])
      return { start: first?.seq, head: last?.seq }
    }
    const isAlive = async (session: string): Promise<boolean> => {
      // Its member closed while the partition was lost to it.
      if (session === '') return false
      const lease = await records.readLease(records.leaseSubject(session))
      return lease !== undefined && Date.now() - lease.time < 2 * this.#parts.leases.leaseMs
    }
    const once = <Result>(
      known: Map<string, Promise<Result>>,
      key: string,
      work: () => Promise<Result>,
    ): Promise<Result> => {
      let result = known.get(key)
      if (result === undefined) known.set(key, (result = work()))
      return result
    }
    return (stream) => ({
      ends: (filter) =>
        withEnds
          ? once(ends, `${stream} ${filter}`, () => endsOf(stream, filter))
          : Promise.resolve({ start: undefined, head: undefined }),
      isAlive: (session) => once(sessions, session, () => isAlive(session)),
    })
  }

  #planOf({ topic, layout }: Pick<GroupRecord, 'topic' | 'layout'>): SubscriptionPlan {
    const { subjects, session } = this.#parts
    return subjects.plan(topic, layout, false, !session.isOlderThan(2, 10))
  }

  async #describe(record: GroupRecord, topic: string, lookupsOf: (stream: string) => Lookups): Promise<GroupInfo> {
    const { topology } = this.#parts
    const plan = this.#planOf(record)
    const stream = topology.streamOf(plan.dead)
    const lookups = lookupsOf(stream)
    const id = groupId(record.topic, record.group)
    const units = await mapLimited(plan.units, (unit) => this.#unitInfo(record, id, stream, unit, lookups))
    const shared =
      plan.shared.length === 0 ? undefined : await this.#sharedInfo(record, id, stream, plan.shared, lookups)
    const partitions = shared === undefined ? units : [...units, shared.info]
    const owners = new Set(partitions.flatMap(({ member }) => member ?? [])).size
    return {
      topic,
      group: record.group,
      lag: sum(partitions.map(({ lag }) => lag)),
      inFlight: sum(partitions.map(({ inFlight }) => inFlight)),
      // At least one while any member asks for messages without a partition.
      members: Math.max(owners, shared?.isRead === true ? 1 : 0),
      oldestUnackedAt: lowest(partitions.map(({ oldestUnackedAt }) => oldestUnackedAt)),
      partitions,
    }
  }

  async #unitInfo(
    group: GroupRecord,
    id: string,
    stream: string,
    { name, filters }: UnitPlan,
    lookups: Lookups,
  ): Promise<PartitionInfo> {
    const { api, records } = this.#parts
    const [{ record }, ends] = await Promise.all([
      new PartitionStore(records, id).read(name),
      Promise.all(filters.map((filter) => lookups.ends(filter))),
    ])
    const { to, open, spans, first } = record ?? { to: group.to, open: [], spans: [], first: 0 }
    const head = highest(ends.map((each) => each.head))
    const unread = head !== undefined && head <= to ? 0 : await countFrom(api, stream, filters, to + 1)
    const lag = unread + open.length + spans.reduce((count, [, , ofSpan]) => count + ofSpan, 0)
    const floor = floorOf({ to, open, spans })
    // Where the group began, it has settled nothing.
    const settled = first > 0 && floor >= first ? floor : undefined
    const isOwned = record !== undefined && !record.free && (await lookups.isAlive(record.session))
    return {
      partition: name,
      lag,
      inFlight: isOwned ? open.filter(({ out }) => out).length : 0,
      position: at(stream, lag > 0 ? settled : (head ?? settled)),
      head: at(stream, head),
      start: at(stream, lowest(ends.map((each) => each.start))),
      oldestUnackedAt: lag === 0 ? undefined : await this.#timeAfter(stream, filters, floor),
      member: isOwned ? record.owner : undefined,
    }
  }

  /** `plans`: one, or two where a pattern ends in `.>`. */
  async #sharedInfo(
    group: GroupRecord,
    id: string,
    stream: string,
    plans: readonly SharedPlan[],
    lookups: Lookups,
  ): Promise<{ readonly info: PartitionInfo; readonly isRead: boolean }> {
    const infos: ConsumerInfo[] = []
    for (const { label } of plans) {
      const info = await this.#findConsumer(stream, consumerName(id, label))
      if (info !== undefined) infos.push(info)
    }
    const ends = await Promise.all(plans.map(({ filter }) => lookups.ends(filter)))
    const times = await Promise.all(
      infos
        .filter((info) => lagOf(info) > 0)
        .map((info) => this.#timeAfter(stream, [info.config.filter_subject ?? '>'], info.ack_floor.stream_seq)),
    )
    const head = highest(ends.map((each) => each.head))
    const behind = infos.filter((info) => lagOf(info) > 0)
    const settled = (consumers: readonly ConsumerInfo[]): number | undefined => {
      const floor = lowest(consumers.map((info) => info.ack_floor.stream_seq)) ?? 0
      return floor > group.to ? floor : undefined
    }
    const info: PartitionInfo = {
      partition: plans[0]?.label ?? '',
      lag: sum(infos.map(lagOf)),
      inFlight: sum(infos.map((each) => each.num_ack_pending)),
      position: at(stream, behind.length > 0 ? settled(behind) : (head ?? settled(infos))),
      head: at(stream, head),
      start: at(stream, lowest(ends.map((each) => each.start))),
      oldestUnackedAt: lowest(times),
      member: undefined,
    }
    return { info, isRead: infos.some((each) => each.num_waiting > 0) }
  }

  /** When the first message behind a sequence was stored. */
  async #timeAfter(stream: string, filters: readonly string[], seq: number): Promise<number | undefined> {
    const found = await Promise.all(
      filters.map((filter) => this.#parts.api.message(stream, { seq: seq + 1, next_by_subj: filter })),
    )
    return lowest(found.map((message) => (message === undefined ? undefined : Date.parse(message.time))))
  }

  // --- moving ------------------------------------------------------------------------------------------------------

  async seek(topic: string, group: string, to: StartFrom): Promise<void> {
    const { subjects, session, records, topology, api } = this.#parts
    const id = groupId(topic, group)
    // A group that does not exist yet is created as by a consumer with the default order.
    const before = await readGroup(records, id)
    const plan = this.#planOf({ topic, layout: before?.layout ?? 'key' })
    const stream = topology.streamOf(plan.dead)
    const filters = [...plan.shared.map(({ filter }) => filter), ...plan.units.flatMap((unit) => unit.filters)]
    const record: GroupRecord = {
      v: RECORD_VERSION,
      topic,
      group,
      layout: plan.layout,
      stream: topology.identityOf(stream) ?? '',
      to: await startOf(api, stream, filters, to),
      life: newLife(),
    }
    await records.write(records.groupSubject(id), JSON.stringify(record))
    await records.write(records.moveSubject(id), JSON.stringify({ at: to }))
    await mapLimited(plan.units, ({ name }) => this.#moveUnit(id, name, record))
    for (const shared of plan.shared) {
      const name = consumerName(id, shared.label)
      await this.#moveConsumer(stream, name, shared, to, record)
      // Attempts start over with the new consumer's count of deliveries.
      await records.forget([records.noteSubject(name, '*'), records.lookSubject(name)])
    }
    notifyMoved(session, subjects.members(id))
    await session.flush()
  }

  /** Replaces the record of a partition: its owner learns that with its next one, if not before. */
  async #moveUnit(id: string, unit: string, { stream, to, life }: GroupRecord): Promise<void> {
    const store = new PartitionStore(this.#parts.records, id)
    for (let tries = 1; ; tries++) {
      const { at: last, record } = await store.read(unit)
      // Also where there is none: a member that is about to claim the partition may still know the former position.
      const moved = {
        ...NOTHING_LEFT,
        owner: '',
        session: '',
        version: (record?.version ?? 0) + 1,
        free: true,
        stream,
        life,
        to,
        reserved: to,
      }
      if ((await store.write(unit, encodeRecord(moved), last)) !== undefined) return
      if (tries >= SEEK_TRIES) throw new Error(`Partition ${unit} could not be moved: its owner was faster each time`)
      await sleep(this.#parts.session.host.clock, SEEK_PAUSE_MS * tries)
    }
  }

  /**
   * Deletes a consumer and creates it again at another position. A member that notices may do so first, at the same
   * position: what it created stays, as deleting it too would deliver the same messages once more.
   */
  async #moveConsumer(
    stream: string,
    name: string,
    { dead, filter }: SharedPlan,
    to: StartFrom,
    { topic, group }: GroupRecord,
  ): Promise<void> {
    const { api, session } = this.#parts
    const config = consumerConfig({
      name,
      filter,
      from: to,
      description: 'Busbar: moved',
      ackWaitMs: session.options.leaseMs,
      maxDeliver: mayGiveUp(dead, false) ? session.options.maxDeliver : undefined,
      maxAckPending: session.options.maxAckPending,
      ephemeral: false,
      metadata: metadataOf(session, topic, group),
      native: session.options.native.consumer,
    })
    await api.deleteConsumer(stream, name)
    for (let tries = 1; ; tries++) {
      const found = await this.#findConsumer(stream, name)
      if (found !== undefined && startsAlike(found.config, config)) return
      if (found !== undefined) await api.deleteConsumer(stream, name)
      try {
        await api.createConsumer(stream, name, config)
        return
      } catch (error) {
        // 400: a member was faster. 500: the server is still removing the old one's files.
        const passes = error instanceof JetStreamError && (error.code === 400 || error.code === 500)
        if (tries >= SEEK_TRIES || !passes) throw error
      }
      await sleep(session.host.clock, SEEK_PAUSE_MS * tries)
    }
  }

  async #findConsumer(stream: string, name: string): Promise<ConsumerInfo | undefined> {
    try {
      return await this.#parts.api.consumerInfo(stream, name)
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw error
    }
  }

  /** Members that are still running create it again at their position. */
  async deleteGroup(topic: string, group: string): Promise<void> {
    const { api, subjects, session, records, topology } = this.#parts
    const id = groupId(topic, group)
    const names: string[] = []
    for (const layout of ['key', 'strict', 'none'] as const) {
      const plan = this.#planOf({ topic, layout })
      for (const { label } of plan.shared) {
        const name = consumerName(id, label)
        names.push(name)
        await api.deleteConsumer(topology.streamOf(plan.dead), name)
      }
    }
    await records.forget([records.groupSubject(id), records.partitionSubject(id, '*'), records.moveSubject(id)])
    await records.forgetSpare(records.spareSubject(id, '*'))
    notifyMoved(session, subjects.members(id))
    await session.flush()
    // Also for consumers that the server has already deleted.
    await records.forget(names.flatMap((name) => [records.noteSubject(name, '*'), records.lookSubject(name)]))
  }
}

function at(stream: string, seq: number | undefined): Position | undefined {
  return seq === undefined ? undefined : positionOf(stream, seq)
}

function lagOf({ num_pending: unread, num_ack_pending: inFlight }: ConsumerInfo): number {
  return unread + inFlight
}

/** True when both were created to begin at the same position. The server may write a time in another way. */
function startsAlike(a: ConsumerConfig, b: ConsumerConfig): boolean {
  const timeOf = ({ opt_start_time: time }: ConsumerConfig): number => (time === undefined ? 0 : Date.parse(time))
  return a.deliver_policy === b.deliver_policy && a.opt_start_seq === b.opt_start_seq && timeOf(a) === timeOf(b)
}

function sum(numbers: readonly (number | undefined)[]): number {
  return numbers.reduce<number>((total, number) => total + (number ?? 0), 0)
}

function lowest(numbers: readonly (number | undefined)[]): number | undefined {
  const known = numbers.filter((number) => number !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}

function highest(numbers: readonly (number | undefined)[]): number | undefined {
  const known = numbers.filter((number) => number !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}

/** True when a subscription to the pattern receives the topic. */
function reads(pattern: string, topic: string): boolean {
  return pattern === topic || (isPattern(pattern) && !isPattern(topic) && compilePattern(pattern)(topic))
}

import { sleep } from '../../core/clock.ts'
import { ConfigurationError } from '../../core/errors.ts'
import { compilePattern, isDeadLetterTopic, isPattern } from '../../core/topic.ts'
import type {
  GroupInfo,
  PartitionInfo,
  Position,
  RetentionInfo,
  StartFrom,
  StoredMessage,
  TopicInfo,
  TransportAdmin,
} from '../../core/transport.ts'
import { consumerConfig, mayGiveUp } from './consumers.ts'
import type { Mark } from './consumers.ts'
import { isNotFound, JetStreamError } from './errors.ts'
import type { ConsumerConfig, ConsumerInfo, StreamConfig } from './jetstream-types.ts'
import { positionOf, sequenceOf } from './mapping.ts'
import { tellMoved } from './members.ts'
import { readRange } from './read-range.ts'
import { ANY, consumerName, groupId, parseConsumerName, topicOfFilter } from './subjects.ts'
import type { LanePlan } from './subjects.ts'
import type { SubscriptionParts } from './subscription-parts.ts'

/** The time of the oldest message is requested topic by topic: for at most this many. */
const MAX_AGED_TOPICS = 500
/** The ends of partitions are requested for at most this many. */
const MAX_LOOKED_UP = 1_000
/** Attempts to create a consumer again while members of the group may do the same. */
const SEEK_TRIES = 8
const SEEK_PAUSE_MS = 10

/** Totals over the consumers of one group on one topic. */
interface Tally {
  readonly topic: string
  readonly group: string
  readonly id: string
  readonly consumers: ConsumerInfo[]
}

/** Sequences of the first and the last message of a filter. */
interface Ends {
  readonly start: number | undefined
  readonly head: number | undefined
}

export function jetStreamAdmin(parts: () => SubscriptionParts): TransportAdmin {
  const streamOf = (topic: string): string => parts().topology.streamOf(isDeadLetterTopic(topic))

  async function countTopics(stream: string): Promise<{ counts: Map<string, number>; retention: RetentionInfo }> {
    const { api, subjects } = parts()
    const counts = new Map<string, number>()
    for (let offset = 0; ;) {
      const { state, config, total = 0 } = await api.streamInfo(stream, { subjects_filter: '>', offset })
      const found = Object.entries(state.subjects ?? {})
      for (const [subject, count] of found) {
        const topic = subjects.topicOf(subject)
        counts.set(topic, (counts.get(topic) ?? 0) + count)
      }
      offset += found.length
      if (found.length === 0 || offset >= total) return { counts, retention: retentionOf(config) }
    }
  }

  async function oldestAt(topic: string, after: number): Promise<number | undefined> {
    const { api, subjects } = parts()
    const message = await api.message(streamOf(topic), { seq: after + 1, next_by_subj: subjects.allOf(topic) })
    return message === undefined ? undefined : Date.parse(message.time)
  }

  async function tallies(): Promise<Tally[]> {
    const { api, topology, subjects } = parts()
    const all = new Map<string, Tally>()
    for (const stream of [topology.name, topology.deadLetters]) {
      for (const info of await api.consumers(stream)) {
        const parsed = parseConsumerName(info.name)
        const filter = info.config.filter_subject
        if (parsed === undefined || filter === undefined) continue
        const topic = topicOfFilter(filter, subjects.prefix, parsed.label.endsWith('-base'))
        const { group, id } = parsed
        const tally = all.get(id) ?? { topic, group, id, consumers: [] }
        tally.consumers.push(info)
        all.set(id, tally)
      }
    }
    return [...all.values()]
  }

  /** Where the messages of a filter begin and end in their stream. */
  async function endsOf(stream: string, filter: string): Promise<Ends> {
    const { api } = parts()
    const [first, last] = await Promise.all([
      api.message(stream, { seq: 1, next_by_subj: filter }),
      api.message(stream, { last_by_subj: filter }),
    ])
    return { start: first?.seq, head: last?.seq }
  }

  /** Looks each filter up once, and none of very many. */
  function endsLookup(tallies: readonly Tally[]): (info: ConsumerInfo) => Promise<Ends> {
    const filterOf = ({ stream_name: stream, config }: ConsumerInfo): string =>
      `${stream} ${config.filter_subject ?? '>'}`
    const filters = new Set(tallies.flatMap(({ consumers }) => consumers.map(filterOf)))
    const found = new Map<string, Promise<Ends>>()
    return (info) => {
      if (filters.size > MAX_LOOKED_UP) return Promise.resolve({ start: undefined, head: undefined })
      const filter = filterOf(info)
      let ends = found.get(filter)
      if (ends === undefined) found.set(filter, (ends = endsOf(info.stream_name, info.config.filter_subject ?? '>')))
      return ends
    }
  }

  /** Publish time of the oldest message that a consumer has not settled. */
  async function oldestUnacked(info: ConsumerInfo): Promise<number | undefined> {
    if (lagOf(info) === 0) return undefined
    const message = await parts().api.message(info.stream_name, {
      seq: info.ack_floor.stream_seq + 1,
      next_by_subj: info.config.filter_subject ?? '>',
    })
    return message === undefined ? undefined : Date.parse(message.time)
  }

  /** The member that owns a partition; undefined when none does. */
  async function ownerOf(id: string, partition: string): Promise<string | undefined> {
    if (partition === ANY) return undefined
    const { records } = parts()
    const record = await records.readLease(records.leaseSubject(id, partition))
    if (record === undefined) return undefined
    const { owner, free, leaseMs } = JSON.parse(record.text) as { owner?: string; free?: boolean; leaseMs?: number }
    const isAlive = Date.now() - record.time < 2 * (leaseMs ?? 0)
    return free === true || !isAlive ? undefined : owner
  }

  /** `consumers`: its one, or two where a pattern ends in `.>`. */
  async function partitionInfo(
    id: string,
    partition: string,
    consumers: readonly ConsumerInfo[],
    lookUp: (info: ConsumerInfo) => Promise<Ends>,
  ): Promise<PartitionInfo> {
    const stream = consumers[0]?.stream_name ?? ''
    const at = (seq: number | undefined): Position | undefined =>
      seq === undefined ? undefined : positionOf(stream, seq)
    const [member, ends, times] = await Promise.all([
      ownerOf(id, partition),
      Promise.all(consumers.map(lookUp)),
      Promise.all(consumers.map(oldestUnacked)),
    ])
    const head = highest(ends.map((each) => each.head))
    const behind = consumers.filter((info) => lagOf(info) > 0)
    return {
      partition,
      lag: sum(consumers.map(lagOf)),
      inFlight: sum(consumers.map((info) => info.num_ack_pending)),
      position: at(behind.length > 0 ? lowestFloor(behind) : (head ?? lowestFloor(consumers))),
      head: at(head),
      start: at(lowest(ends.map((each) => each.start))),
      oldestUnackedAt: lowest(times),
      member,
    }
  }

  async function describe(
    { id, group, consumers }: Tally,
    topic: string,
    lookUp: (info: ConsumerInfo) => Promise<Ends>,
  ): Promise<GroupInfo> {
    const byPartition = Map.groupBy(consumers, ({ name }) => partitionOfLabel(parseConsumerName(name)?.label ?? ''))
    const partitions = await Promise.all(
      [...byPartition].map(([partition, ofPartition]) => partitionInfo(id, partition, ofPartition, lookUp)),
    )
    partitions.sort((a, b) => a.partition.localeCompare(b.partition, 'en', { numeric: true }))
    const owners = new Set(partitions.flatMap(({ member }) => member ?? [])).size
    return {
      topic,
      group,
      lag: sum(consumers.map(lagOf)),
      inFlight: sum(consumers.map((info) => info.num_ack_pending)),
      // At least one while any member asks for messages without a partition.
      members: Math.max(owners, consumers.some((info) => info.num_waiting > 0) ? 1 : 0),
      oldestUnackedAt: lowest(partitions.map(({ oldestUnackedAt }) => oldestUnackedAt)),
      partitions,
    }
  }

  /**
   * Deletes a consumer and creates it again at another position. A member that notices may do so first, at the same
   * position: what it created stays, as deleting it too would deliver the same messages once more.
   */
  async function moveConsumer(name: string, { dead, filter }: LanePlan, to: StartFrom): Promise<void> {
    const { api, session, topology } = parts()
    const stream = topology.streamOf(dead)
    const config = consumerConfig({
      name,
      filter,
      from: to,
      description: 'Busbar: moved',
      ackWaitMs: session.options.ackWaitMs,
      maxDeliver: mayGiveUp(dead, false) ? session.options.maxDeliver : undefined,
      maxAckPending: session.options.maxAckPending,
      ephemeral: false,
      native: session.options.native.consumer,
    })
    await api.deleteConsumer(stream, name)
    for (let tries = 1; ; tries++) {
      const found = await findConsumer(stream, name)
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

  async function findConsumer(stream: string, name: string): Promise<ConsumerInfo | undefined> {
    try {
      return await parts().api.consumerInfo(stream, name)
    } catch (error) {
      if (isNotFound(error)) return undefined
      throw error
    }
  }

  async function mark(id: string, at: Mark['at']): Promise<void> {
    const { records } = parts()
    const text: Mark = { at }
    await records.write(records.moveSubject(id), JSON.stringify(text))
  }

  async function consumersOf(id: string, topic: string): Promise<ConsumerInfo[]> {
    const all = await parts().api.consumers(streamOf(topic))
    return all.filter((info) => parseConsumerName(info.name)?.id === id)
  }

  return {
    async ensureTopic(topic) {
      const { records } = parts()
      await records.write(records.topicSubject(topic), '')
    },

    async topics() {
      const { topology, records } = parts()
      const [messages, letters] = [await countTopics(topology.name), await countTopics(topology.deadLetters)]
      const counts = new Map([...messages.counts, ...letters.counts])
      for (const topic of await records.topics()) if (!counts.has(topic)) counts.set(topic, 0)
      const isAged = counts.size <= MAX_AGED_TOPICS
      return Promise.all(
        [...counts].map(async ([topic, stored]): Promise<TopicInfo> => ({
          topic,
          messages: stored,
          bytes: undefined,
          oldestAt: isAged && stored > 0 ? await oldestAt(topic, 0) : undefined,
          retention: (isDeadLetterTopic(topic) ? letters : messages).retention,
        })),
      )
    },

    async groups(topic) {
      const all = await tallies()
      const wanted = topic === undefined ? all : all.filter((tally) => reads(tally.topic, topic))
      const lookUp = endsLookup(wanted)
      return Promise.all(wanted.map((tally) => describe(tally, topic ?? tally.topic, lookUp)))
    },

    async seek(topic, group, to) {
      checkStart(to)
      const { subjects, session, records } = parts()
      const id = groupId(topic, group)
      const existing = new Set((await consumersOf(id, topic)).map(({ name }) => name))
      // A group that does not exist yet is created as by a consumer with the default order.
      const plan = subjects.plan(topic, !existing.has(consumerName(id, 'all')))
      await mark(id, to)
      for (const lane of plan) {
        const name = consumerName(id, lane.label)
        await moveConsumer(name, lane, to)
        // Attempts start over with the new consumer's count of deliveries.
        await records.forget([records.noteSubject(name, '*'), records.lookSubject(name)])
      }
      tellMoved(session, subjects.members(id))
      await session.flush()
    },

    read: (topic, { after, limit }) => readTopic(parts(), topic, after, limit),

    async remove(topic, positions) {
      const { api } = parts()
      const stream = streamOf(topic)
      const removed = await Promise.all(
        positions.map(async (position) => {
          const seq = sequenceOf(position)
          return seq !== undefined && (await api.deleteMessage(stream, seq))
        }),
      )
      return removed.filter(Boolean).length
    },

    async purge(topic) {
      const { api, subjects } = parts()
      return api.purge(streamOf(topic), subjects.allOf(topic))
    },

    async deleteGroup(topic, group) {
      const { api, subjects, session, records } = parts()
      const id = groupId(topic, group)
      const existing = await consumersOf(id, topic)
      for (const info of existing) await api.deleteConsumer(info.stream_name, info.name)
      // Members that are still running create it again at their position.
      tellMoved(session, subjects.members(id))
      await session.flush()
      // Also for consumers that the server has already deleted.
      const names = new Set(existing.map(({ name }) => name))
      for (const split of [true, false])
        for (const { label } of subjects.plan(topic, split)) names.add(consumerName(id, label))
      await records.forget([...names].flatMap((name) => [records.noteSubject(name, '*'), records.lookSubject(name)]))
    },
  }
}

function lagOf({ num_pending: unread, num_ack_pending: inFlight }: ConsumerInfo): number {
  return unread + inFlight
}

/** True when both were created to begin at the same position. The server may write a time in another way. */
function startsAlike(a: ConsumerConfig, b: ConsumerConfig): boolean {
  const timeOf = ({ opt_start_time: time }: ConsumerConfig): number => (time === undefined ? 0 : Date.parse(time))
  return a.deliver_policy === b.deliver_policy && a.opt_start_seq === b.opt_start_seq && timeOf(a) === timeOf(b)
}

/** Up to where a partition is settled; undefined while nothing is. A new group that reads everything starts at a floor too. */
function lowestFloor(consumers: readonly ConsumerInfo[]): number | undefined {
  const floors = consumers.map(({ ack_floor: floor, config }) =>
    (floor.consumer_seq === 0 && config.deliver_policy === 'all') || floor.stream_seq === 0
      ? undefined
      : floor.stream_seq,
  )
  return floors.includes(undefined) ? undefined : lowest(floors)
}

/** Both consumers of a pattern with `.>` belong to one partition. */
function partitionOfLabel(label: string): string {
  return label.replace(/-base$/, '')
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

function lowest(numbers: readonly (number | undefined)[]): number | undefined {
  const known = numbers.filter((number) => number !== undefined)
  return known.length === 0 ? undefined : Math.min(...known)
}

function highest(numbers: readonly (number | undefined)[]): number | undefined {
  const known = numbers.filter((number) => number !== undefined)
  return known.length === 0 ? undefined : Math.max(...known)
}

/** As the stream applies it, to all of its topics together. */
function retentionOf({ max_age: maxAge, max_msgs: maxMessages, max_bytes: maxBytes }: StreamConfig): RetentionInfo {
  return {
    maxAgeMs: maxAge > 0 ? maxAge / 1_000_000 : undefined,
    maxMessages: maxMessages > 0 ? maxMessages : undefined,
    maxBytes: maxBytes > 0 ? maxBytes : undefined,
  }
}

/** True when a subscription to the pattern receives the topic. */
function reads(pattern: string, topic: string): boolean {
  return pattern === topic || (isPattern(pattern) && !isPattern(topic) && compilePattern(pattern)(topic))
}

function checkStart(to: StartFrom): void {
  if (typeof to !== 'object' || !('position' in to) || sequenceOf(to.position) !== undefined) return
  throw new ConfigurationError('admin.seek', [
    { path: 'to.position', message: 'must hold "seq", the sequence in the stream, as read() and handlers give it' },
  ])
}

async function readTopic(
  parts: SubscriptionParts,
  topic: string,
  after: Position | undefined,
  limit: number,
): Promise<readonly StoredMessage[]> {
  try {
    return await readRange(parts, topic, after === undefined ? 0 : (sequenceOf(after) ?? 0), limit)
  } catch (error) {
    if (isNotFound(error)) return []
    throw error
  }
}

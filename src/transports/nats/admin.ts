import { sleep } from '../../core/clock.ts'
import { ConfigurationError } from '../../core/errors.ts'
import { compilePattern, isDeadLetterTopic, isPattern } from '../../core/topic.ts'
import type { GroupInfo, Position, StartFrom, StoredMessage, TopicInfo, TransportAdmin } from '../../core/transport.ts'
import { consumerConfig, mayGiveUp } from './consumers.ts'
import type { Mark } from './consumers.ts'
import { isNotFound, JetStreamError } from './errors.ts'
import type { ConsumerInfo } from './jetstream-types.ts'
import { sequenceOf } from './mapping.ts'
import { tellMoved } from './members.ts'
import { readRange } from './read-range.ts'
import { consumerName, groupId, parseConsumerName, topicOfFilter } from './subjects.ts'
import type { LanePlan } from './subjects.ts'
import type { SubscriptionParts } from './subscription-parts.ts'

/** The time of the oldest message is requested topic by topic: for at most this many. */
const MAX_AGED_TOPICS = 500
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

export function jetStreamAdmin(parts: () => SubscriptionParts): TransportAdmin {
  const streamOf = (topic: string): string => parts().topology.streamOf(isDeadLetterTopic(topic))

  async function countTopics(stream: string): Promise<Map<string, number>> {
    const { api, subjects } = parts()
    const counts = new Map<string, number>()
    for (let offset = 0; ;) {
      const { state, total = 0 } = await api.streamInfo(stream, { subjects_filter: '>', offset })
      const found = Object.entries(state.subjects ?? {})
      for (const [subject, count] of found) {
        const topic = subjects.topicOf(subject)
        counts.set(topic, (counts.get(topic) ?? 0) + count)
      }
      offset += found.length
      if (found.length === 0 || offset >= total) return counts
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

  /** The earliest point that a group has not settled, as the time of its oldest message. */
  async function oldestUnacked({ consumers }: Tally): Promise<number | undefined> {
    const { api } = parts()
    const times = await Promise.all(
      consumers
        .filter((info) => info.num_pending + info.num_ack_pending > 0)
        .map(async (info) => {
          const message = await api.message(info.stream_name, {
            seq: info.ack_floor.stream_seq + 1,
            next_by_subj: info.config.filter_subject ?? '>',
          })
          return message === undefined ? Infinity : Date.parse(message.time)
        }),
    )
    const oldest = Math.min(Infinity, ...times)
    return oldest === Infinity ? undefined : oldest
  }

  /** Number of partition owners; at least one while any member asks for messages without a partition. */
  async function membersOf({ id, consumers }: Tally): Promise<number> {
    const { records } = parts()
    const units = consumers
      .map((info) => parseConsumerName(info.name)?.label ?? '')
      .filter((label) => label !== 'any' && !label.endsWith('-base'))
    const owners = await Promise.all(
      units.map(async (unit) => {
        const record = await records.readLease(records.leaseSubject(id, unit))
        if (record === undefined) return undefined
        const { owner, free, leaseMs } = JSON.parse(record.text) as { owner?: string; free?: boolean; leaseMs?: number }
        const isAlive = Date.now() - record.time < 2 * (leaseMs ?? 0)
        return free === true || !isAlive ? undefined : owner
      }),
    )
    const known = new Set(owners.filter((owner) => owner !== undefined)).size
    return Math.max(known, consumers.some((info) => info.num_waiting > 0) ? 1 : 0)
  }

  async function describe(tally: Tally, topic: string): Promise<GroupInfo> {
    let lag = 0
    let inFlight = 0
    for (const info of tally.consumers) {
      lag += info.num_pending + info.num_ack_pending
      inFlight += info.num_ack_pending
    }
    const [members, oldestUnackedAt] = await Promise.all([membersOf(tally), lag > 0 ? oldestUnacked(tally) : undefined])
    return { topic, group: tally.group, lag, inFlight, members, oldestUnackedAt }
  }

  /** Deletes a consumer and creates it again at another position, although members may do so at the same time. */
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
    for (let tries = 1; ; tries++) {
      await api.deleteConsumer(stream, name)
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
      const counts = new Map([...(await countTopics(topology.name)), ...(await countTopics(topology.deadLetters))])
      for (const topic of await records.topics()) if (!counts.has(topic)) counts.set(topic, 0)
      const isAged = counts.size <= MAX_AGED_TOPICS
      return Promise.all(
        [...counts].map(async ([topic, messages]): Promise<TopicInfo> => ({
          topic,
          messages,
          bytes: undefined,
          oldestAt: isAged && messages > 0 ? await oldestAt(topic, 0) : undefined,
        })),
      )
    },

    async groups(topic) {
      const all = await tallies()
      const wanted = topic === undefined ? all : all.filter((tally) => reads(tally.topic, topic))
      return Promise.all(wanted.map((tally) => describe(tally, topic ?? tally.topic)))
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

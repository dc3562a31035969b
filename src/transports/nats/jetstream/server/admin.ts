import { ConfigurationError, UnsupportedError } from '../../../../core/errors.ts'
import { isDeadLetterTopic } from '../../../../core/topic.ts'
import type { RetentionInfo, StartFrom, StoredMessage, TopicInfo, TransportAdmin } from '../../../../core/transport.ts'
import type { Position } from '../../../../core/message.ts'
import { isNotFound } from '../../errors.ts'
import { GroupAdmin } from './group-admin.ts'
import type { StreamConfig } from './jetstream-types.ts'
import { mapLimited } from './limited.ts'
import { sequenceOf } from '../../wire/mapping.ts'
import { readRange } from './read-range.ts'
import type { SubscriptionParts } from '../subscription-parts.ts'

/** The time of the oldest message is requested topic by topic: for at most this many. */
const MAX_AGED_TOPICS = 500

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
      return mapLimited([...counts], async ([topic, stored]): Promise<TopicInfo> => ({
        topic,
        messages: stored,
        bytes: undefined,
        oldestAt: isAged && stored > 0 ? await oldestAt(topic, 0) : undefined,
        retention: (isDeadLetterTopic(topic) ? letters : messages).retention,
      }))
    },

    groups: (topic) => new GroupAdmin(parts()).groups(topic),

    async seek(topic, group, to) {
      checkStart(to)
      await new GroupAdmin(parts()).seek(topic, group, to)
    },

    read: (topic, { after, limit }) => readTopic(parts(), topic, after, limit),

    async remove(topic, positions) {
      const { api } = parts()
      requireOwn(parts(), topic)
      const stream = streamOf(topic)
      const removed = await mapLimited(positions, async (position) => {
        const seq = sequenceOf(position)
        return seq !== undefined && (await api.deleteMessage(stream, seq))
      })
      return removed.filter(Boolean).length
    },

    async purge(topic) {
      const { api, subjects } = parts()
      requireOwn(parts(), topic)
      return api.purge(streamOf(topic), subjects.allOf(topic))
    },

    deleteGroup: (topic, group) => new GroupAdmin(parts()).deleteGroup(topic, group),
  }
}

/** As the stream applies it, to all of its topics together. */
function retentionOf({ max_age: maxAge, max_msgs: maxMessages, max_bytes: maxBytes }: StreamConfig): RetentionInfo {
  return {
    maxAgeMs: maxAge > 0 ? maxAge / 1_000_000 : undefined,
    maxMessages: maxMessages > 0 ? maxMessages : undefined,
    maxBytes: maxBytes > 0 ? maxBytes : undefined,
  }
}

/** What a stream of other programs holds is theirs. */
function requireOwn({ session }: SubscriptionParts, topic: string): void {
  const { bind } = session.options.stream
  if (bind === undefined || isDeadLetterTopic(topic)) return
  throw new UnsupportedError(
    `Messages of "${topic}" can't be deleted through Busbar: the stream "${bind}" belongs to other programs (stream.bind). Use "nats stream purge" or "nats stream rmm".`,
  )
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

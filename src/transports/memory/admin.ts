import type { GroupInfo, StoredMessage, TransportAdmin } from '../../core/transport.ts'
import type { Position } from '../../core/message.ts'
import type { MemoryBroker } from './broker.ts'
import type { GroupQueue } from './group-queue.ts'
import type { TopicState } from './topic-state.ts'

export function memoryAdmin(broker: () => MemoryBroker): TransportAdmin {
  return {
    ensureTopic: async (topic) => {
      broker().topic(topic)
    },
    topics: async () =>
      [...broker().topics.values()].map(({ name, log, retention }) => ({
        topic: name,
        messages: log.size,
        bytes: log.bytes,
        oldestAt: log.first?.publishedAt,
        retention,
      })),
    groups: async (topic) =>
      [...broker().topics.values()]
        .filter(({ name }) => topic === undefined || name === topic)
        .flatMap((state) => state.queues.map((queue) => infoOf(state, queue))),
    seek: async (topic, group, to) => broker().seek(topic, group, to),
    read: async (topic, { after, limit }) => {
      const log = broker().topics.get(topic)?.log
      const found: StoredMessage[] = []
      if (log === undefined) return found
      const first = after === undefined ? log.start : Number(after['offset']) + 1
      for (let offset = first; offset < log.end && found.length < limit; offset++) {
        const entry = log.get(offset)
        if (entry !== undefined) found.push({ message: entry.message, position: { topic, offset } })
      }
      return found
    },
    remove: async (topic, positions) => broker().remove(topic, positions),
    purge: async (topic) => broker().purge(topic),
    deleteGroup: async (topic, group) => broker().deleteGroup(topic, group),
  }
}

function infoOf({ name, log }: TopicState, queue: GroupQueue): GroupInfo {
  const { inFlight, ready, oldestUnackedAt } = queue
  const counts = { lag: queue.waiting + inFlight, inFlight, ready, oldestUnackedAt }
  const at = (offset: number | undefined): Position | undefined =>
    offset === undefined ? undefined : { topic: name, offset }
  const positions = {
    position: at(queue.settledTo),
    head: at(log.lastBefore(log.end)?.offset),
    start: at(log.first?.offset),
  }
  return {
    topic: name,
    group: queue.group,
    ...counts,
    members: queue.members.length,
    partitions: [{ partition: '0', ...counts, ...positions }],
  }
}

import type { TransportAdmin, StoredMessage } from '../../core/transport.ts'
import type { MemoryBroker } from './broker.ts'

export function memoryAdmin(broker: () => MemoryBroker): TransportAdmin {
  return {
    ensureTopic: async (topic) => {
      broker().topic(topic)
    },
    topics: async () =>
      [...broker().topics.values()].map(({ name, log }) => ({
        topic: name,
        messages: log.size,
        bytes: log.bytes,
        oldestAt: log.get(log.start)?.publishedAt,
      })),
    groups: async (topic) =>
      [...broker().topics.values()]
        .filter(({ name }) => topic === undefined || name === topic)
        .flatMap(({ name, groups }) =>
          [...groups.values()].map((queue) => ({
            topic: name,
            group: queue.group,
            lag: queue.waiting + queue.inFlight,
            inFlight: queue.inFlight,
            ready: queue.ready,
            members: queue.members.length,
            oldestUnackedAt: queue.oldestUnackedAt,
          })),
        ),
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

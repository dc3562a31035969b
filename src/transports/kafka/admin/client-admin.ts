import type { Admin, KafkaClient } from '../../../kafka/index.ts'

/** Pages follow each other faster than partitions move; each would otherwise ask first where they are. */
const KEEP_TOPICS_MS = 1_000

/** The client's admin side, for several calls about one topic. */
export function adminOf(client: KafkaClient): Admin {
  return client.admin({ keepTopicsMs: KEEP_TOPICS_MS })
}

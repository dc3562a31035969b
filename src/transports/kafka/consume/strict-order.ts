import { UnsupportedError } from '../../../core/errors.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import type { KafkaContext } from '../context.ts'

/** Rejects with an `UnsupportedError` if one of these topics has several partitions: nothing keeps order between them. */
export async function checkStrictOrder({ client }: KafkaContext, topics: readonly string[]): Promise<void> {
  const wanted = topics.filter((topic) => !isDeadLetterTopic(topic))
  if (wanted.length === 0) return
  for (const { name, partitions } of await client.admin().topics.describe(wanted))
    if (partitions.length > 1)
      throw new UnsupportedError(
        `order: 'strict' needs a topic with one partition, and "${name}" has ${partitions.length}: Kafka keeps no order between partitions. Use order: 'key', or make the topic with one partition (partitions: { '${name}': 1 })`,
      )
}

import type { OutgoingMessage, Position } from '../../../core/message.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import type { Producer, ProducerOptions, Transaction } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import type { PlacedMessage } from '../retry/retry-copy.ts'
import { positionOf } from '../wire/mapping.ts'

/** Where a dead letter goes: the other partition has the log of removals. */
export const LETTERS_PARTITION = 0

/** A producer with a transactional id of its own, which fences nobody. */
export function transactionalProducer({ client, options }: KafkaContext): Producer {
  const settings: ProducerOptions = {
    transactionTimeoutMs: options.transactionTimeoutMs,
    ...options.producer,
    acks: 'all',
    transactionalId: true,
  }
  return client.producer(settings)
}

/** Sends messages of any topics, which must exist, within a transaction. Resolves with where each is. */
export async function sendInTransaction(
  { mapping }: KafkaContext,
  transaction: Transaction,
  batch: readonly OutgoingMessage[],
  signal?: AbortSignal,
): Promise<readonly (Position | undefined)[]> {
  const positions: (Position | undefined)[] = Array.from({ length: batch.length })
  const byTopic = Map.groupBy(batch.entries(), ([, { topic }]) => topic)
  await Promise.all(
    [...byTopic].map(async ([topic, entries]) => {
      const inTopic = isDeadLetterTopic(topic) ? { partition: LETTERS_PARTITION } : {}
      const records = entries.map(([, message]) => {
        const place = 'partition' in message ? { partition: (message as PlacedMessage).partition } : inTopic
        return { ...mapping.encode(message), ...place }
      })
      for (const range of await transaction.sendMany(topic, records, { signal })) {
        for (const [at, index] of range.indexes().entries()) {
          const entry = entries[index]
          if (entry !== undefined && range.baseOffset >= 0)
            positions[entry[0]] = positionOf(range.partition, range.baseOffset + at)
        }
      }
    }),
  )
  return positions
}

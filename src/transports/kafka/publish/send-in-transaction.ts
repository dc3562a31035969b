import type { OutgoingMessage, Position } from '../../../core/message.ts'
import type { Producer, ProducerOptions, Transaction } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import type { PlacedMessage } from '../retry/retry-copy.ts'
import { positionOf } from '../wire/mapping.ts'
import { partitionOf } from './publish-options.ts'

/** A producer with that transactional id; `true`: with one of its own, which fences nobody. */
export function transactionalProducer({ client, options }: KafkaContext, transactionalId: string | true): Producer {
  const settings: ProducerOptions = {
    transactionTimeoutMs: options.transactionTimeoutMs,
    ...options.producer,
    acks: 'all',
    transactionalId,
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
      const records = entries.map(([, message]) => {
        // A copy in a retry topic has its place beside its source.
        const partition = 'partition' in message ? (message as PlacedMessage).partition : partitionOf(message)
        return { ...mapping.encode(message), partition }
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

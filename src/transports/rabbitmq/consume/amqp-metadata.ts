import type { ConsumeMessage } from 'amqplib'
import type { EncodedMessage } from '../../../core/message.ts'

const FIELDS = new Set(['redelivered', 'exchange', 'routingKey', 'deliveryTag', 'consumerTag'])
const PERSISTENT = 2

/** The message with AMQP's own fields and properties as headers `amqp-<name>`. */
export function withMetadata(
  encoded: EncodedMessage,
  { fields, properties }: ConsumeMessage,
  names: readonly string[],
): EncodedMessage {
  const headers: Record<string, string> = Object.assign(Object.create(null) as Record<string, string>, encoded.headers)
  for (const name of names) {
    const value = FIELDS.has(name)
      ? (fields as unknown as Record<string, unknown>)[name]
      : name === 'persistent'
        ? properties.deliveryMode === PERSISTENT
        : (properties as unknown as Record<string, unknown>)[name]
    if (value === undefined || value === null) continue
    headers[`amqp-${name}`] = typeof value === 'string' ? value : JSON.stringify(value)
  }
  return { ...encoded, headers }
}

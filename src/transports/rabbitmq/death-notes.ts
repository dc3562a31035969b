import type { ConsumeMessage } from 'amqplib'
import type { EncodedMessage } from '../../core/message.ts'
import { headersOf } from './mapping.ts'
import { unbucketed } from './names.ts'
import { DEATHS } from './wire-headers.ts'

interface Death {
  readonly reason?: unknown
  readonly queue?: unknown
  readonly count?: unknown
  readonly 'routing-keys'?: unknown
  readonly time?: { readonly value?: unknown }
}

/**
 * A dead letter that the broker made itself, when a message was delivered too often and never settled, says so in the
 * broker's way. This adds the headers of ours, so that it can be listed and redriven like all others.
 */
export function withDeathNotes(message: EncodedMessage, source: ConsumeMessage): EncodedMessage {
  if (message.headers['busbar-dlq-reason'] !== undefined) return message
  const deaths = headersOf(source)[DEATHS]
  const death = (Array.isArray(deaths) ? deaths : []).find((each: Death) => each.reason !== 'expired') as
    Death | undefined
  const keys = death?.['routing-keys']
  const topic = Array.isArray(keys) && typeof keys[0] === 'string' ? unbucketed(keys[0]) : undefined
  const parts = /^(.*)\.([^.]+)\.dlq$/.exec(message.topic)
  if (death === undefined || topic === undefined || parts === null) return message
  const at = new Date(typeof death.time?.value === 'number' ? death.time.value * 1000 : message.time).toISOString()
  const notes = {
    'busbar-dlq-reason': 'exhausted',
    'busbar-dlq-error': 'DeliveryLimitExceeded',
    'busbar-dlq-message': `RabbitMQ dead-lettered it from the queue ${String(death.queue)}: ${String(death.reason)}`,
    'busbar-dlq-attempts': String(typeof death.count === 'number' ? death.count : 0),
    'busbar-dlq-first-at': at,
    'busbar-dlq-last-at': at,
    'busbar-dlq-topic': parts[1] ?? topic,
    'busbar-dlq-group': parts[2] ?? '',
  }
  return { ...message, headers: Object.assign(Object.create(null) as Record<string, string>, message.headers, notes) }
}

import type { ConsumeMessage } from 'amqplib'
import type { DeadLetterReason } from '../../core/events.ts'
import type { EncodedMessage } from '../../core/message.ts'
import { fromTimestamp } from './instant.ts'
import { headersOf } from './mapping.ts'
import { unbucketed } from './names.ts'
import type { Names } from './names.ts'
import { DEATHS } from './wire-headers.ts'

interface Death {
  readonly reason?: unknown
  readonly queue: string
  readonly count?: unknown
  readonly 'routing-keys'?: unknown
  readonly time?: { readonly value?: unknown }
}

interface Cause {
  readonly reason: DeadLetterReason
  readonly error: string
}

/** By the reason that the broker gives. */
const CAUSES: ReadonlyMap<unknown, Cause> = new Map([
  ['expired', { reason: 'expired', error: 'MessageExpired' }],
  ['rejected', { reason: 'rejected', error: 'MessageRejected' }],
  // Pushed out by newer ones: never tried.
  ['maxlen', { reason: 'rejected', error: 'QueueLengthExceeded' }],
])
const TRIED_TOO_OFTEN: Cause = { reason: 'exhausted', error: 'DeliveryLimitExceeded' }

/**
 * A dead letter made by the broker itself (delivered too often without settlement, expired, or pushed out of a full
 * queue) carries the broker's own headers. This adds Busbar's, so that it can be listed, redriven and purged like all
 * others.
 */
export function withDeathNotes(message: EncodedMessage, source: ConsumeMessage, names: Names): EncodedMessage {
  if (message.headers['busbar-dlq-reason'] !== undefined) return message
  const deaths = headersOf(source)[DEATHS]
  // Each rung of the delay ladder counts as a death too, and means nothing.
  const death = (Array.isArray(deaths) ? (deaths as unknown[]) : [])
    .filter(isDeath)
    .find(({ queue }) => !names.isRung(queue))
  const keys = death?.['routing-keys']
  const topic = Array.isArray(keys) && typeof keys[0] === 'string' ? unbucketed(keys[0]) : undefined
  const parts = /^(.*)\.([^.]+)\.dlq$/.exec(message.topic)
  if (death === undefined || topic === undefined || parts === null) return message
  const at = new Date(fromTimestamp(death.time?.value) ?? message.time).toISOString()
  const { reason, error } = CAUSES.get(death.reason) ?? TRIED_TOO_OFTEN
  const notes = {
    'busbar-dlq-reason': reason,
    'busbar-dlq-error': error,
    'busbar-dlq-message': `RabbitMQ dead-lettered it from the queue ${death.queue}: ${String(death.reason)}`,
    // The number of deaths is the number of attempts only when that is why it died.
    'busbar-dlq-attempts': String(reason === 'exhausted' && typeof death.count === 'number' ? death.count : 0),
    'busbar-dlq-first-at': at,
    'busbar-dlq-last-at': at,
    'busbar-dlq-topic': parts[1] ?? topic,
    'busbar-dlq-group': parts[2] ?? '',
  }
  return { ...message, headers: Object.assign(Object.create(null) as Record<string, string>, message.headers, notes) }
}

/** Any program can write this header. */
function isDeath(value: unknown): value is Death {
  return typeof value === 'object' && value !== null && typeof (value as Partial<Death>).queue === 'string'
}

import type { ConsumeMessage } from 'amqplib'
import type { DeadLetterReason } from '../../../core/events.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { deadLetterTopic, topicProblem } from '../../../core/topic.ts'
import { IncomingMessage } from '../wire/incoming-message.ts'
import type { CarriedProperties } from '../wire/carried-properties.ts'
import { digestOf } from '../consume/foreign-ids.ts'
import { findDeadKey } from '../topology/group-layout.ts'
import { fromTimestamp } from '../wire/instant.ts'
import { readMessage, headersOf } from '../wire/read-message.ts'
import { ALL_TOPICS, unbucketed } from '../topology/names.ts'
import type { Names } from '../topology/names.ts'
import { DEATHS } from '../wire/wire-headers.ts'

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
 * The dead letter of a message that the broker itself gave up: it was delivered too often without settlement, expired,
 * or was pushed out of a full queue.
 */
export function brokersDeadLetter(source: ConsumeMessage, names: Names, now: number): BrokersDeadLetter {
  const arrival = readMessage(new IncomingMessage(), source)
  const deaths = headersOf(source)[DEATHS]
  // Each rung of the delay ladder counts as a death too, and means nothing.
  const death = (Array.isArray(deaths) ? (deaths as unknown[]) : [])
    .filter(isDeath)
    .find(({ queue }) => !names.isRung(queue))
  const keys = death?.['routing-keys']
  const routingKey = Array.isArray(keys) && typeof keys[0] === 'string' ? unbucketed(keys[0]) : undefined
  const topic = arrival.topicHeader ?? validTopic(routingKey) ?? UNKNOWN
  const key = findDeadKey(arrival.routingKey)
  const group = key?.group ?? UNKNOWN
  const at = new Date(fromTimestamp(death?.time?.value) ?? now).toISOString()
  const { reason, error } = CAUSES.get(death?.reason) ?? TRIED_TOO_OFTEN
  const headers = Object.assign(Object.create(null) as Record<string, string>, arrival.headers, {
    'busbar-dlq-reason': reason,
    'busbar-dlq-error': error,
    'busbar-dlq-message': `RabbitMQ dead-lettered it from the queue ${death?.queue ?? UNKNOWN}: ${String(death?.reason)}`,
    // The number of deaths is the number of attempts only when that is why it died.
    'busbar-dlq-attempts': String(reason === 'exhausted' && typeof death?.count === 'number' ? death.count : 0),
    'busbar-dlq-first-at': at,
    'busbar-dlq-last-at': at,
    'busbar-dlq-topic': topic,
    'busbar-dlq-group': group,
  })
  const message = arrival.toEncodedMessage(topic, arrival.id ?? digestOf(source), now)
  const isFirst = key?.layout.order !== 'key' || death?.queue.endsWith(`:${group}`) === true
  const first = isFirst ? death?.queue : death?.queue.replace(/:\d{1,2}$/, '')
  return {
    message: {
      ...message,
      topic: deadLetterTopic(topic, group),
      headers,
      expiresAt: undefined,
      deliverAt: undefined,
      group: undefined,
    },
    carried: arrival.carried,
    groupQueue: first === names.group(topic, group) || first === names.group(ALL_TOPICS, group) ? undefined : first,
  }
}

export interface BrokersDeadLetter {
  readonly message: OutgoingMessage
  readonly carried: CarriedProperties | undefined
  /** The first queue of the group, where topic and group don't say it. */
  readonly groupQueue: string | undefined
}

const UNKNOWN = 'unknown'

/** The routing key of a message that another program has published may be anything. */
function validTopic(routingKey: string | undefined): string | undefined {
  return routingKey !== undefined && topicProblem(routingKey, false) === undefined ? routingKey : undefined
}

/** Any program can write this header. */
function isDeath(value: unknown): value is Death {
  return typeof value === 'object' && value !== null && typeof (value as Partial<Death>).queue === 'string'
}

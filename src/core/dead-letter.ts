import { types } from 'node:util'
import type { DeadLetter } from './bus-types.ts'
import type { DeadLetterReason } from './events.ts'
import { OWN_PREFIX } from './headers.ts'
import type { OutgoingMessage } from './message.ts'
import { deadLetterTopic } from './topic.ts'
import type { Delivery, Position, StoredMessage } from './transport.ts'

// A message that just fits its broker must still fit with these on it.
const MAX_MESSAGE_CHARS = 1_024
const MAX_STACK_CHARS = 4_096
const MAX_SLIM_CHARS = 100

const REASON = 'busbar-dlq-reason'
const ERROR = 'busbar-dlq-error'
const MESSAGE = 'busbar-dlq-message'
const STACK = 'busbar-dlq-stack'
const ATTEMPTS = 'busbar-dlq-attempts'
const FIRST = 'busbar-dlq-first-at'
const LAST = 'busbar-dlq-last-at'
const TOPIC = 'busbar-dlq-topic'
const GROUP = 'busbar-dlq-group'
const POSITION = 'busbar-dlq-position'
const REDRIVES = 'busbar-redrives'

export interface Failure {
  readonly group: string
  readonly reason: DeadLetterReason
  readonly error: unknown
  readonly attempts: number
  readonly firstAt: number
  readonly lastAt: number
  /** Without stack and with a short message: for a broker that took the original but not what comes on top. */
  readonly slim?: boolean
}

/** The dead letter of a delivery: the original id, bytes and headers, and what is needed to understand it and to send it back. */
export function makeDeadLetter(delivery: Delivery, failure: Failure): OutgoingMessage {
  const { message } = delivery
  const { name, text, stack } = summarize(failure.error)
  const headers: Record<string, string> = Object.assign(
    Object.create(null) as Record<string, string>,
    message.headers,
    {
      [REASON]: failure.reason,
      [ERROR]: toHeader(name.slice(0, 128)),
      [MESSAGE]: toHeader(text.slice(0, failure.slim === true ? MAX_SLIM_CHARS : MAX_MESSAGE_CHARS)),
      [ATTEMPTS]: String(failure.attempts),
      [FIRST]: new Date(failure.firstAt).toISOString(),
      [LAST]: new Date(failure.lastAt).toISOString(),
      [TOPIC]: message.topic,
      [GROUP]: failure.group,
      [POSITION]: JSON.stringify(delivery.position),
    },
  )
  if (stack !== undefined && failure.slim !== true) headers[STACK] = toHeader(stack.slice(0, MAX_STACK_CHARS))
  // It has expired as an event, but as a dead letter it must stay.
  return {
    ...message,
    topic: deadLetterTopic(message.topic, failure.group),
    expiresAt: undefined,
    headers,
    deliverAt: undefined,
    group: undefined,
  }
}

/** Reads a stored dead letter; undefined when it is none of ours (somebody else wrote to the topic). */
export function parseDeadLetter(stored: StoredMessage): DeadLetter | undefined {
  const { headers } = stored.message
  const topic = headers[TOPIC]
  const reason = headers[REASON]
  if (topic === undefined || reason === undefined) return undefined
  const original: Record<string, string> = Object.create(null) as Record<string, string>
  for (const [name, value] of Object.entries(headers)) if (!name.startsWith(OWN_PREFIX)) original[name] = value
  return {
    message: { ...stored.message, topic, headers: original },
    position: stored.position,
    reason,
    errorName: fromHeader(headers[ERROR]) ?? '',
    errorMessage: fromHeader(headers[MESSAGE]) ?? '',
    errorStack: fromHeader(headers[STACK]),
    attempts: Number(headers[ATTEMPTS] ?? 0),
    firstAttemptAt: new Date(headers[FIRST] ?? 0),
    lastAttemptAt: new Date(headers[LAST] ?? 0),
    redrives: Number(headers[REDRIVES] ?? 0),
    originalPosition: parsePosition(headers[POSITION]),
  }
}

/** The copy that goes back to the group. Attempts start anew; the count of redrives goes on. */
export function makeRedrive(letter: DeadLetter, group: string): OutgoingMessage {
  const headers = Object.assign(Object.create(null) as Record<string, string>, letter.message.headers, {
    [REDRIVES]: String(letter.redrives + 1),
  })
  return { ...letter.message, headers, deliverAt: undefined, group }
}

function summarize(error: unknown): { name: string; text: string; stack: string | undefined } {
  // A handler may throw anything: an error of another realm, or whose fields are no texts, or whose `toString` throws.
  try {
    if (!(error instanceof Error) && !types.isNativeError(error))
      return { name: typeof error, text: asText(error), stack: undefined }
    const { name, message, stack } = error as { readonly [field in 'name' | 'message' | 'stack']: unknown }
    return {
      name: typeof name === 'string' ? name : 'Error',
      text: asText(message),
      stack: typeof stack === 'string' ? stack : undefined,
    }
  } catch {
    return { name: typeof error, text: 'a value without a text form', stack: undefined }
  }
}

function asText(value: unknown): string {
  return (typeof value === 'object' ? JSON.stringify(value) : undefined) ?? String(value)
}

/** One line of printable ASCII, whatever the text: JSON with its escapes, without the quotes. */
function toHeader(text: string): string {
  return JSON.stringify(text)
    .slice(1, -1)
    .replace(/[^\x20-\x7e]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`)
}

function fromHeader(value: string | undefined): string | undefined {
  if (value === undefined) return undefined
  try {
    return JSON.parse(`"${value}"`) as string
  } catch {
    return value
  }
}

function parsePosition(value: string | undefined): Position | undefined {
  if (value === undefined) return undefined
  try {
    return JSON.parse(value) as Position
  } catch {
    return undefined
  }
}

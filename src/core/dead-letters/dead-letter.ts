import type { DeadLetter } from '../bus-types.ts'
import { CodecRegistry } from '../codec.ts'
import type { DeadLetterReason } from '../events.ts'
import { summarizeFailure } from './failure-summary.ts'
import type { ErrorSummary } from './failure-summary.ts'
import { fromHeaderText, toAsciiJson, toHeaderText } from './header-text.ts'
import { DEAD_LETTER_REASON as REASON, OWN_PREFIX } from '../headers.ts'
import { IncomingMessage } from '../consume/incoming-message.ts'
import type { EncodedMessage, OutgoingMessage, Position } from '../message.ts'
import { NESTED_PREFIX, nestOwnHeaders, trimNested } from './nested-headers.ts'
import type { MutableHeaders } from './nested-headers.ts'
import { deadLetterTopic } from '../topic.ts'
import type { Delivery, StoredMessage } from '../transport.ts'

// Lengths on the wire. A message that just fits its broker must still fit with all of these headers: see OWN_HEADER_BYTES.
const MAX_NAME_CHARS = 256
const MAX_CODE_CHARS = 128
const MAX_MESSAGE_CHARS = 4_096
const MAX_STACK_CHARS = 8_192
const MAX_CAUSES_CHARS = 4_096
const MAX_CAUSE_MESSAGE_CHARS = 480
const MAX_SLIM_CHARS = 100

const ERROR = 'busbar-dlq-error'
const MESSAGE = 'busbar-dlq-message'
const CODE = 'busbar-dlq-code'
const STACK = 'busbar-dlq-stack'
const CAUSE = 'busbar-dlq-cause'
const ATTEMPTS = 'busbar-dlq-attempts'
const FIRST = 'busbar-dlq-first-at'
const LAST = 'busbar-dlq-last-at'
const TOPIC = 'busbar-dlq-topic'
const GROUP = 'busbar-dlq-group'
const POSITION = 'busbar-dlq-position'
const EXPIRES = 'busbar-dlq-expires-at'
/** How often the message had been redriven when it was dead-lettered. */
const DIED_AFTER_REDRIVES = 'busbar-dlq-redrives'
/** On a redriven copy: how often the message has been redriven. */
const REDRIVES = 'busbar-redrives'

export interface Failure {
  readonly group: string
  readonly reason: DeadLetterReason
  readonly error: unknown
  readonly attempts: number
  readonly firstAt: number
  readonly lastAt: number
  /**
   * Leaves out stack and causes, and shortens the error message: for a broker that accepted the original but not the larger
   * dead letter.
   */
  readonly slim?: boolean
}

/**
 * Makes the dead letter of a delivery: the original id, bytes and headers, plus headers that explain the failure and allow a
 * redrive.
 */
export function makeDeadLetter(delivery: Delivery, failure: Failure): OutgoingMessage {
  const { message } = delivery
  const slim = failure.slim === true
  const headers: MutableHeaders = Object.create(null) as MutableHeaders
  // A dead letter may fail again in a consumer of its dead-letter topic. Keep its original failure headers.
  nestOwnHeaders(message.headers, headers, REDRIVES)
  headers[REASON] = failure.reason
  headers[ATTEMPTS] = String(failure.attempts)
  headers[FIRST] = new Date(failure.firstAt).toISOString()
  headers[LAST] = new Date(failure.lastAt).toISOString()
  headers[TOPIC] = message.topic
  headers[GROUP] = failure.group
  headers[POSITION] = JSON.stringify(delivery.position)
  if (message.expiresAt !== undefined) headers[EXPIRES] = new Date(message.expiresAt).toISOString()
  const redrives = message.headers[REDRIVES]
  if (redrives !== undefined) headers[DIED_AFTER_REDRIVES] = redrives
  describeError(headers, failure.error, slim)
  trimNested(headers, slim)
  return {
    ...message,
    topic: deadLetterTopic(message.topic, failure.group),
    // An event may expire; a dead letter must not.
    expiresAt: undefined,
    headers,
    deliverAt: undefined,
    group: undefined,
  }
}

function describeError(headers: MutableHeaders, error: unknown, slim: boolean): void {
  const { name, message, code, stack, causes } = summarizeFailure(error)
  headers[ERROR] = toHeaderText(name, MAX_NAME_CHARS)
  headers[MESSAGE] = toHeaderText(message, slim ? MAX_SLIM_CHARS : MAX_MESSAGE_CHARS)
  if (code !== undefined) headers[CODE] = toHeaderText(code, MAX_CODE_CHARS)
  if (slim) return
  if (stack !== undefined) headers[STACK] = toHeaderText(stack, MAX_STACK_CHARS)
  if (causes.length > 0) headers[CAUSE] = causesText(causes)
}

/** As many causes as fit, nearest first. */
function causesText(causes: readonly ErrorSummary[]): string {
  const kept: string[] = []
  let chars = 2
  for (const { name, message, code } of causes) {
    const text = toAsciiJson({
      name: clip(name, MAX_NAME_CHARS),
      message: clip(message, MAX_CAUSE_MESSAGE_CHARS),
      code: code === undefined ? undefined : clip(code, MAX_CODE_CHARS),
    })
    chars += text.length + 1
    if (chars > MAX_CAUSES_CHARS) break
    kept.push(text)
  }
  return `[${kept.join(',')}]`
}

function clip(text: string, maxChars: number): string {
  return fromHeaderText(toHeaderText(text, maxChars))
}

const BUILT_IN_CODECS = new CodecRegistry()

/** True for a dead letter that Busbar made, false for what another program wrote to its topic. */
export function isOwnDeadLetter({ message: { headers } }: StoredMessage): boolean {
  return headers[TOPIC] !== undefined && headers[REASON] !== undefined
}

/**
 * Reads a stored dead letter of that topic and group. A message that another program wrote there is one for an unknown reason,
 * and whatever topic it names, it can only be sent back to the one whose dead letters these are.
 */
export function parseDeadLetter(
  stored: StoredMessage,
  topic: string,
  codecs: CodecRegistry = BUILT_IN_CODECS,
): DeadLetter {
  const { headers } = stored.message
  const original: MutableHeaders = Object.create(null) as MutableHeaders
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(OWN_PREFIX)) original[name] = value
    else if (name.startsWith(NESTED_PREFIX)) original[name.slice(NESTED_PREFIX.length)] = value
  }
  const message: EncodedMessage = {
    ...stored.message,
    topic,
    // If it has no type, its type is the topic where it was found.
    type: stored.message.type === stored.message.topic ? topic : stored.message.type,
    headers: original,
    expiresAt: instantOf(headers[EXPIRES]),
  }
  const incoming = new IncomingMessage(message, codecs)
  return {
    message,
    data: () => incoming.data,
    position: stored.position,
    reason: headers[REASON] ?? 'unknown',
    errorName: textOf(headers[ERROR]) ?? '',
    errorMessage: textOf(headers[MESSAGE]) ?? '',
    errorCode: textOf(headers[CODE]),
    errorStack: textOf(headers[STACK]),
    errorCause: parseCauses(headers[CAUSE]),
    attempts: countOf(headers[ATTEMPTS]),
    firstAttemptAt: new Date(instantOf(headers[FIRST]) ?? 0),
    lastAttemptAt: new Date(instantOf(headers[LAST]) ?? 0),
    // A broker that dead-letters by itself keeps the header of the redriven copy.
    redrives: countOf(headers[DIED_AFTER_REDRIVES] ?? headers[REDRIVES]),
    originalPosition: parsePosition(headers[POSITION]),
  }
}

/**
 * Makes the copy that goes back to the group. Attempts restart; the count of redrives goes up. An expiry that has passed is
 * removed: the redrive is the decision to handle the message anyway.
 */
export function makeRedrive(letter: DeadLetter, group: string, now: number): OutgoingMessage {
  const { message, redrives } = letter
  const headers = Object.assign(Object.create(null) as MutableHeaders, message.headers, {
    [REDRIVES]: String(redrives + 1),
  })
  const { expiresAt } = message
  const expired = expiresAt !== undefined && expiresAt <= now
  return {
    ...message,
    headers,
    expiresAt: expired ? undefined : expiresAt,
    deliverAt: undefined,
    group,
    copyOf: JSON.stringify(letter.position),
  }
}

function textOf(value: string | undefined): string | undefined {
  return value === undefined ? undefined : fromHeaderText(value)
}

function countOf(value: string | undefined): number {
  const count = Number(value ?? 0)
  return Number.isSafeInteger(count) && count >= 0 ? count : 0
}

function instantOf(value: string | undefined): number | undefined {
  const ms = value === undefined ? Number.NaN : Date.parse(value)
  return Number.isNaN(ms) ? undefined : ms
}

function parsePosition(value: string | undefined): Position | undefined {
  return parseJson(value) as Position | undefined
}

function parseCauses(value: string | undefined): readonly ErrorSummary[] {
  const parsed = parseJson(value)
  if (!Array.isArray(parsed)) return []
  return parsed
    .filter((each): each is Record<string, unknown> => typeof each === 'object' && each !== null)
    .map(({ name, message, code }) => ({
      name: typeof name === 'string' ? name : '',
      message: typeof message === 'string' ? message : '',
      code: typeof code === 'string' ? code : undefined,
    }))
}

function parseJson(value: string | undefined): unknown {
  if (value === undefined) return undefined
  try {
    return JSON.parse(value)
  } catch {
    return undefined
  }
}

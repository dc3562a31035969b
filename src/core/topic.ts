import { ValidationError } from './errors.ts'

/** Dead letters of a topic and group lie in `<topic>.<group>.dlq`. */
const DEAD_LETTER_TOKEN = 'dlq'
const BROADCAST_SUFFIX = '-broadcast'

/** Kafka allows 249; a dead-letter topic adds its group (64 at most) and suffix, and must fit too. */
export const MAX_TOPIC_LENGTH = 160
const MAX_DEAD_LETTER_TOPIC_LENGTH = 249

const TOKEN = /^[A-Za-z0-9_-]+$/

/**
 * Throws a `ValidationError` unless `topic` is a plain topic name: 1 to 160 characters, tokens of letters, digits,
 * `_` and `-`, joined by dots. The set is what every broker accepts as it is.
 */
export function checkTopicName(topic: string): void {
  const problem = topicProblem(topic, false)
  if (problem !== undefined) throw new ValidationError(`The topic "${shorten(topic)}" ${problem}`)
}

/** Same for a subscription, where tokens may be `*` and the last one `>` (or `#`). */
export function checkTopicPattern(pattern: string): void {
  const problem = topicProblem(pattern, true)
  if (problem !== undefined) throw new ValidationError(`The topic pattern "${shorten(pattern)}" ${problem}`)
}

/** What is wrong with a name or pattern, or undefined. */
export function topicProblem(topic: string, allowWildcards: boolean): string | undefined {
  if (typeof topic !== 'string' || topic.length === 0) return 'is empty: give it a name such as "orders.placed"'
  const longest = isDeadLetterTopic(topic) ? MAX_DEAD_LETTER_TOPIC_LENGTH : MAX_TOPIC_LENGTH
  if (topic.length > longest) return `is ${topic.length} characters long: the limit is ${longest}`
  const tokens = topic.split('.')
  for (const [index, token] of tokens.entries()) {
    if (TOKEN.test(token)) continue
    if (token === '') return 'has an empty token: no dot at its start or end, and no two in a row'
    const wildcard = token === '*' || token === '>' || token === '#'
    if (!wildcard) return `holds "${shorten(token)}": use letters, digits, "_" and "-", joined by dots`
    if (!allowWildcards) return 'holds a wildcard: those are for subscriptions only'
    if (token !== '*' && index !== tokens.length - 1)
      return `has "${token}" before its end: only the last token may stand for many`
  }
  return undefined
}

/** True when the pattern stands for more than one topic. */
export function isPattern(topic: string): boolean {
  return topic.includes('*') || topic.endsWith('>') || topic.endsWith('#')
}

/** The one spelling: a trailing `#` is read as `>`. */
export function normalizePattern(pattern: string): string {
  return pattern.endsWith('#') ? `${pattern.slice(0, -1)}>` : pattern
}

/** The topic that holds the dead letters of one topic and group. */
export function deadLetterTopic(topic: string, group: string): string {
  return `${topic}.${group}.${DEAD_LETTER_TOKEN}`
}

/** Stands for the groups of all instances of a broadcast consumer where their dead letters lie. No such group is consumed. */
export function broadcastGroup(service: string): string {
  return `${service}${BROADCAST_SUFFIX}`
}

/** True for what `broadcastGroup` makes, and for a group that somebody has named like that. */
export function mayBeBroadcast(group: string): boolean {
  return group.endsWith(BROADCAST_SUFFIX)
}

export function isDeadLetterTopic(topic: string): boolean {
  return topic.endsWith(`.${DEAD_LETTER_TOKEN}`)
}

/**
 * Compiles a pattern into a test of plain topic names. `*` is exactly one token, a trailing `>` is zero or more.
 *
 * A wildcard never reaches a dead-letter topic unless the pattern itself ends in `.dlq`: a consumer of `orders.>` that
 * was handed the dead letters of `orders.placed` would dead-letter them again, without end.
 */
export function compilePattern(pattern: string): (topic: string) => boolean {
  const normalized = normalizePattern(pattern)
  if (!isPattern(normalized)) return (topic) => topic === normalized
  const open = normalized === '>' || normalized.endsWith('.>')
  const tokens = normalized.split('.')
  if (open) tokens.pop()
  const wantsDeadLetters = isDeadLetterTopic(normalized)
  return (topic) => {
    if (!wantsDeadLetters && isDeadLetterTopic(topic)) return false
    const parts = topic.split('.')
    if (open ? parts.length < tokens.length : parts.length !== tokens.length) return false
    return tokens.every((token, index) => token === '*' || token === parts[index])
  }
}

/**
 * True when some topic fits both patterns. Two consumers of one group whose patterns overlap would share those
 * messages at random; the bus refuses that when the second one is added.
 */
export function patternsOverlap(a: string, b: string): boolean {
  const [left, right] = [normalizePattern(a), normalizePattern(b)]
  // What ends in ".dlq" reaches dead-letter topics only, and everything else none: see `compilePattern`.
  if (isDeadLetterTopic(left) !== isDeadLetterTopic(right)) return false
  return overlap(left.split('.'), right.split('.'), 0)
}

function overlap(a: readonly string[], b: readonly string[], at: number): boolean {
  const left = a[at]
  const right = b[at]
  // A trailing ">" stands for zero or more, so whatever the other side still has fits.
  if (left === '>' || right === '>') return true
  if (left === undefined || right === undefined) return left === right
  if (left !== '*' && right !== '*' && left !== right) return false
  return overlap(a, b, at + 1)
}

function shorten(text: string): string {
  const printable = text.replace(/[^\x20-\x7e]/g, '?')
  return printable.length > 60 ? `${printable.slice(0, 57)}...` : printable
}

import { ValidationError } from './errors.ts'

/** Dead letters of a topic and group are stored in `<topic>.<group>.dlq`. */
const DEAD_LETTER_TOKEN = 'dlq'
const BROADCAST_SUFFIX = '-broadcast'

/** Kafka allows 249; a dead-letter topic adds its group (64 at most) and suffix, and must fit too. */
export const MAX_TOPIC_LENGTH = 160
const MAX_DEAD_LETTER_TOPIC_LENGTH = 249

const TOKEN = /^[A-Za-z0-9_-]+$/

/**
 * Throws a `ValidationError` unless `topic` is a plain topic name: 1 to 160 characters, in tokens of letters, digits, `_` and
 * `-` joined by dots. Every broker accepts these without escaping.
 */
export function checkTopicName(topic: string): void {
  const problem = topicProblem(topic, false)
  if (problem !== undefined) throw new ValidationError(`The topic "${shorten(topic)}" ${problem}`)
}

/**
 * Says what is wrong with a name or pattern, or returns undefined. In a pattern, tokens may be `*`, and the last one `>` (or `#`).
 */
export function topicProblem(topic: string, allowWildcards: boolean): string | undefined {
  if (typeof topic !== 'string' || topic.length === 0) return 'is empty: give it a name such as "orders.placed"'
  const longest = isDeadLetterTopic(topic) ? MAX_DEAD_LETTER_TOPIC_LENGTH : MAX_TOPIC_LENGTH
  if (topic.length > longest) return `is ${topic.length} characters long: the limit is ${longest}`
  const tokens = topic.split('.')
  for (const [index, token] of tokens.entries()) {
    if (TOKEN.test(token)) continue
    if (token === '') return 'has an empty token: no dot at its start or end, and no two in a row'
    const wildcard = token === '*' || token === '>' || token === '#'
    if (!wildcard)
      return `contains characters that are not allowed ("${shorten(token)}"); use letters, digits, "_" and "-", joined by dots`
    if (!allowWildcards) return 'contains a wildcard: those are for subscriptions only'
    if (token !== '*' && index !== tokens.length - 1)
      return `has "${token}" before its end: only the last token may stand for many`
  }
  return undefined
}

/** True when the pattern has a wildcard. */
export function isPattern(topic: string): boolean {
  return topic.includes('*') || topic.endsWith('>') || topic.endsWith('#')
}

/** Normal spelling: replaces a trailing `#` by `>`. */
export function normalizePattern(pattern: string): string {
  return pattern.endsWith('#') ? `${pattern.slice(0, -1)}>` : pattern
}

/** Name of the topic that holds the dead letters of a topic and group. */
export function deadLetterTopic(topic: string, group: string): string {
  return `${topic}.${group}.${DEAD_LETTER_TOKEN}`
}

/** Group in the dead-letter topic of broadcast consumers, shared by all instances. No consumer has this group. */
export function broadcastGroup(service: string): string {
  return `${service}${BROADCAST_SUFFIX}`
}

/** True for the result of `broadcastGroup`, and for a user's group with the same suffix. */
export function mayBeBroadcast(group: string): boolean {
  return group.endsWith(BROADCAST_SUFFIX)
}

/** True for the name of a dead-letter topic. */
export function isDeadLetterTopic(topic: string): boolean {
  return topic.endsWith(`.${DEAD_LETTER_TOKEN}`)
}

/**
 * Compiles a pattern into a predicate for topic names. `*` matches exactly one token, a trailing `>` zero or more.
 *
 * A wildcard never matches a dead-letter topic unless the pattern itself ends in `.dlq`. Otherwise a consumer of `orders.>`
 * would get the dead letters of `orders.placed` and dead-letter them again, endlessly.
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
 * True when some topic matches both patterns. Two consumers of one group with overlapping patterns would share messages at
 * random, so the bus refuses the second one.
 */
export function patternsOverlap(a: string, b: string): boolean {
  const [left, right] = [normalizePattern(a), normalizePattern(b)]
  // A pattern that ends in ".dlq" matches only dead-letter topics, any other pattern none: see `compilePattern`.
  if (isDeadLetterTopic(left) !== isDeadLetterTopic(right)) return false
  return overlap(left.split('.'), right.split('.'), 0)
}

function overlap(a: readonly string[], b: readonly string[], at: number): boolean {
  const left = a[at]
  const right = b[at]
  // A trailing ">" matches zero or more tokens, so it matches the rest of the other pattern.
  if (left === '>' || right === '>') return true
  if (left === undefined || right === undefined) return left === right
  if (left !== '*' && right !== '*' && left !== right) return false
  return overlap(a, b, at + 1)
}

function shorten(text: string): string {
  const printable = text.replace(/[^\x20-\x7e]/g, '?')
  return printable.length > 60 ? `${printable.slice(0, 57)}...` : printable
}

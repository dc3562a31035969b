import { compilePattern, isDeadLetterTopic, isPattern } from '../../../core/topic.ts'
import { isRetryTopic } from '../retry/retry-topic.ts'

/** What a consumer of the client subscribes to: a name, or an expression that matches the same topics as the pattern. */
export function topicExpression(topic: string): string | RegExp {
  if (!isPattern(topic)) return topic
  const tokens = topic.split('.')
  const isOpen = tokens.at(-1) === '>'
  if (isOpen) tokens.pop()
  const parts = tokens.map((token) => (token === '*' ? '[^.]+' : token))
  const rest = isOpen ? (parts.length === 0 ? '.+' : '(?:\\..+)?') : ''
  // Names that begin so are the broker's own.
  const letters = isDeadLetterTopic(topic) ? '' : '(?!.*\\.dlq$)'
  const retries = isRetryTopic(topic) ? '' : '(?!.*\\.retry$)'
  return new RegExp(`(?!__)${letters}${retries}` + parts.join('\\.') + rest)
}

/** Whether a topic is one of a subscription: a pattern that does not end so matches no retry topic. */
export function topicMatcher(topic: string): (name: string) => boolean {
  const matches = compilePattern(topic)
  if (!isPattern(topic) || isRetryTopic(topic)) return matches
  return (name) => !isRetryTopic(name) && matches(name)
}

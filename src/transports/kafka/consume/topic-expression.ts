import { isDeadLetterTopic, isPattern } from '../../../core/topic.ts'

/** What a consumer of the client subscribes to: a name, or an expression that matches the same topics as the pattern. */
export function topicExpression(topic: string): string | RegExp {
  if (!isPattern(topic)) return topic
  const tokens = topic.split('.')
  const isOpen = tokens.at(-1) === '>'
  if (isOpen) tokens.pop()
  const parts = tokens.map((token) => (token === '*' ? '[^.]+' : token))
  const rest = isOpen ? (parts.length === 0 ? '.+' : '(?:\\..+)?') : ''
  // Names that begin so are the broker's own.
  const others = isDeadLetterTopic(topic) ? '(?!__)' : '(?!__)(?!.*\\.dlq$)'
  return new RegExp(others + parts.join('\\.') + rest)
}

import type { AnyConsumerDefinition } from './define-consumer.ts'
import { ConfigurationError, ValidationError } from './errors.ts'
import type { Problem } from './errors.ts'
import { describe } from './util/options-reader.ts'

/** Says why this is neither a topic nor an event definition, or returns undefined. */
export function targetProblem(target: unknown): string | undefined {
  if (typeof target === 'string' || hasTopic(target)) return undefined
  return misuse(target, 'a topic or an event of defineEvent()')
}

/** Says why this can't be a consumer definition, or returns undefined. Its options are checked when a bus takes it. */
export function definitionProblem(definition: unknown): string | undefined {
  if (typeof definition === 'object' && definition !== null) return undefined
  return misuse(definition, 'the result of defineConsumer()')
}

function misuse(value: unknown, expected: string): string {
  if (value === undefined)
    return 'is undefined; with a circular import, what you import is undefined until its module has run: move events to a module of their own'
  const advice = typeof value === 'function' ? '; if it returns the definition, call it' : ''
  return `must be ${expected}, got ${describe(value)}${advice}`
}

/** True for an event, several events, and anything else that names its topic. */
function hasTopic(target: unknown): target is { readonly topic: string } {
  return typeof target === 'object' && target !== null && typeof (target as { topic?: unknown }).topic === 'string'
}

/** The topic of what is published. Throws `ValidationError` when it has none. */
export function topicOf(target: string | { readonly topic: string }): string {
  if (typeof target === 'string') return target
  if (hasTopic(target)) return target.topic
  throw new ValidationError(`The event to publish ${targetProblem(target)}`)
}

/** True for a consumer definition, and for an object that can only be meant as one. */
export function isConsumerDefinition(target: unknown, handler: unknown): target is AnyConsumerDefinition {
  if (typeof target !== 'object' || target === null) return false
  if ('handle' in target || 'handleBatch' in target) return true
  return handler === undefined && !('schema' in target) && !('events' in target)
}

/** Returns the name of the consumer for errors. Throws `ConfigurationError` when the definition has no topic or no single handler. */
export function checkDefinition(definition: AnyConsumerDefinition): string {
  const { topic, handle, handleBatch, batch } = definition
  const problems: Problem[] = []
  const wrongTopic = targetProblem(topic)
  if ('event' in definition) problems.push({ path: 'event', message: 'is not a known option; write topic: the event' })
  else if (wrongTopic !== undefined) problems.push({ path: 'topic', message: wrongTopic })
  if ('handler' in definition)
    problems.push({ path: 'handler', message: 'is not a known option; write handle: (message, ctx) => ...' })
  else if ((handle === undefined) === (handleBatch === undefined))
    problems.push({ path: 'handle', message: 'either handle or handleBatch is required, not both' })
  else if (handleBatch !== undefined && batch === undefined)
    problems.push({ path: 'batch', message: 'is required with handleBatch, for example { size: 100 }' })
  else if (handle !== undefined && batch !== undefined)
    problems.push({ path: 'batch', message: 'needs handleBatch instead of handle' })
  const subject = wrongTopic === undefined ? `The consumer of "${topicOf(topic)}"` : 'The consumer'
  if (problems.length > 0) throw new ConfigurationError(subject, problems)
  return subject
}

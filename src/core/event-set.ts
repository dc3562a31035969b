import type { AnyEventDefinition, EventDefinition } from './define.ts'
import { ValidationError } from './errors.ts'
import type { Problem } from './errors.ts'
import type { BatchContext, BatchHandler, HandlerContext } from './handler.ts'
import type { EncodedMessage, Message } from './message.ts'
import { describe, OptionsReader } from './util/options-reader.ts'
import { compilePattern, normalizePattern, topicProblem } from './topic.ts'
import type { EventFilter } from './transport.ts'
import type { MessageFilter } from './where/compile-where.ts'

/** Several events that one consumer handles. Create one with `defineEvents`. */
export interface EventSet<Data = unknown> {
  /** What the consumer subscribes to: a topic, or a pattern that matches the topics of the events. */
  readonly topic: string
  readonly events: readonly AnyEventDefinition[]
  /** What becomes of a message that is none of the events. */
  readonly others: 'reject' | 'skip'
  /** Never there: carries the type of the data. */
  readonly '~data'?: Data
}

/** Options of `defineEvents`. */
export interface EventSetOptions {
  /**
   * What becomes of a message that is none of the events. `reject`: it is dead-lettered as `invalid`, so that a new event is not
   * skipped unnoticed. `skip`: it is acked without a handler, and counted in `stats().skipped`; a broker that can filter may not
   * even send it. Default `reject`.
   */
  readonly others?: 'reject' | 'skip' | undefined
}

/** A message of one of several events: `isEvent` says which. */
export type EventSetMessage<Data> = Data extends unknown ? Message<Data> : never

/** `Handler` for several events. */
export type EventSetHandler<Data> = (message: EventSetMessage<Data>, ctx: HandlerContext) => unknown

/** `BatchHandler` for several events. */
export type EventSetBatchHandler<Data> = (
  messages: readonly EventSetMessage<Data>[],
  ctx: BatchContext,
) => ReturnType<BatchHandler>

/** The data that handlers get for an event. */
export type DataOf<Event extends AnyEventDefinition> =
  // oxlint-disable-next-line typescript/no-explicit-any -- infers the output, whatever the input
  Event extends EventDefinition<any, infer Output> ? Output : never

/**
 * Lets one consumer handle several events: of different topics under a pattern, or of one topic with different types or
 * versions. Each message is validated with the schema of its own event, found by topic, `type` and `version` (a message without
 * a version counts as version 1). A message that is none of the events is dead-lettered as `invalid`, or skipped with
 * `{ others: 'skip' }`.
 *
 *     const OrderEvents = defineEvents('orders.*', [OrderPlaced, OrderPaid])
 *     bus.consume(OrderEvents, (message) => {
 *       if (isEvent(message, OrderPlaced)) reserve(message.data.items)
 *       else release(message.data.orderId)
 *     })
 *
 * Throws `ConfigurationError` when an option is wrong, the list is empty, an event is outside of the topic or pattern, or two events can't be told
 * apart.
 */
export function defineEvents<const Events extends readonly AnyEventDefinition[]>(
  topic: string,
  events: Events,
  options: EventSetOptions = {},
): EventSet<DataOf<Events[number]>> {
  const problems: Problem[] = []
  const problem = topicProblem(topic, true)
  if (problem !== undefined) problems.push({ path: 'topic', message: problem })
  if (!Array.isArray(events) || events.length === 0)
    problems.push({ path: 'events', message: `must be a list of at least one event, got ${describe(events)}` })
  else if (problem === undefined) problems.push(...problemsOf(topic, events))
  const subject = `defineEvents(${JSON.stringify(topic)})`
  const reader = new OptionsReader(subject, options)
  const others = reader.oneOf('others', ['reject', 'skip'], 'reject')
  for (const { path, message } of problems) reader.problem(path, message)
  reader.done()
  return Object.freeze({ topic, events: Object.freeze([...events]), others })
}

function problemsOf(topic: string, events: readonly AnyEventDefinition[]): Problem[] {
  const problems: Problem[] = []
  const matches = compilePattern(topic)
  const known = new Map<string, number>()
  for (const [index, event] of events.entries()) {
    const path = `events.${index}`
    if (typeof event?.topic !== 'string') {
      problems.push({ path, message: `must be made by defineEvent, got ${describe(event)}` })
      continue
    }
    if (!matches(event.topic)) problems.push({ path, message: `"${event.topic}" does not match "${topic}"` })
    const name = nameOf(event.topic, event.type, event.version)
    const twin = known.get(name)
    if (twin === undefined) known.set(name, index)
    else
      problems.push({
        path,
        message: `has the topic, type and version of events.${twin}: give one of them another type or version`,
      })
  }
  return problems
}

/**
 * True when the message is this event: same topic, `type` and `version`. Narrows the type of its data.
 */
export function isEvent<Input, Output>(
  message: Message,
  event: EventDefinition<Input, Output>,
): message is Message<Output> {
  return message.topic === event.topic && message.type === event.type && (message.version ?? 1) === event.version
}

/** Which messages a consumer skips whatever their data; undefined for one that takes all. */
export function skipsOf(
  definition: AnyEventDefinition | EventSet | undefined,
  where: MessageFilter | undefined,
): ((message: EncodedMessage) => boolean) | undefined {
  const isWanted = where?.ofAttributes
  const skipped = isWanted === undefined ? undefined : (message: EncodedMessage): boolean => !isWanted(message)
  if (definition === undefined || !('events' in definition) || definition.others === 'reject') return skipped
  const names = new Set(definition.events.map((event) => nameOf(event.topic, event.type, event.version)))
  return (message) =>
    !names.has(nameOf(message.topic, message.type, message.version ?? 1)) || skipped?.(message) === true
}

/** What a consumer takes, for a transport that can filter; undefined for one that takes all. */
export function eventFiltersOf(
  definition: AnyEventDefinition | EventSet | undefined,
): readonly EventFilter[] | undefined {
  if (definition === undefined || !('events' in definition) || definition.others === 'reject') return undefined
  return definition.events.map(({ topic, type, version }) => ({ topic, type, version }))
}

/** Finds the event of a message. Throws a `ValidationError` that names the events when it is none of them. */
export function eventFinder({ topic, events }: EventSet): (message: EncodedMessage) => AnyEventDefinition {
  const byName = new Map(events.map((event) => [nameOf(event.topic, event.type, event.version), event]))
  return (message) => {
    const event = byName.get(nameOf(message.topic, message.type, message.version ?? 1))
    if (event !== undefined) return event
    throw new ValidationError(
      `Message ${message.id} on "${message.topic}" has the type "${message.type}", version ${message.version ?? 1}, and the consumer of "${normalizePattern(topic)}" has no such event: it handles ${events.map(({ type, version }) => `"${type}" version ${version}`).join(', ')}`,
    )
  }
}

function nameOf(topic: string, type: string, version: number): string {
  // Neither a topic nor a number holds a space.
  return `${topic} ${version} ${type}`
}

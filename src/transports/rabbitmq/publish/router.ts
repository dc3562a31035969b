import type { Clock } from '../../../core/clock.ts'
import { PublishError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import { tooLarge } from '../../../core/publish/size-limit.ts'
import { isDeadLetterTopic } from '../../../core/topic.ts'
import { bucketOf } from '../partitions/key-bucket.ts'
import { carriedBy, propertyProblem, withLeftovers, withoutProblems } from '../wire/carried-properties.ts'
import type { CarriedProperties } from '../wire/carried-properties.ts'
import { MAX_DELAY_MS, rungsOf, topRung } from '../delays/delay-ladder.ts'
import { MAX_PLUGIN_DELAY_MS } from '../delays/delay-plugin.ts'
import type { GroupQueues } from '../topology/group-queues.ts'
import { bucketed, BUCKETS, routingKeyOf } from '../topology/names.ts'
import type { Names } from '../topology/names.ts'
import type { MessageProperties, ResolvedRabbitMqOptions } from '../options.ts'
import type { OutgoingFrame } from './outgoing-frame.ts'
import type { CopyNotes } from './publish-job.ts'
import { isEnvelopeHeader, toWireName } from '../wire/wire-headers.ts'

const NO_TYPED_HEADERS: Readonly<Record<string, unknown>> = Object.freeze({})

/** Decides where a message goes and which headers the transport adds. */
export class Router {
  readonly #options: ResolvedRabbitMqOptions
  readonly #names: Names
  readonly #clock: Clock
  readonly #queues: GroupQueues
  #turn = 0
  /** True when the plugin handles delays. */
  usesPlugin = false

  constructor(options: ResolvedRabbitMqOptions, names: Names, clock: Clock, queues: GroupQueues) {
    this.#queues = queues
    this.#options = options
    this.#names = names
    this.#clock = clock
  }

  /** Fills in the frame; returns an error when the message can't be sent at all. */
  address(frame: OutgoingFrame, message: OutgoingMessage, notes: CopyNotes | undefined): PublishError | undefined {
    const { maxMessageBytes, properties } = this.#options
    const { topic } = message
    const error = tooLarge(message, maxMessageBytes, 'rabbitmq')
    if (error !== undefined) return error
    frame.message = message
    frame.isCopy = message.group !== undefined
    frame.isOfDeadLetters = false
    frame.groupQueue = notes?.groupQueue
    frame.attempts = notes?.attempts ?? 0
    frame.firstAt = notes?.firstAt
    frame.rungs = 0
    frame.delayMs = 0
    frame.mandatory = true
    frame.isCompact = this.#options.envelope === 'compact'
    const given = properties?.(message)
    const isToPassOn = given !== undefined && isPassedOn(message, notes)
    const problem = given && propertyProblem(given)
    if (problem !== undefined && !isToPassOn) return refused(topic, `gets from properties() ${problem.text}`)
    frame.properties = problem && given ? withoutProblems(given) : given
    frame.typedHeaders = undefined
    const carried = notes?.carried ?? (message.group === undefined ? undefined : carriedBy(message))
    if (carried !== undefined) this.#carry(frame, message, carried)
    const unfit = addHeaders(frame, given?.headers, isToPassOn)
    if (unfit !== undefined) return unfit
    const custom = this.#route(frame, message, notes)
    if (message.deliverAt === undefined) return undefined
    const delayMs = message.deliverAt - this.#clock.now()
    if (delayMs <= 0) return undefined
    if (custom)
      return refused(
        topic,
        'is delayed and sent elsewhere by route(): what comes out of a delay goes to the exchange of the bus',
      )
    return this.#delay(frame, topic, delayMs, notes !== undefined)
  }

  #carry(frame: OutgoingFrame, message: OutgoingMessage, carried: CarriedProperties): void {
    const { userId, expiration, groupQueue: _, headers, ...properties } = carried
    frame.message = withLeftovers(message, { userId, expiration })
    frame.properties = { ...frame.properties, ...properties }
    frame.typedHeaders = headers ?? NO_TYPED_HEADERS
  }

  /** True when the user's `route` decided. */
  #route(frame: OutgoingFrame, message: OutgoingMessage, notes: CopyNotes | undefined): boolean {
    const names = this.#names
    const { topic, group } = message
    if (group !== undefined) {
      frame.exchange = names.queues
      frame.routingKey = notes?.queue ?? this.#queues.queueOf(message)
      frame.topic = topic
      return false
    }
    const key = routingKeyOf(topic)
    const bucket = message.key === undefined ? this.#turn++ % BUCKETS : bucketOf(message.key)
    frame.topic = key === topic ? undefined : topic
    const route =
      this.#options.route === undefined || isDeadLetterTopic(topic) ? undefined : this.#options.route(message)
    if (route === undefined) {
      frame.exchange = names.exchangeOf(topic)
      frame.routingKey = bucketed(key, bucket)
      return false
    }
    frame.exchange = route.exchange
    frame.routingKey = route.routingKey
    if (route.routingKey !== topic) frame.topic = topic
    return true
  }

  #delay(frame: OutgoingFrame, topic: string, delayMs: number, roughly: boolean): PublishError | undefined {
    frame.isOfDeadLetters = !frame.isCopy && isDeadLetterTopic(topic)
    const limit = this.usesPlugin ? MAX_PLUGIN_DELAY_MS : MAX_DELAY_MS
    if (delayMs > limit)
      return refused(topic, `is to be delayed by ${delayMs} ms; the longest is ${limit} ms, about 49 days`)
    if (this.usesPlugin) {
      frame.exchange = this.#names.delayed
      frame.delayMs = Math.ceil(delayMs)
      // Marks it as delayed, like those of the ladder.
      frame.rungs = 1
      // The plugin routes a message only when it is due, so the broker reports "no route" for every message.
      frame.mandatory = false
      return undefined
    }
    // A message that expires before a rung releases it would come too early.
    if (frame.properties?.expiration !== undefined) frame.properties = { ...frame.properties, expiration: undefined }
    frame.rungs = rungsOf(delayMs, roughly)
    frame.exchange = this.#names.delay(topRung(frame.rungs))
    return undefined
  }

  /** The queue of a copy for one group, once the number of the group's queues is known. */
  queueOf(message: OutgoingMessage): string {
    return this.#queues.queueOf(message)
  }

  /** The highest rung that the message needs now; undefined when it needs none. */
  rungFor(message: OutgoingMessage): number | undefined {
    if (message.deliverAt === undefined) return undefined
    const delayMs = message.deliverAt - this.#clock.now()
    if (delayMs <= 0 || delayMs > MAX_DELAY_MS) return undefined
    // Rounding up may carry into the next rung.
    return Math.max(topRung(rungsOf(delayMs, false)), topRung(rungsOf(delayMs, true)))
  }
}

/**
 * A copy or a dead letter. What `properties` gets wrong is left out of it: refused, it would come back forever, and hold
 * up its key.
 */
function isPassedOn({ topic, group }: OutgoingMessage, notes: CopyNotes | undefined): boolean {
  return notes !== undefined || group !== undefined || isDeadLetterTopic(topic)
}

/** Adds the headers that the user's `properties` gave. Copies have them already, like the message's own. */
function addHeaders(
  frame: OutgoingFrame,
  given: MessageProperties['headers'],
  isToPassOn: boolean,
): PublishError | undefined {
  if (given === undefined) return undefined
  const { message } = frame
  const headers = Object.assign(Object.create(null) as Record<string, string>, message.headers)
  const typed: Record<string, unknown> = { ...frame.typedHeaders }
  for (const name in given) {
    if (name in headers) continue
    if (isEnvelopeHeader(name)) {
      if (isToPassOn) continue
      return refused(message.topic, `has the header "${name}" from properties(), which is part of the envelope`)
    }
    // The writers take the typed value in its place.
    headers[name] = ''
    typed[toWireName(name)] = given[name]
  }
  frame.message = { ...message, headers }
  frame.typedHeaders = typed
  return undefined
}

export function refused(topic: string, why: string, cause?: unknown): PublishError {
  return new PublishError(`The message for "${topic}" ${why}. It was not sent.`, { outcome: 'not-sent', cause })
}

import type { Clock } from '../../core/clock.ts'
import { PublishError } from '../../core/errors.ts'
import { bodyBytes } from '../../core/message.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import { isCopy } from '../../core/publish/size-limit.ts'
import { isDeadLetterTopic } from '../../core/topic.ts'
import { bucketOf } from './buckets.ts'
import { carriedBy, withLeftovers } from './carried-properties.ts'
import type { CarriedProperties } from './carried-properties.ts'
import { MAX_DELAY_MS, rungsOf, topRung } from './delay-ladder.ts'
import { MAX_PLUGIN_DELAY_MS } from './delay-plugin.ts'
import { bucketed, routingKeyOf, targetedKeyOf } from './names.ts'
import type { Names } from './names.ts'
import { BUCKETS } from './options.ts'
import type { MessageProperties, ResolvedRabbitMqOptions } from './options.ts'
import type { Parcel } from './parcel.ts'
import type { CopyNotes } from './publish-job.ts'
import { isEnvelopeHeader, toWireName } from './wire-headers.ts'

const NO_TYPED_HEADERS: Readonly<Record<string, unknown>> = Object.freeze({})

/** Decides where a message goes and which headers the transport adds. */
export class Addressing {
  readonly #options: ResolvedRabbitMqOptions
  readonly #names: Names
  readonly #clock: Clock
  #turn = 0
  /** True when the plugin handles delays. */
  usesPlugin = false

  constructor(options: ResolvedRabbitMqOptions, names: Names, clock: Clock) {
    this.#options = options
    this.#names = names
    this.#clock = clock
  }

  /** Fills in the parcel; returns an error when the message can't be sent at all. */
  address(parcel: Parcel, message: OutgoingMessage, notes: CopyNotes | undefined): PublishError | undefined {
    const { maxMessageBytes, properties } = this.#options
    const { topic } = message
    const bytes = bodyBytes(message)
    if (bytes > maxMessageBytes && !isCopy(message))
      return refused(topic, `has a body of ${bytes} bytes, the limit is ${maxMessageBytes} (maxMessageBytes)`)
    parcel.message = message
    parcel.targeted = message.group !== undefined
    parcel.attempts = notes?.attempts ?? 0
    parcel.firstAt = notes?.firstAt
    parcel.rungs = 0
    parcel.delayMs = 0
    parcel.mandatory = true
    parcel.properties = properties?.(message)
    parcel.typedHeaders = undefined
    const carried = notes?.carried ?? (message.group === undefined ? undefined : carriedBy(message))
    if (carried !== undefined) this.#carry(parcel, message, carried)
    const unfit = addHeaders(parcel, parcel.properties?.headers)
    if (unfit !== undefined) return unfit
    const custom = this.#route(parcel, message)
    if (message.deliverAt === undefined) return undefined
    const delayMs = message.deliverAt - this.#clock.now()
    if (delayMs <= 0) return undefined
    if (custom)
      return refused(
        topic,
        'is delayed and sent elsewhere by route(): what comes out of a delay goes to the exchange of the bus',
      )
    return this.#delay(parcel, topic, delayMs, notes !== undefined)
  }

  #carry(parcel: Parcel, message: OutgoingMessage, carried: CarriedProperties): void {
    const { userId, expiration, headers, ...properties } = carried
    parcel.message = withLeftovers(message, { userId, expiration })
    parcel.properties = { ...parcel.properties, ...properties }
    parcel.typedHeaders = headers ?? NO_TYPED_HEADERS
  }

  /** True when the user's `route` decided. */
  #route(parcel: Parcel, message: OutgoingMessage): boolean {
    const names = this.#names
    const { topic, group } = message
    const key = routingKeyOf(topic)
    const bucket = message.key === undefined ? this.#turn++ % BUCKETS : bucketOf(message.key)
    parcel.topic = key === topic ? undefined : topic
    if (group !== undefined) {
      parcel.exchange = names.groups
      parcel.routingKey = bucketed(targetedKeyOf(group, key), bucket)
      return false
    }
    const route =
      this.#options.route === undefined || isDeadLetterTopic(topic) ? undefined : this.#options.route(message)
    if (route === undefined) {
      parcel.exchange = names.exchangeOf(topic)
      parcel.routingKey = bucketed(key, bucket)
      return false
    }
    parcel.exchange = route.exchange
    parcel.routingKey = route.routingKey
    if (route.routingKey !== topic) parcel.topic = topic
    return true
  }

  #delay(parcel: Parcel, topic: string, delayMs: number, roughly: boolean): PublishError | undefined {
    const limit = this.usesPlugin ? MAX_PLUGIN_DELAY_MS : MAX_DELAY_MS
    if (delayMs > limit)
      return refused(topic, `is to be delayed by ${delayMs} ms; the longest is ${limit} ms, about 49 days`)
    if (this.usesPlugin) {
      parcel.exchange = this.#names.delayed
      parcel.delayMs = Math.ceil(delayMs)
      // The plugin routes a message only when it is due, so the broker reports "no route" for every message.
      parcel.mandatory = false
      return undefined
    }
    // A message that expires before a rung releases it would come too early.
    if (parcel.properties?.expiration !== undefined) parcel.properties = { ...parcel.properties, expiration: undefined }
    parcel.rungs = rungsOf(delayMs, roughly)
    parcel.exchange = this.#names.delay(topRung(parcel.rungs))
    return undefined
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

/** Adds the headers that the user's `properties` gave. Copies have them already, like the message's own. */
function addHeaders(parcel: Parcel, given: MessageProperties['headers']): PublishError | undefined {
  if (given === undefined) return undefined
  const { message } = parcel
  const headers = Object.assign(Object.create(null) as Record<string, string>, message.headers)
  const typed: Record<string, unknown> = { ...parcel.typedHeaders }
  for (const name in given) {
    if (name in headers) continue
    if (isEnvelopeHeader(name))
      return refused(message.topic, `has the header "${name}" from properties(), which is part of the envelope`)
    // The writers take the typed value in its place.
    headers[name] = ''
    typed[toWireName(name)] = given[name]
  }
  parcel.message = { ...message, headers }
  parcel.typedHeaders = typed
  return undefined
}

export function refused(topic: string, why: string, cause?: unknown): PublishError {
  return new PublishError(`The message for "${topic}" ${why}. It was not sent.`, { outcome: 'not-sent', cause })
}

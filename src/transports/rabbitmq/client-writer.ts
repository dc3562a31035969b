import { bodyOf } from '../../core/message.ts'
import type { Channel, Message, Options } from 'amqplib'
import { toCloudEventHeaders } from '../../core/cloud-events.ts'
import { CARRIED } from './carried-properties.ts'
import type { ChannelWriter } from './channel-writer.ts'
import type { Parcel } from './parcel.ts'
import {
  ATTEMPTS,
  CLOUD_EVENTS,
  FIRST_AT,
  PLUGIN_DELAY,
  rungHeader,
  TARGETED,
  TOPIC,
  toWireName,
} from './wire-headers.ts'

const MAX_SHORT = 255

/** Writes with the client library's own methods: for versions of it that the frame writer does not know. */
export class ClientWriter implements ChannelWriter {
  readonly #channel: Channel
  isFull = false

  constructor(channel: Channel) {
    this.#channel = channel
  }

  publish(parcel: Parcel): void {
    const { message, properties } = parcel
    const options: Options.Publish = {
      mandatory: parcel.mandatory,
      persistent: properties?.persistent !== false,
      contentType: short(message.contentType),
      contentEncoding: properties?.contentEncoding,
      expiration: properties?.expiration,
      messageId: short(message.id),
      timestamp: Math.max(0, Math.floor(message.time / 1000)),
      priority: properties?.priority,
      correlationId: properties?.correlationId,
      replyTo: properties?.replyTo,
      type: properties?.type,
      userId: properties?.userId,
      appId: properties?.appId,
      headers: wireHeaders(parcel),
    }
    const body = bodyOf(message)
    const content = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    if (!this.#channel.publish(parcel.exchange, parcel.routingKey, content, options)) this.#full()
  }

  ack(deliveryTag: number, multiple: boolean): void {
    this.#channel.ack({ fields: { deliveryTag } } as Message, multiple)
  }

  nack(deliveryTag: number, requeue: boolean): void {
    this.#channel.nack({ fields: { deliveryTag } } as Message, false, requeue)
  }

  flush(): void {
    // The library flushes by itself.
  }

  onceDrained(listener: () => void): void {
    this.#channel.once('drain', listener)
  }

  #full(): void {
    if (this.isFull) return
    this.isFull = true
    this.#channel.once('drain', () => {
      this.isFull = false
    })
  }
}

function short(text: string): string | undefined {
  return text === '' || Buffer.byteLength(text) > MAX_SHORT ? undefined : text
}

/** All headers of a parcel as an object; the frame writer writes the same ones. */
export function wireHeaders(parcel: Parcel): Record<string, unknown> {
  const { message, typedHeaders } = parcel
  const headers: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  for (const [name, value] of Object.entries(toCloudEventHeaders(message, CLOUD_EVENTS))) {
    const wireName = Object.hasOwn(message.headers, name) ? toWireName(name) : name
    if (Buffer.byteLength(wireName) > MAX_SHORT)
      throw new RangeError(`has a header name of more than ${MAX_SHORT} bytes`)
    const isTyped = typedHeaders !== undefined && Object.hasOwn(typedHeaders, wireName)
    headers[wireName] = isTyped ? typedHeaders[wireName] : value
  }
  if (typedHeaders !== undefined) delete headers[CARRIED]
  if (parcel.targeted) headers[TARGETED] = 'group'
  if (parcel.topic !== undefined) headers[TOPIC] = parcel.topic
  if (parcel.attempts > 0) headers[ATTEMPTS] = { '!': 'int32', value: parcel.attempts }
  if (parcel.firstAt !== undefined) headers[FIRST_AT] = { '!': 'int64', value: parcel.firstAt }
  if (parcel.delayMs > 0) headers[PLUGIN_DELAY] = { '!': 'int64', value: parcel.delayMs }
  for (let level = 0; parcel.rungs >>> level > 0; level++)
    if ((parcel.rungs >>> level) & 1) headers[rungHeader(level)] = true
  return headers
}

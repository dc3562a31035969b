import { bodyOf } from '../../../core/message.ts'
import type { Channel, Message, Options } from 'amqplib'
import { contentTypeToWrite, toCloudEventHeaders, toCompactHeaders } from '../../../core/cloud-events.ts'
import { compactMark } from '../../../core/compact-envelope.ts'
import { CARRIED } from './carried-properties.ts'
import type { ChannelWriter } from './writer.ts'
import type { OutgoingFrame } from '../publish/outgoing-frame.ts'
import {
  ATTEMPTS,
  CLOUD_EVENTS,
  COPY,
  FIRST_AT,
  GROUP_QUEUE,
  NO_BODY,
  OF_DEAD_LETTERS,
  PLUGIN_DELAY,
  rungHeader,
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

  publish(frame: OutgoingFrame): void {
    const { message, properties } = frame
    const isCompact = frame.isCompact && compactMark(message) !== undefined
    const options: Options.Publish = {
      mandatory: frame.mandatory,
      persistent: properties?.persistent !== false,
      contentType: short(contentTypeToWrite(message, isCompact ? 'compact' : 'cloudevents')),
      contentEncoding: properties?.contentEncoding,
      expiration: properties?.expiration,
      messageId: short(message.id),
      timestamp: isCompact ? undefined : Math.max(0, Math.floor(message.time / 1000)),
      priority: properties?.priority,
      correlationId: properties?.correlationId,
      replyTo: properties?.replyTo,
      type: properties?.type,
      userId: properties?.userId,
      appId: properties?.appId ?? (isCompact ? short(message.source) : undefined),
      headers: wireHeaders(frame),
    }
    const body = bodyOf(message)
    const content = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    if (!this.#channel.publish(frame.exchange, frame.routingKey, content, options)) this.#full()
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

/** All headers of a frame as an object; the frame writer writes the same ones. */
export function wireHeaders(frame: OutgoingFrame): Record<string, unknown> {
  const { message, properties, typedHeaders } = frame
  const native = {
    id: short(message.id),
    source: properties?.appId === undefined ? short(message.source) : undefined,
  }
  const envelope = frame.isCompact
    ? toCompactHeaders(message, CLOUD_EVENTS, native)
    : toCloudEventHeaders(message, CLOUD_EVENTS)
  const headers: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  for (const [name, value] of Object.entries(envelope)) {
    const wireName = Object.hasOwn(message.headers, name) ? toWireName(name) : name
    if (Buffer.byteLength(wireName) > MAX_SHORT)
      throw new RangeError(`has a header name of more than ${MAX_SHORT} bytes`)
    const isTyped = typedHeaders !== undefined && Object.hasOwn(typedHeaders, wireName)
    headers[wireName] = isTyped ? typedHeaders[wireName] : value
  }
  if (typedHeaders !== undefined) delete headers[CARRIED]
  if (frame.isCopy) headers[COPY] = true
  if (message.body === null) headers[NO_BODY] = true
  if (frame.isOfDeadLetters) headers[OF_DEAD_LETTERS] = true
  if (frame.groupQueue !== undefined) headers[GROUP_QUEUE] = frame.groupQueue
  if (frame.topic !== undefined) headers[TOPIC] = frame.topic
  if (frame.attempts > 0) headers[ATTEMPTS] = { '!': 'int32', value: frame.attempts }
  if (frame.firstAt !== undefined) headers[FIRST_AT] = { '!': 'int64', value: frame.firstAt }
  if (frame.delayMs > 0) headers[PLUGIN_DELAY] = { '!': 'int64', value: frame.delayMs }
  for (let level = 0; frame.rungs >>> level > 0; level++)
    if ((frame.rungs >>> level) & 1) headers[rungHeader(level)] = true
  return headers
}

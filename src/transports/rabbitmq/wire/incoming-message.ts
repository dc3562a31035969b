import type { ConsumeMessage, GetMessage } from 'amqplib'
import type { CompactForm } from '../../../core/compact-envelope.ts'
import { NO_HEADERS } from '../../../core/message.ts'
import type { EncodedMessage, Headers } from '../../../core/message.ts'
import { uuidTime } from '../../../core/publish/uuid.ts'
import type { CarriedProperties } from './carried-properties.ts'

/** A parsed incoming message. One object is reused for all messages. */
export class IncomingMessage {
  deliveryTag = 0
  redelivered = false
  routingKey = ''
  exchange = ''
  /** Undefined when the publisher set none. */
  id: string | undefined = undefined
  type: string | undefined = undefined
  source: string | undefined = undefined
  time: number | undefined = undefined
  key: string | undefined = undefined
  contentType = ''
  subject: string | undefined = undefined
  dataSchema: string | undefined = undefined
  version: number | undefined = undefined
  correlationId: string | undefined = undefined
  causationId: string | undefined = undefined
  traceparent: string | undefined = undefined
  tracestate: string | undefined = undefined
  expiresAt: number | undefined = undefined
  headers: Headers = NO_HEADERS
  /** A copy for one group alone: its routing key is the name of a queue. */
  isCopy = false
  /** The first queue of the group whose dead letter it is, where topic and group don't say it. */
  groupQueue: string | undefined = undefined
  /** The topic, if the routing key does not contain it. */
  topicHeader: string | undefined = undefined
  /** How often the broker delivered it before; undefined when the queue does not count. */
  returns: number | undefined = undefined
  /** The same, on queues where `returns` counts only failures. */
  acquired: number | undefined = undefined
  /** Set for unusual messages: what copies of it must keep. */
  carried: CarriedProperties | undefined = undefined
  /** Attempts that the group had used when this copy was made. */
  attempts = 0
  firstAt: number | undefined = undefined
  /** How absent attributes are derived; undefined for an envelope that is not compact. */
  form: CompactForm | undefined = undefined
  /** Its offset in a stream. */
  offset: number | undefined = undefined
  body: Uint8Array = NOTHING
  /** Marked as a message without a body. */
  isNull = false
  /** As the client library returned it; undefined when it was read without the library. */
  native: ConsumeMessage | GetMessage | undefined = undefined

  /** Clears the fields that are not set for every message. */
  reset(): void {
    this.key = undefined
    this.contentType = ''
    this.subject = undefined
    this.dataSchema = undefined
    this.version = undefined
    this.correlationId = undefined
    this.causationId = undefined
    this.traceparent = undefined
    this.tracestate = undefined
    this.expiresAt = undefined
    this.headers = NO_HEADERS
    this.isCopy = false
    this.isNull = false
    this.groupQueue = undefined
    this.topicHeader = undefined
    this.returns = undefined
    this.acquired = undefined
    this.carried = undefined
    this.attempts = 0
    this.firstAt = undefined
    this.offset = undefined
    this.form = undefined
    this.native = undefined
  }

  /** Derives what a compact envelope leaves out. The topic is that of the publisher. */
  derive(form: CompactForm, topic: string): void {
    this.form = form
    this.type ??= topic
    if (this.id !== undefined) {
      this.time ??= uuidTime(this.id)
      if (form.correlates) this.correlationId ??= this.id
    }
    if (this.contentType === '') this.contentType = form.contentType
  }

  toEncodedMessage(topic: string, id: string, now: number): EncodedMessage {
    return {
      id,
      topic,
      type: this.type ?? topic,
      source: this.source ?? `rabbitmq:${this.exchange}`,
      time: this.time ?? now,
      key: this.key,
      contentType: this.contentType,
      subject: this.subject,
      dataSchema: this.dataSchema,
      version: this.version,
      correlationId: this.correlationId,
      causationId: this.causationId,
      traceparent: this.traceparent,
      tracestate: this.tracestate,
      expiresAt: this.expiresAt,
      headers: this.headers,
      body: this.isNull && this.body.byteLength === 0 ? null : this.body,
    }
  }
}

const NOTHING = new Uint8Array(0)

import { NO_HEADERS } from '../../core/message.ts'
import type { OutgoingMessage } from '../../core/message.ts'
import type { MessageProperties } from './options.ts'

/**
 * A message together with where it goes: what a channel writer puts on the wire. The publisher has one, and fills it anew
 * for each message.
 */
export class Parcel {
  exchange = ''
  routingKey = ''
  message: OutgoingMessage = EMPTY
  mandatory = true
  /** One bit for each rung of the ladder of delays that the message rests on. 0: none. */
  rungs = 0
  /** Delay for the plugin, in ms; 0: none. */
  delayMs = 0
  /** A copy for one group alone. */
  targeted = false
  /** The topic, where the routing key does not tell it. */
  topic: string | undefined = undefined
  /** Attempts that the group has used up before this copy. */
  attempts = 0
  /** When the group got it for the first time, in ms since 1970. */
  firstAt: number | undefined = undefined
  properties: MessageProperties | undefined = undefined
  /** Headers that are no text, in place of those of the message with the same name. */
  typedHeaders: Readonly<Record<string, unknown>> | undefined = undefined
}

const EMPTY: OutgoingMessage = Object.freeze({
  id: '',
  topic: '',
  type: '',
  source: '',
  time: 0,
  key: undefined,
  contentType: '',
  subject: undefined,
  dataSchema: undefined,
  version: undefined,
  correlationId: undefined,
  causationId: undefined,
  traceparent: undefined,
  tracestate: undefined,
  expiresAt: undefined,
  headers: NO_HEADERS,
  body: new Uint8Array(0),
  deliverAt: undefined,
  group: undefined,
})

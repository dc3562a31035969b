import { NO_HEADERS } from '../../../core/message.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type { MessageProperties } from '../options.ts'

/**
 * A message together with its destination: the input of a channel writer. The publisher reuses one object for all
 * messages.
 */
export class OutgoingFrame {
  exchange = ''
  routingKey = ''
  message: OutgoingMessage = EMPTY
  mandatory = true
  /** Without attributes that a reader can derive. */
  isCompact = true
  /** One bit for each rung of the delay ladder that the message rests on. 0: none. */
  rungs = 0
  /** Delay for the plugin, in ms; 0: none. */
  delayMs = 0
  /** A copy for one group alone. */
  isCopy = false
  /** Delayed, for a dead-letter topic. */
  isOfDeadLetters = false
  /** On a dead letter: the first queue of its group, where topic and group don't say it. */
  groupQueue: string | undefined = undefined
  /** The topic, if the routing key does not contain it. */
  topic: string | undefined = undefined
  /** Attempts that the group has used before this copy. */
  attempts = 0
  /** When the group first received it, in ms since 1970. */
  firstAt: number | undefined = undefined
  properties: MessageProperties | undefined = undefined
  /** Headers that are not text, in place of the message's headers with the same name. */
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

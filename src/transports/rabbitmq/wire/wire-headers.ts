// Names of the headers that Busbar and the broker write, and how users' headers are kept apart from them.

/** Prefix of CloudEvents attributes in the AMQP protocol binding. */
export const CLOUD_EVENTS = 'cloudEvents:'
/** The same, for brokers and clients (JMS) that don't allow a colon: receivers must know both. */
export const CLOUD_EVENTS_JMS = 'cloudEvents_'

/** Marks copies for one group, whose routing key is the name of its queue. */
export const COPY = 'busbar-copy'
/** Marks delayed messages that go to a dead-letter topic. */
export const OF_DEAD_LETTERS = 'busbar-dead'
/** On a dead letter: the first queue of its group, where topic and group don't say it. */
export const GROUP_QUEUE = 'busbar-queue'
export const TOPIC = 'busbar-topic'
/** Marks a message without a body: in AMQP, an empty body looks the same. */
export const NO_BODY = 'busbar-null'
export const ATTEMPTS = 'busbar-attempts'
export const FIRST_AT = 'busbar-first-at'
const RUNG = 'busbar-delay-'
/** Read by the delayed-message plugin. */
export const PLUGIN_DELAY = 'x-delay'

/** Header that sends a message to the rung with that number. */
export function rungHeader(level: number): string {
  return `${RUNG}${level}`
}

/** Deliveries of the message as counted by the broker. */
export const DELIVERY_COUNT = 'x-delivery-count'
/** From RabbitMQ 4.3 on `x-delivery-count` counts only failures, and this one all deliveries. */
export const ACQUIRED_COUNT = 'x-acquired-count'
export const DEATHS = 'x-death'
export const STREAM_OFFSET = 'x-stream-offset'

const OURS: ReadonlySet<string> = new Set([COPY, OF_DEAD_LETTERS, GROUP_QUEUE, TOPIC, NO_BODY, ATTEMPTS, FIRST_AT])
const OF_THE_BROKER: ReadonlySet<string> = new Set([
  'CC',
  'BCC',
  PLUGIN_DELAY,
  DELIVERY_COUNT,
  DEATHS,
  ACQUIRED_COUNT,
  'x-opt-enqueue-time',
  'x-received-from',
  STREAM_OFFSET,
])

/** True for headers that hold a part of the envelope. */
export function isEnvelopeHeader(name: string): boolean {
  return (
    name.startsWith(CLOUD_EVENTS) ||
    name.startsWith(CLOUD_EVENTS_JMS) ||
    name === 'traceparent' ||
    name === 'tracestate' ||
    name.toLowerCase() === 'content-type'
  )
}

/** True for transport headers, which handlers should not see. */
export function isTransportHeader(name: string): boolean {
  const first = name.charCodeAt(0)
  // x, b, C, B: everything else is the user's, without a lookup in the sets.
  if (first !== 120 && first !== 98 && first !== 67 && first !== 66) return false
  return (
    OF_THE_BROKER.has(name) ||
    OURS.has(name) ||
    name.startsWith(RUNG) ||
    name.startsWith('x-first-death-') ||
    name.startsWith('x-last-death-')
  )
}

const ESCAPE = 'busbar-user-'

/** A user's header with a name that means something to the broker is sent under another name. */
export function toWireName(name: string): string {
  return isTransportHeader(name) || name.startsWith(ESCAPE) ? `${ESCAPE}${name}` : name
}

export function fromWireName(name: string): string {
  return name.startsWith(ESCAPE) ? name.slice(ESCAPE.length) : name
}

import { createHash } from 'node:crypto'
import { isDeadLetterTopic, isPattern } from '../../core/topic.ts'

/** AMQP limits names and routing keys to 255 bytes. */
const MAX_NAME = 255
/** A routing key must still fit with the group and a dot in front of it. */
const MAX_ROUTING_KEY = 200
const MAX_GROUP_TOKEN = 40

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

/** A name that does not fit keeps its beginning, for people, and gets a digest of the whole name. */
function fit(name: string): string {
  return name.length <= MAX_NAME ? name : `${name.slice(0, MAX_NAME - 33)}~${digest(name)}`
}

/** The routing key of a topic: the topic itself, except for the few that are too long for AMQP. */
export function routingKeyOf(topic: string): string {
  return topic.length <= MAX_ROUTING_KEY ? topic : `~${digest(topic)}`
}

/** A topic or pattern as a binding key, without buckets. */
export function bindingKeyOf(pattern: string): string {
  if (!isPattern(pattern)) return routingKeyOf(pattern)
  return isTail(pattern) ? `${pattern.slice(0, -1)}#` : pattern
}

/** Whether the pattern ends with a wildcard for any number of tokens, and so matches buckets as well. */
export function isTail(pattern: string): boolean {
  return pattern.endsWith('>')
}

/**
 * The routing key with the bucket of the message's key as its last word, so that one lookup in the topic exchange finds
 * the right queue of every group. (A header exchange or a second exchange behind the first costs the broker twice as
 * much.)
 */
export function bucketed(key: string, bucket: number): string {
  return `${key}.~${bucket}`
}

export function hasBucket(routingKey: string): boolean {
  return routingKey.includes('.~')
}

/** The routing key without its bucket. Messages of other publishers have none. */
export function unbucketed(routingKey: string): string {
  const at = routingKey.lastIndexOf('.~')
  return at < 0 ? routingKey : routingKey.slice(0, at)
}

/**
 * Binding keys that match the topic or pattern, with any bucket and with none. They may match some foreign messages
 * too: the consumer checks again.
 */
export function bindingKeysOf(key: string): readonly string[] {
  return key === '#' || key.endsWith('.#') ? [key] : [key, `${key}.*`]
}

function groupToken(group: string): string {
  return group.length <= MAX_GROUP_TOKEN ? group : `${group.slice(0, 8)}~${digest(group).slice(0, 24)}`
}

/** Routing key of a copy for one group alone. */
export function targetedKeyOf(group: string, key: string): string {
  return `${groupToken(group)}.${key}`
}

/**
 * All names that the transport uses on the broker. All of them begin with the name of the exchange, so that two systems
 * with different exchanges can share a virtual host without conflicts.
 */
export class Names {
  /** Where messages are published, with the topic as the routing key. */
  readonly main: string
  /** Copies for one group: redrives and delayed retries. */
  readonly groups: string
  /** Everything for topics that end in `.dlq`. */
  readonly deadLetters: string
  /** Sends messages whose delay is over to `late` and `lateGroups`. */
  readonly due: string
  /** Like `main` and `groups`, for messages whose delay is over: those that match no queue by then go to `unrouted`. */
  readonly late: string
  readonly lateGroups: string
  /** Exchange and queue of delayed messages that no queue took when they were due. */
  readonly unrouted: string
  /** Exchange of the delayed-message plugin. */
  readonly delayed: string
  /** Queue with one message for each group ever declared: AMQP has no way to list queues. */
  readonly registry: string
  /** Direct exchange for the transport's own messages: its queues are bound to it by their own name. */
  readonly internal: string

  constructor(exchange: string) {
    this.main = exchange
    this.groups = `${exchange}.groups`
    this.deadLetters = `${exchange}.dlx`
    this.due = `${exchange}.due`
    this.late = `${exchange}.late`
    this.lateGroups = `${exchange}.late.groups`
    this.unrouted = `${exchange}.unrouted`
    this.delayed = `${exchange}.delayed`
    this.registry = `${exchange}.registry`
    this.internal = `${exchange}.internal`
  }

  /** Exchange and queue of one rung of the delay ladder. */
  delay(level: number): string {
    return `${this.main}.delay.${level}`
  }

  isRung(queue: string): boolean {
    return queue.startsWith(`${this.main}.delay.`)
  }

  /** The exchange that a topic's messages are published to. */
  exchangeOf(topic: string): string {
    return isDeadLetterTopic(topic) ? this.deadLetters : this.main
  }

  /** The queue of a group, and the exchange that spreads its messages when it has several. */
  group(topic: string, group: string): string {
    return fit(`${this.main}:${topic}:${group}`)
  }

  partition(topic: string, group: string, partition: number): string {
    return fit(`${this.main}:${topic}:${group}:${partition}`)
  }

  /** Where the members of a group find each other: an exchange, and a queue that counts them. */
  members(topic: string, group: string, place: number): string {
    return fit(`${this.main}:${topic}:${group}:members${place === 0 ? '' : `.${place}`}`)
  }

  /** The queue where one member receives messages from the others, during one connection. */
  memberLine(topic: string, group: string, member: string, epoch: number): string {
    return fit(`${this.main}:${topic}:${group}:member:${member}:${epoch}`)
  }

  /** Queue of notes about attempts that the broker's own count does not show. */
  notes(topic: string, group: string, place: number): string {
    return fit(`${this.main}:${topic}:${group}:notes${place === 0 ? '' : `.${place}`}`)
  }

  /** The stream of a topic, shared by all its readers. */
  stream(topic: string): string {
    return fit(`${this.main}:${topic}:stream`)
  }

  /** The queue that holds a dead-letter topic. */
  storage(topic: string): string {
    return fit(`${this.main}:${topic}`)
  }
}

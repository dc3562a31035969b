import { createHash } from 'node:crypto'
import { isDeadLetterTopic, isPattern } from '../../../core/topic.ts'

/** AMQP limits names and routing keys to 255 bytes. */
const MAX_NAME = 255
const MAX_ROUTING_KEY = 200

function digest(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 32)
}

/** A name that does not fit keeps its beginning, for people, and gets a digest of the whole name. */
function fit(name: string): string {
  return name.length <= MAX_NAME ? name : `${name.slice(0, MAX_NAME - 33)}~${digest(name)}`
}

/** In names of queues: where a topic would be, for a group whose topics share its queues. No topic looks like it. */
export const ALL_TOPICS = '~'

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
  return pattern.endsWith('>') || pattern === ALL_TOPICS
}

/** Number of buckets for keys. Must never change: it decides which partition has which key. */
export const BUCKETS = 32
/** Values of the last word of a routing key: a binding takes one of them, or all. */
const LAST_WORDS = 8

const BUCKET_WORDS: readonly string[] = Array.from(
  { length: BUCKETS },
  (_, bucket) => `.~${Math.floor(bucket / LAST_WORDS)}.${bucket % LAST_WORDS}`,
)

/**
 * The routing key with the bucket of the message's key as its last two words, so that one lookup in the topic exchange
 * finds the right queue of every group, and four bindings with a wildcard cover all buckets.
 */
export function bucketed(key: string, bucket: number): string {
  return key + (BUCKET_WORDS[bucket] as string)
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
  return key === '#' || key.endsWith('.#') ? [key] : [key, `${key}.*.*`]
}

/** The partition that has a bucket: each has consecutive ones. */
export function partitionOf(bucket: number, partitions: number): number {
  return Math.floor((bucket * partitions) / BUCKETS)
}

/** Binding keys for the buckets of each partition, as few as possible. */
export function bucketKeysOf(key: string, partitions: number): readonly (readonly string[])[] {
  const keys: string[][] = Array.from({ length: partitions }, () => [])
  for (let first = 0; first < BUCKETS; first += LAST_WORDS) {
    const [from, to] = [partitionOf(first, partitions), partitionOf(first + LAST_WORDS - 1, partitions)]
    if (from === to) keys[from]?.push(`${key}.~${first / LAST_WORDS}.*`)
    else
      for (let bucket = first; bucket < first + LAST_WORDS; bucket++)
        keys[partitionOf(bucket, partitions)]?.push(bucketed(key, bucket))
  }
  return keys
}

/**
 * All names that the transport uses on the broker. All of them begin with the name of the exchange, so that two systems
 * with different exchanges can share a virtual host without conflicts.
 */
export class Names {
  /** Where messages are published, with the topic and a bucket as the routing key. */
  readonly main: string
  /** Everything for topics that end in `.dlq`, and what members tell each other. */
  readonly system: string
  /** Queue of the messages that the broker itself gave up, until a process sorts them into their dead-letter topics. */
  readonly deadLetters: string
  /** Queue with a message for each group ever declared: AMQP can't list queues. */
  readonly groups: string
  /** Takes copies for one group, and notes about attempts, to the queue that their routing key names. */
  readonly queues: string
  /** Takes messages whose delay is over: copies go to `queues`, everything else to `main`. */
  readonly due: string
  /** Exchange and queue of delayed messages that no queue took when they were due. */
  readonly unrouted: string
  /** Exchange of the delayed-message plugin. */
  readonly delayed: string

  constructor(exchange: string) {
    this.main = exchange
    this.system = `${exchange}.system`
    this.deadLetters = `${exchange}.dead-letters`
    this.groups = `${exchange}.groups`
    this.queues = `${exchange}.queues`
    this.due = `${exchange}.due`
    this.unrouted = `${exchange}.unrouted`
    this.delayed = `${exchange}.delayed`
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
    return isDeadLetterTopic(topic) ? this.system : this.main
  }

  /** The queue of a group, and its first one when it has several. */
  group(topic: string, group: string): string {
    return fit(`${this.main}:${topic}:${group}`)
  }

  /** The queue of a broadcast consumer, during one connection. */
  broadcast(topic: string, group: string, epoch: number): string {
    return fit(`${this.main}:${topic}:${group}:${epoch}`)
  }

  /** Two exchanges of a group with several queues whose pattern ends in a wildcard for any number of words. */
  spread(topic: string, group: string): { readonly byBucket: string; readonly rest: string } {
    const name = `${this.main}:${topic}:${group}:spread`
    return { byBucket: fit(name), rest: fit(`${name}.rest`) }
  }

  /** Queue of notes about attempts that the broker's own count does not show. */
  notes(topic: string, group: string, place: number): string {
    return fit(`${this.main}:${topic}:${group}:notes${place === 0 ? '' : `.${place}`}`)
  }

  /** Queue where a process receives what members of its groups say, during one connection. */
  member(process: string, epoch: number): string {
    return fit(`${this.main}.member.${process}:${epoch}`)
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

/** The queue of one partition, by the group's first queue. */
export function partitionQueue(first: string, partition: number): string {
  return partition === 0 ? first : fit(`${first}:${partition}`)
}

/** The exclusive queue that is the lock of a queue which one process at a time may read. */
export function lockOf(queue: string): string {
  return fit(`${queue}:lock`)
}

/** Routing key for records of groups; no topic looks like it. */
export const GROUP_KEY = '~group'

/** Routing key for what the members of a group say to all of them. */
export const MEMBER_KEY = '~member.'

export function memberKeyOf(first: string): string {
  return MEMBER_KEY + digest(first)
}

/** Routing key for what is said to the members of one process in that group. */
export function replyKeyOf(queue: string, first: string): string {
  return `~reply.${digest(queue)}.${digest(first)}`
}

/** Binding key for everything that is said to one process alone. */
export function replyKeysOf(queue: string): string {
  return `~reply.${digest(queue)}.*`
}

/** Which group a word is for, by the routing key of one of these two kinds. */
export function groupDigestOf(routingKey: string): string {
  return routingKey.slice(routingKey.lastIndexOf('.') + 1)
}

import { createHash } from 'node:crypto'
import { isDeadLetterTopic } from '../../../core/topic.ts'

/** Second token of a subject, before the topic: the number of a partition, or this for messages without a key. */
const ANY = 'any'

/** Maximum number of subjects remembered: the number of topics is unlimited. */
const MAX_KNOWN = 10_000

/** A consumer that all members of a group read: what comes in no order. */
export interface SharedPlan {
  /** Part of the consumer's name: `any`, `none`; with `-base` for the topic before the `.>` of a pattern. */
  readonly label: string
  readonly filter: string
  readonly dead: boolean
}

/** A part of a topic that one member of a group reads at a time, in order. */
export interface UnitPlan {
  /** A partition's number, or `all`. */
  readonly name: string
  readonly filters: readonly string[]
  /** The second token of its subjects; undefined for all. */
  readonly token: string | undefined
}

/** What a subscription reads. */
export interface SubscriptionPlan {
  readonly layout: Layout
  readonly dead: boolean
  readonly shared: readonly SharedPlan[]
  readonly units: readonly UnitPlan[]
}

/** `key`: by partitions, and what has no key by all members. `strict`: one reader. `none`: all members read everything. */
export type Layout = 'key' | 'strict' | 'none'

/** Subjects of one topic. */
interface Targets {
  readonly unkeyed: Uint8Array
  /** By partition. */
  readonly keyed: Uint8Array[]
}

/** Maps topics to the server's subjects, and back. One per transport. */
export class Subjects {
  readonly prefix: string
  /** Read from the stream when the transport opens. */
  partitions: number
  /** The subjects of messages are their topics: the stream is one of other programs. */
  readonly #isBound: boolean
  readonly #topics = new Map<string, string>()
  readonly #targets = new Map<string, Targets>()

  constructor(prefix: string, partitions: number, isBound = false) {
    this.prefix = prefix
    this.partitions = isBound ? 1 : partitions
    this.#isBound = isBound
  }

  // --- streams -----------------------------------------------------------------------------------------------------

  /**
   * The subjects that the message stream stores: those that some consumer reads, and nothing else published under the
   * prefix.
   */
  get stored(): string[] {
    const all = [`${this.prefix}.${ANY}.>`]
    for (let partition = 0; partition < this.partitions; partition++) all.push(`${this.prefix}.${partition}.>`)
    return all
  }

  get deadLetters(): string {
    return `${this.prefix}-dlq.>`
  }

  /** Prefix of the subjects of Busbar's own notes. */
  get state(): string {
    return `${this.prefix}-state`
  }

  /** Start of the subjects of leases. */
  get leases(): string {
    return `${this.prefix}-lease`
  }

  // --- topics ------------------------------------------------------------------------------------------------------

  /** Where a message is published, as the bytes of `HPUB <subject> `. */
  target(topic: string, key: string | undefined): Uint8Array {
    let places = this.#targets.get(topic)
    if (places === undefined) {
      if (this.#targets.size >= MAX_KNOWN) this.#targets.clear()
      const start = isDeadLetterTopic(topic) ? `${this.prefix}-dlq.` : this.#start(ANY)
      places = { unkeyed: targetBytes(`${start}${topic}`), keyed: [] }
      this.#targets.set(topic, places)
    }
    if (key === undefined || this.#isBound || isDeadLetterTopic(topic)) return places.unkeyed
    const partition = partitionOf(key, this.partitions)
    return (places.keyed[partition] ??= targetBytes(`${this.prefix}.${partition}.${topic}`))
  }

  /** The topic of a subject. */
  topicOf(subject: string): string {
    let topic = this.#topics.get(subject)
    if (topic === undefined) {
      topic = this.#isBound && !subject.startsWith(`${this.prefix}-dlq.`) ? subject : topicIn(subject, this.prefix)
      if (this.#topics.size >= MAX_KNOWN) this.#topics.clear()
      this.#topics.set(subject, topic)
    }
    return topic
  }

  /** Matches everything stored of one topic. */
  allOf(topic: string): string {
    return `${isDeadLetterTopic(topic) ? `${this.prefix}-dlq.` : this.#start('*')}${topic}`
  }

  /** What precedes the topic in the subject of a message. */
  #start(token: string): string {
    return this.#isBound ? '' : `${this.prefix}.${token}.`
  }

  rpc(topic: string): string {
    return `${this.prefix}-rpc.${topic}`
  }

  /** Subject for messages among the members of one group of one subscription. No stream stores it. */
  members(groupId: string): string {
    return `${this.prefix}-members.${groupId}`
  }

  // --- subscriptions -----------------------------------------------------------------------------------------------

  /**
   * What a subscription reads, and how. `hasFilters`: a consumer may have several filters, as from 2.10 on; otherwise
   * patterns read whole partitions. A stream of other programs has no partitions: one member reads all in order.
   */
  plan(topic: string, order: 'key' | 'strict' | 'none', isEphemeral: boolean, hasFilters: boolean): SubscriptionPlan {
    const dead = isDeadLetterTopic(topic)
    const whole = dead ? `${this.prefix}-dlq.` : this.#start('*')
    if (order === 'none' && !isEphemeral)
      return { layout: 'none', dead, shared: shared('none', whole, topic, dead), units: [] }
    const unit = (name: string, start: string, token: string | undefined): UnitPlan => {
      const all = filters(start, topic)
      const wide = start === `${this.prefix}.*.` ? `${this.prefix}.>` : `${start}>`
      return { name, filters: hasFilters || all.length === 1 ? all : [wide], token }
    }
    if (order === 'strict' || dead || isEphemeral || this.#isBound)
      return { layout: 'strict', dead, shared: [], units: [unit('all', whole, undefined)] }
    const units = Array.from({ length: this.partitions }, (_, partition) =>
      unit(String(partition), this.#start(String(partition)), String(partition)),
    )
    return { layout: 'key', dead, shared: shared(ANY, this.#start(ANY), topic, false), units }
  }

  /** The second token of a subject: a partition, or `any`. */
  tokenOf(subject: string): string {
    const start = this.prefix.length + 1
    return subject.slice(start, subject.indexOf('.', start))
  }

  /** Core NATS: what to subscribe to. */
  coreFilters(topic: string): string[] {
    return filters(isDeadLetterTopic(topic) ? `${this.prefix}-dlq.` : this.#start('*'), topic)
  }
}

function targetBytes(subject: string): Uint8Array {
  return Buffer.from(`HPUB ${subject} `, 'latin1')
}

function shared(label: string, start: string, topic: string, dead: boolean): SharedPlan[] {
  return filters(start, topic).map((filter, index) => ({ label: index === 0 ? label : `${label}-base`, filter, dead }))
}

/** A trailing `>` means zero or more tokens to us, but one or more to NATS. */
function filters(start: string, topic: string): string[] {
  const filter = `${start}${topic}`
  return topic.endsWith('.>') ? [filter, filter.slice(0, -2)] : [filter]
}

/** True when a subject can match both, as the server sees it: there, `>` stands for one token or more. */
export function subjectsOverlap(a: string, b: string): boolean {
  const [left, right] = [a.split('.'), b.split('.')]
  for (let at = 0; ; at++) {
    const [mine, other] = [left[at], right[at]]
    if (mine === undefined || other === undefined) return mine === other
    if (mine === '>' || other === '>') return true
    if (mine !== '*' && other !== '*' && mine !== other) return false
  }
}

/**
 * FNV-1a of the UTF-8 bytes, 32 bits, modulo the number of partitions: the same as the server's own `{{partition(n,
 * …)}}`, so that a subject mapping can distribute the messages of other programs in the same way.
 */
export function partitionOf(key: string, partitions: number): number {
  let hash = 0x811c9dc5
  for (let index = 0; index < key.length; index++) {
    const code = key.charCodeAt(index)
    if (code > 0x7f) return hashBytes(Buffer.from(key, 'utf8')) % partitions
    hash = Math.imul(hash ^ code, 0x01000193)
  }
  return (hash >>> 0) % partitions
}

function hashBytes(bytes: Uint8Array): number {
  let hash = 0x811c9dc5
  for (const byte of bytes) hash = Math.imul(hash ^ byte, 0x01000193)
  return hash >>> 0
}

/** Id of a group on one topic or pattern: part of consumer names and subjects, so without dots. */
export function groupId(topic: string, group: string): string {
  return `${group}--${createHash('sha256').update(topic).digest('hex').slice(0, 10)}`
}

export function consumerName(id: string, label: string): string {
  return `${id}--${label}`
}

/** The group of a shared consumer; undefined for a foreign one. A group may contain `--` itself, so it reads from the end. */
export function groupOfConsumer(name: string): string | undefined {
  return /^(.+)--[0-9a-f]{10}--(?:any|none)(?:-base)?$/.exec(name)?.[1]
}

function topicIn(subject: string, prefix: string): string {
  // `busbar.3.orders`, or `busbar-dlq.orders.g.dlq`, which has no partition.
  const first = subject.indexOf('.', prefix.length)
  return subject.slice(first > prefix.length ? first + 1 : subject.indexOf('.', first + 1) + 1)
}

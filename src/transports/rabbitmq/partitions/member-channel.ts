import type { Channel, ConsumeMessage } from 'amqplib'
import { closeQuietly } from '../connection/amqp.ts'
import type { ControlPublisher } from '../publish/control-publisher.ts'
import { groupDigestOf, MEMBER_KEY, memberKeyOf, replyKeyOf, replyKeysOf } from '../topology/names.ts'
import type { Names } from '../topology/names.ts'
import type { LiveConnection } from '../connection/live-connection.ts'

/** A member of a group that hears what others say. */
export interface Listener {
  heard(content: Buffer): void
  /** Nothing more is heard: the channel ended. */
  deaf(): void
}

/** A place in a group. */
export interface Place {
  /** What is said to it reaches the members of the group in this process alone. */
  readonly address: string
  /** Hears no more. */
  leave(): void
}

interface Line {
  readonly live: LiveConnection
  readonly opened: Promise<Channel>
  readonly queue: string
  /** By the digest of their group. */
  readonly listeners: Map<string, Set<Listener>>
}

/**
 * Where the members of this process's groups hear the others: one exclusive queue for the whole process, which the broker
 * deletes with the connection. No member asks whether the others are there, so a group at rest costs nothing.
 */
export class MemberChannel {
  readonly #names: Names
  readonly #process: string
  readonly #publisher: ControlPublisher
  #line: Line | undefined
  #opened = 0

  constructor(names: Names, process: string, publisher: ControlPublisher) {
    this.#names = names
    this.#process = process
    this.#publisher = publisher
  }

  /** Hears what is said in the group with that first queue. */
  async enter(live: LiveConnection, first: string, listener: Listener): Promise<Place> {
    const key = memberKeyOf(first)
    const group = groupDigestOf(key)
    const line = this.#on(live)
    const channel = await line.opened
    if (this.#line !== line) throw new Error('channel closed')
    const others = line.listeners.get(group)
    if (others !== undefined) others.add(listener)
    else {
      line.listeners.set(group, new Set([listener]))
      await channel.bindQueue(line.queue, this.#names.system, key)
    }
    const leave = (): void => {
      const left = line.listeners.get(group)
      if (left?.delete(listener) !== true || left.size > 0) return
      line.listeners.delete(group)
      if (this.#line === line) channel.unbindQueue(line.queue, this.#names.system, key).catch(() => undefined)
    }
    return { address: replyKeyOf(line.queue, first), leave }
  }

  /** Binds the group with that first queue again, or all groups, which an operator may have unbound. Resolves with their number. */
  async renew(first?: string): Promise<number> {
    const line = this.#line
    const ours = [...(line?.listeners.keys() ?? [])].filter(
      (group) => first === undefined || group === groupDigestOf(memberKeyOf(first)),
    )
    if (line === undefined || ours.length === 0) return 0
    const keys = [replyKeysOf(line.queue), ...ours.map((group) => `${MEMBER_KEY}${group}`)]
    const channel = await line.opened
    await Promise.all(keys.map((key) => channel.bindQueue(line.queue, this.#names.system, key)))
    return keys.length
  }

  /** Says it to all members of the group. Resolves when the broker has passed it on; no member needs to hear it. */
  async say(first: string, content: Buffer): Promise<void> {
    await this.#publisher.publish(this.#names.system, memberKeyOf(first), content)
  }

  /** Says it to one place alone. */
  async answer(address: string, content: Buffer): Promise<void> {
    await this.#publisher.publish(this.#names.system, address, content)
  }

  #on(live: LiveConnection): Line {
    if (this.#line?.live === live) return this.#line
    const queue = this.#names.member(this.#process, ++this.#opened)
    const line: Line = { live, queue, listeners: new Map(), opened: this.#open(live, queue, () => line) }
    line.opened.catch(() => this.#end(line))
    this.#line = line
    return line
  }

  async #open(live: LiveConnection, queue: string, line: () => Line): Promise<Channel> {
    const channel = await live.channel(() => this.#end(line()))
    await channel.assertQueue(queue, { exclusive: true, durable: false, autoDelete: true })
    await channel.bindQueue(queue, this.#names.system, replyKeysOf(queue))
    await channel.consume(queue, (message) => this.#heard(line(), channel, message), { noAck: true })
    return channel
  }

  #heard(line: Line, channel: Channel, message: ConsumeMessage | null): void {
    if (message === null) {
      // The queue was deleted.
      this.#end(line)
      void closeQuietly(channel)
      return
    }
    const listeners = line.listeners.get(groupDigestOf(message.fields.routingKey))
    if (listeners !== undefined) for (const listener of listeners) listener.heard(message.content)
  }

  #end(line: Line): void {
    if (this.#line === line) this.#line = undefined
    const listeners = [...line.listeners.values()].flatMap((each) => [...each])
    line.listeners.clear()
    for (const listener of listeners) listener.deaf()
  }
}

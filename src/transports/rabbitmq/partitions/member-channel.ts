import type { Channel, ConsumeMessage } from 'amqplib'
import { closeQuietly } from '../connection/amqp.ts'
import type { ControlPublisher } from '../publish/control-publisher.ts'
import { memberKeyOf } from '../topology/names.ts'
import type { Names } from '../topology/names.ts'
import type { LiveConnection } from '../connection/live-connection.ts'

/** A member of a group that hears what others say. */
export interface Listener {
  heard(content: Buffer): void
  /** Nothing more is heard: the channel ended. */
  deaf(): void
}

interface Line {
  readonly live: LiveConnection
  readonly opened: Promise<Channel>
  readonly queue: string
  /** By the routing key of their group. */
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

  /** Hears what is said in the group with that first queue; resolves with a function that stops it. */
  async enter(live: LiveConnection, first: string, listener: Listener): Promise<() => void> {
    const key = memberKeyOf(first)
    const line = this.#on(live)
    const channel = await line.opened
    if (this.#line !== line) throw new Error('channel closed')
    const others = line.listeners.get(key)
    if (others !== undefined) others.add(listener)
    else {
      line.listeners.set(key, new Set([listener]))
      await channel.bindQueue(line.queue, this.#names.system, key)
    }
    return () => {
      const left = line.listeners.get(key)
      if (left?.delete(listener) !== true || left.size > 0) return
      line.listeners.delete(key)
      if (this.#line === line) channel.unbindQueue(line.queue, this.#names.system, key).catch(() => undefined)
    }
  }

  /** Binds the group with that first queue again, or all groups, which an operator may have unbound. Resolves with their number. */
  async renew(first?: string): Promise<number> {
    const line = this.#line
    const keys = [...(line?.listeners.keys() ?? [])].filter((key) => first === undefined || key === memberKeyOf(first))
    if (line === undefined || keys.length === 0) return 0
    const channel = await line.opened
    await Promise.all(keys.map((key) => channel.bindQueue(line.queue, this.#names.system, key)))
    return keys.length
  }

  /** Resolves when the broker has passed it on; no member needs to hear it. */
  async say(first: string, content: Buffer): Promise<void> {
    await this.#publisher.publish(this.#names.system, memberKeyOf(first), content)
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
    const listeners = line.listeners.get(message.fields.routingKey)
    if (listeners !== undefined) for (const listener of listeners) listener.heard(message.content)
  }

  #end(line: Line): void {
    if (this.#line === line) this.#line = undefined
    const listeners = [...line.listeners.values()].flatMap((each) => [...each])
    line.listeners.clear()
    for (const listener of listeners) listener.deaf()
  }
}

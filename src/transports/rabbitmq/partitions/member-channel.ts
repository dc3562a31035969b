import type { Channel, ConsumeMessage } from 'amqplib'
import { sleep } from '../../../core/clock.ts'
import type { Clock } from '../../../core/clock.ts'
import { closeQuietly } from '../connection/amqp.ts'
import type { ControlPublisher } from '../publish/control-publisher.ts'
import { answerKeyOf, ASK_KEY, memberKeyOf } from '../topology/names.ts'
import type { Names } from '../topology/names.ts'
import type { Session } from '../connection/link.ts'

/** Answers to a question come within this time, or are missed: a process may be frozen. */
const ANSWERS_MS = 300

/** A member of a group that hears what others say. */
export interface Listener {
  heard(content: Buffer): void
  /** Nothing more is heard: the channel ended. */
  deaf(): void
}

interface Line {
  readonly session: Session
  readonly opened: Promise<Channel>
  readonly queue: string
  /** By the routing key of their group. */
  readonly listeners: Map<string, Set<Listener>>
}

export interface MemberChannelParts {
  readonly names: Names
  readonly clock: Clock
  /** Unique among the connections of all processes. */
  readonly name: string
  readonly publisher: ControlPublisher
  /** Answers a question of another process. */
  readonly answer: () => Buffer
  readonly failed: (error: unknown, doing: string) => void
}

/**
 * Where a process hears the members of its groups, and questions of others: one exclusive queue, which the broker deletes
 * with the connection. Nobody is asked whether anybody is there, so a group at rest costs nothing.
 */
export class MemberChannel {
  readonly #parts: MemberChannelParts
  #line: Line | undefined
  #opened = 0

  constructor(parts: MemberChannelParts) {
    this.#parts = parts
  }

  /** Hears what is said in the group with that first queue; resolves with a function that stops it. */
  enter(session: Session, first: string, listener: Listener): Promise<() => void> {
    return this.#listen(session, memberKeyOf(first), listener)
  }

  /** Resolves when the broker has passed it on; nobody needs to hear it. */
  async say(first: string, content: Buffer): Promise<void> {
    await this.#parts.publisher.publish(this.#parts.names.system, memberKeyOf(first), content)
  }

  /** Answers questions of other processes from now on. */
  async open(session: Session): Promise<void> {
    await this.#on(session).opened
  }

  /** Asks all processes that are connected for what they answer. */
  async ask(session: Session): Promise<readonly Buffer[]> {
    const { names, clock, publisher } = this.#parts
    const { queue, opened } = this.#on(session)
    await opened
    const answers: Buffer[] = []
    const listener = { heard: (content: Buffer) => void answers.push(content), deaf: () => undefined }
    const leave = await this.#listen(session, answerKeyOf(queue), listener)
    try {
      await publisher.publish(names.system, ASK_KEY, Buffer.from(answerKeyOf(queue)))
      await sleep(clock, ANSWERS_MS)
    } finally {
      leave()
    }
    return answers
  }

  async #listen(session: Session, key: string, listener: Listener): Promise<() => void> {
    const { system } = this.#parts.names
    const line = this.#on(session)
    const channel = await line.opened
    if (this.#line !== line) throw new Error('channel closed')
    const others = line.listeners.get(key)
    if (others !== undefined) others.add(listener)
    else {
      line.listeners.set(key, new Set([listener]))
      await channel.bindQueue(line.queue, system, key)
    }
    return () => {
      const left = line.listeners.get(key)
      if (left?.delete(listener) !== true || left.size > 0) return
      line.listeners.delete(key)
      if (this.#line === line) channel.unbindQueue(line.queue, system, key).catch(() => undefined)
    }
  }

  #on(session: Session): Line {
    if (this.#line?.session === session) return this.#line
    const queue = this.#parts.names.member(this.#parts.name, ++this.#opened)
    const line: Line = { session, queue, listeners: new Map(), opened: this.#open(session, queue, () => line) }
    line.opened.catch(() => this.#end(line))
    this.#line = line
    return line
  }

  async #open(session: Session, queue: string, line: () => Line): Promise<Channel> {
    const channel = await session.channel(() => this.#end(line()))
    await channel.assertQueue(queue, { exclusive: true, durable: false, autoDelete: true })
    await channel.bindQueue(queue, this.#parts.names.system, ASK_KEY)
    await channel.consume(queue, (message) => this.#heard(line(), channel, message), { noAck: true })
    return channel
  }

  #heard(line: Line, channel: Channel, message: ConsumeMessage | null): void {
    if (message === null) {
      // Somebody deleted the queue.
      this.#end(line)
      void closeQuietly(channel)
      return
    }
    const { routingKey } = message.fields
    if (routingKey === ASK_KEY) this.#answer(message.content.toString())
    const listeners = line.listeners.get(routingKey)
    if (listeners !== undefined) for (const listener of listeners) listener.heard(message.content)
  }

  #answer(key: string): void {
    const { names, publisher, answer, failed } = this.#parts
    publisher.publish(names.system, key, answer()).catch((error: unknown) => failed(error, 'answering another process'))
  }

  #end(line: Line): void {
    if (this.#line === line) this.#line = undefined
    const listeners = [...line.listeners.values()].flatMap((each) => [...each])
    line.listeners.clear()
    for (const listener of listeners) listener.deaf()
  }
}

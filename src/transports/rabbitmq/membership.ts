import type { Channel } from 'amqplib'
import { sleep } from '../../core/clock.ts'
import type { Clock, Timer } from '../../core/clock.ts'
import { TimeoutError } from '../../core/errors.ts'
import { closeQuietly } from './amqp.ts'
import type { ControlPublisher } from './control-publisher.ts'
import { DeclareChannel, declareQueue } from './declare-channel.ts'
import type { Session } from './link.ts'
import { makeAtPlace } from './places.ts'

const POLL_MS = 1_000
/** How long a member has to answer. */
const ANSWER_MS = 400
/** Removed with the last member. A classic queue, because it is ready at once. */
const COUNTER = { durable: true, autoDelete: true, arguments: { 'x-queue-type': 'classic' } } as const
/** A broker that is in trouble may not answer at all. */
const JOIN_MS = 3_000

interface Joining {
  readonly session: Session
  done: Promise<void>
}

type Word = 'here' | 'who' | 'bye'

export interface MembershipParts {
  /** Unique among the members. */
  readonly id: string
  /**
   * Name of the group's meeting point: an exchange, and a queue whose consumers are counted. The queue is at place 0;
   * another one replaces it while the node of that one is away.
   */
  readonly nameOf: (place: number) => string
  /** Name of this member's own queue, different for each connection. */
  readonly lineOf: (epoch: number) => string
  readonly clock: Clock
  readonly publisher: ControlPublisher
  /** The members known here, sorted, including this one. */
  readonly onChange: (members: readonly string[]) => void
  /** The place in the group was lost although no member left: the others are no longer known. */
  readonly onLost: () => void
  readonly onError: (error: unknown) => void
}

/**
 * Lets the members of a group know each other, so that they can share its queues. Each has its own queue bound to an
 * exchange of the group, and is counted as a consumer of a common queue: the count shows at once that a member joined
 * or died silently, and then all members are asked.
 *
 * Two members may briefly have different views. That is harmless: the broker gives each queue to one of them.
 */
export class Membership {
  readonly #parts: MembershipParts
  readonly #members = new Set<string>()
  #channel: Channel | undefined
  /** The current attempt to join, unless it was given up. */
  #joining: Joining | undefined
  #timer: Timer | undefined
  #answers: Set<string> | undefined
  #onAnswer: () => void = () => undefined
  #told = ''
  /** Place of the queue that this member is counted in. */
  #place = 0
  /** The lowest place where a member is counted: those that joined while a node was away are elsewhere when it is back. */
  #lowestMet = 0

  constructor(parts: MembershipParts) {
    this.#parts = parts
  }

  get isIn(): boolean {
    return this.#channel !== undefined
  }

  get #counter(): string {
    return this.#parts.nameOf(this.#place)
  }

  /**
   * Joins, once however often it is called; resolves when the others are known, or `leave` was called. Rejects when
   * joining fails or takes too long.
   */
  join(session: Session): Promise<void> {
    if (this.#joining?.session === session) return this.#joining.done
    if (this.#channel !== undefined) return Promise.resolve()
    const joining: Joining = { session, done: Promise.resolve() }
    this.#joining = joining
    joining.done = this.#join(joining).finally(() => {
      if (this.#joining === joining) this.#joining = undefined
    })
    return joining.done
  }

  async #join(joining: Joining): Promise<void> {
    const done = new AbortController()
    const late = sleep(this.#parts.clock, JOIN_MS, done.signal).then(() => {
      throw new TimeoutError(
        `Joining the group did not succeed within ${JOIN_MS} ms: "${this.#parts.nameOf(0)}" does not answer`,
      )
    })
    const entering = this.#open(joining).then((channel) => channel && this.#enter(joining.session, channel))
    try {
      await Promise.race([entering, late])
    } catch (error) {
      if (this.#joining !== joining) return
      const channel = this.#channel
      if (channel !== undefined) {
        this.#ended(channel)
        // A channel whose last question is unanswered may not close either.
        void closeQuietly(channel)
      }
      throw error
    } finally {
      done.abort()
      late.catch(() => undefined)
      entering.catch(() => undefined)
    }
  }

  /** Undefined when the channel is no longer wanted: it would count a member that no other one knows. */
  async #open(joining: Joining): Promise<Channel | undefined> {
    const channel = await joining.session.channel(() => {
      if (this.#ended(channel)) this.#parts.onLost()
    })
    if (this.#joining === joining) {
      this.#channel = channel
      return channel
    }
    void closeQuietly(channel)
    return undefined
  }

  async #enter(session: Session, channel: Channel): Promise<void> {
    const { nameOf, lineOf } = this.#parts
    const name = nameOf(0)
    const place = await this.#declareCounter(session)
    // Given up meanwhile: another attempt may have found its place.
    if (this.#channel !== channel) return
    this.#place = place
    this.#lowestMet = place
    await channel.assertExchange(name, 'fanout', { durable: true })
    // The broker may not have noticed yet that the last connection has ended.
    const line = lineOf(session.epoch)
    await channel.assertQueue(line, { exclusive: true, durable: false, autoDelete: true })
    await channel.bindQueue(line, name, '')
    await channel.consume(line, (message) => message !== null && this.#hear(message.content), { noAck: true })
    // The queue was deleted, or its node is away: no member is counted there.
    const counted = (message: unknown): void => {
      if (message === null) this.#lost(channel)
    }
    await channel.consume(this.#counter, counted, { noAck: true })
    await this.#ask(channel)
    this.#poll(channel)
  }

  /** Resolves with the place of the queue. */
  #declareCounter(session: Session): Promise<number> {
    return makeAtPlace(this.#parts.clock, session, async (place) => {
      const declaring = new DeclareChannel(session)
      try {
        await declareQueue(declaring, this.#parts.nameOf(place), COUNTER, [])
      } finally {
        void declaring.close()
      }
    })
  }

  /** Leaves, and notifies the others if there is time. */
  async leave(): Promise<void> {
    this.#joining = undefined
    const channel = this.#channel
    if (channel === undefined) return
    this.#ended(channel)
    await closeQuietly(channel)
    await this.#say('bye').catch(() => undefined)
  }

  /** The place is lost and must be taken again. */
  #lost(channel: Channel): void {
    if (!this.#ended(channel)) return
    void closeQuietly(channel)
    this.#parts.onLost()
  }

  /** False when that was already known. */
  #ended(channel: Channel): boolean {
    if (this.#channel !== channel) return false
    this.#channel = undefined
    this.#timer?.cancel()
    this.#timer = undefined
    this.#members.clear()
    this.#told = ''
    return true
  }

  async #say(word: Word): Promise<void> {
    const { publisher, nameOf, id } = this.#parts
    await publisher.publish(nameOf(0), '', Buffer.from(JSON.stringify([word, id, this.#place])))
  }

  #hear(content: Buffer): void {
    const heard = parse(content)
    if (heard === undefined || heard.id === this.#parts.id) return
    const { word, id, place } = heard
    if (word === 'bye') {
      this.#members.delete(id)
      this.#answers?.delete(id)
    } else {
      this.#lowestMet = Math.min(this.#lowestMet, place)
      this.#members.add(id)
      this.#answers?.add(id)
      this.#onAnswer()
      if (word === 'who') this.#say('here').catch(this.#parts.onError)
    }
    if (this.#answers === undefined) this.#tell()
  }

  /** Asks all members to report, and accepts those that do. */
  async #ask(channel: Channel): Promise<void> {
    const { id, clock } = this.#parts
    const { consumerCount } = await channel.checkQueue(this.#counter)
    if (this.#channel !== channel) return
    const answers = new Set([id])
    this.#answers = answers
    try {
      // Without an answer from the others, for instance because the broker blocks publishers for lack of memory, this
      // member must consume anyway. The next check of the count shows that a member is missing.
      this.#say('who').catch(this.#parts.onError)
      await new Promise<void>((resolve) => {
        const timer = clock.setTimer(ANSWER_MS, resolve)
        this.#onAnswer = () => {
          if (answers.size < consumerCount) return
          timer.cancel()
          resolve()
        }
        this.#onAnswer()
      })
    } finally {
      // After a loss, the next connection may have asked meanwhile.
      if (this.#answers === answers) {
        this.#onAnswer = () => undefined
        this.#answers = undefined
      }
    }
    if (this.#channel !== channel) return
    this.#members.clear()
    for (const member of answers) this.#members.add(member)
    this.#tell()
  }

  #poll(channel: Channel): void {
    if (this.#channel !== channel) return
    this.#timer = this.#parts.clock.setTimer(POLL_MS * (0.8 + 0.4 * Math.random()), () => {
      this.#look(channel).then(
        () => this.#poll(channel),
        (error: unknown) => {
          if (this.#channel !== channel) return
          this.#parts.onError(error)
          this.#poll(channel)
        },
      )
    })
  }

  async #look(channel: Channel): Promise<void> {
    // Only members counted in the same queue are missed when they die silently.
    if (this.#lowestMet < this.#place) {
      this.#lost(channel)
      return
    }
    const { consumerCount } = await channel.checkQueue(this.#counter)
    if (consumerCount !== this.#members.size && this.#channel === channel) await this.#ask(channel)
  }

  /** Reports the members once they were asked: a part of them would be taken for all. */
  #tell(): void {
    if (this.#channel === undefined || !this.#members.has(this.#parts.id)) return
    const members = [...this.#members].sort()
    const text = members.join('\n')
    if (text === this.#told) return
    this.#told = text
    this.#parts.onChange(members)
  }
}

interface Heard {
  readonly word: Word
  readonly id: string
  readonly place: number
}

function parse(content: Buffer): Heard | undefined {
  try {
    const [word, id, place] = JSON.parse(content.toString()) as unknown[]
    if ((word !== 'here' && word !== 'who' && word !== 'bye') || typeof id !== 'string') return undefined
    return { word, id, place: typeof place === 'number' ? place : Infinity }
  } catch {
    return undefined
  }
}

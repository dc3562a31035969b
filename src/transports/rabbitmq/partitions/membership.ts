import { sleep } from '../../../core/clock.ts'
import type { Clock, Timer } from '../../../core/clock.ts'
import { TimeoutError } from '../../../core/errors.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import type { Listener, MemberChannel } from './member-channel.ts'
import type { LimitedEntry } from '../connection/limited-entry.ts'
import type { LiveConnection } from '../connection/live-connection.ts'

/** How long a member has to answer. */
const ANSWER_MS = 400
/** Answers come together: this long after the last one, no other is expected. */
const QUIET_MS = 150
/** A broker that is in trouble may not answer at all. Counts from the turn of the question. */
const ASK_MS = 3_000
/** Not everybody answered: pauses until they are asked again. */
const ASK_MIN_MS = 1_000
const ASK_MAX_MS = 60_000

/** `ask` comes from a process that is not a member. */
type Word = 'here' | 'who' | 'bye' | 'ask'

export interface MembershipParts {
  /** Unique among the members. */
  readonly id: string
  /** The first queue of the group. */
  readonly first: string
  readonly channel: MemberChannel
  /** Lets so many groups of the process ask the broker at once. */
  readonly questions: LimitedEntry
  readonly clock: Clock
  /**
   * Whether another member consumes the group's first queue. Undefined when this one does: the broker does not count
   * those that stand by.
   */
  readonly hasOthers: (live: LiveConnection) => Promise<boolean | undefined>
  /** The members known here, sorted, including this one. */
  readonly onChange: (members: readonly string[]) => void
  /** The others can't be heard any more, and this member must join again. */
  readonly onLost: () => void
  readonly onError: (error: unknown) => void
}

/**
 * Lets the members of a group know each other, so that they can share its queues. They speak only when one comes or
 * goes. Nobody watches whether the others live: every member consumes all queues, and the broker gives those of a dead
 * member to another one, which asks who is left when the first message of a queue that is not its own arrives.
 *
 * Two members may have different views. That is harmless: the broker gives each queue to one of them.
 */
export class Membership implements Listener {
  readonly #parts: MembershipParts
  #members = new Set<string>()
  #live: LiveConnection | undefined
  #joining: Promise<void> | undefined
  #leave: (() => void) | undefined
  #timer: Timer | undefined
  #waitMs = ASK_MIN_MS
  #asking: Promise<void> | undefined
  #answers: Set<string> | undefined
  #onAnswer: () => void = () => undefined
  #told = ''

  constructor(parts: MembershipParts) {
    this.#parts = parts
  }

  get size(): number {
    return this.#members.size
  }

  get isAsking(): boolean {
    return this.#asking !== undefined
  }

  /** Joins, once for each connection; resolves when the others are known, or `leave` was called. Rejects when that fails. */
  join(live: LiveConnection): Promise<void> {
    if (this.#live === live) return this.#joining ?? Promise.resolve()
    this.#forget()
    this.#live = live
    const joining = this.#join(live).finally(() => {
      if (this.#joining === joining) this.#joining = undefined
    })
    this.#joining = joining
    return joining
  }

  async #join(live: LiveConnection): Promise<void> {
    try {
      await this.#enter(live)
    } catch (error) {
      if (this.#live === live) this.#forget()
      throw error
    }
  }

  async #enter(live: LiveConnection): Promise<void> {
    const { channel, first } = this.#parts
    await this.#inTime(async () => {
      if (this.#live !== live) return
      const leave = await channel.enter(live, first, this)
      if (this.#live === live) this.#leave = leave
      else leave()
    })
    if (this.#live === live) await this.ask()
  }

  async #inTime<Result>(ask: () => Promise<Result>): Promise<Result> {
    const { questions, clock } = this.#parts
    return questions.run(async () => {
      const asking = ask()
      if (await settledWithin(clock, ASK_MS, asking)) return asking
      throw new TimeoutError(`The broker did not answer within ${ASK_MS} ms who else is in the group`)
    })
  }

  /** Leaves, and notifies the others if there is time. */
  async leave(): Promise<void> {
    if (this.#live === undefined) return
    this.#forget()
    await this.#say('bye').catch(() => undefined)
  }

  deaf(): void {
    if (this.#live === undefined) return
    this.#forget()
    this.#parts.onLost()
  }

  #forget(): void {
    this.#leave?.()
    this.#leave = undefined
    this.#live = undefined
    this.#joining = undefined
    this.#asking = undefined
    this.#timer?.cancel()
    this.#timer = undefined
    this.#members = new Set()
    this.#told = ''
  }

  async #say(word: Word): Promise<void> {
    const { channel, first, id } = this.#parts
    await channel.say(first, Buffer.from(JSON.stringify([word, id])))
  }

  heard(content: Buffer): void {
    const said = parse(content)
    if (said === undefined || said.id === this.#parts.id) return
    const { word, id } = said
    if (word === 'ask') {
      this.#say('here').catch(this.#parts.onError)
      return
    }
    if (word === 'bye') {
      this.#members.delete(id)
      this.#answers?.delete(id)
    } else {
      this.#members.add(id)
      this.#answers?.add(id)
      this.#onAnswer()
      if (word === 'who') this.#say('here').catch(this.#parts.onError)
    }
    if (this.#answers === undefined) this.#tell()
  }

  /** Asks all members to report, and accepts those that do. Asks again later when none does, although there is one. */
  ask(): Promise<void> {
    this.#asking ??= this.#ask().finally(() => {
      this.#asking = undefined
    })
    return this.#asking
  }

  async #ask(): Promise<void> {
    const { id, clock } = this.#parts
    const live = this.#live
    if (live === undefined) return
    this.#timer?.cancel()
    this.#timer = undefined
    const answers = new Set([id])
    this.#answers = answers
    let hasOthers: boolean | undefined
    try {
      // Without an answer from the others, for instance because the broker blocks publishers for lack of memory, this
      // member must consume anyway.
      this.#say('who').catch(this.#parts.onError)
      hasOthers = await this.#inTime(() => this.#parts.hasOthers(live))
      if (hasOthers !== false) await this.#answered(answers)
    } finally {
      // After a loss, the next connection may have asked meanwhile.
      if (this.#answers === answers) {
        this.#onAnswer = () => undefined
        this.#answers = undefined
      }
    }
    if (this.#live !== live) return
    this.#members = answers
    this.#tell()
    if (hasOthers !== true || answers.size > 1) this.#waitMs = ASK_MIN_MS
    else {
      this.#timer = clock.setTimer(this.#waitMs, () => void this.ask().catch(this.#parts.onError))
      this.#waitMs = Math.min(ASK_MAX_MS, 2 * this.#waitMs)
    }
  }

  #answered(answers: ReadonlySet<string>): Promise<void> {
    const { clock } = this.#parts
    return new Promise((resolve) => {
      let quiet: Timer | undefined
      const done = (): void => {
        late.cancel()
        quiet?.cancel()
        resolve()
      }
      const late = clock.setTimer(ANSWER_MS, done)
      this.#onAnswer = () => {
        quiet?.cancel()
        if (answers.size > 1) quiet = clock.setTimer(QUIET_MS, done)
      }
      this.#onAnswer()
    })
  }

  /** Reports the members once they were asked: a part of them would be taken for all. */
  #tell(): void {
    if (this.#live === undefined || !this.#members.has(this.#parts.id)) return
    const members = [...this.#members].sort()
    const text = members.join('\n')
    if (text === this.#told) return
    this.#told = text
    this.#parts.onChange(members)
  }
}

/** Counts the members of a group for a process that is none: the broker does not count those that stand by. */
export async function countMembers(
  channel: MemberChannel,
  clock: Clock,
  live: LiveConnection,
  first: string,
): Promise<number> {
  const members = new Set<string>()
  const leave = await channel.enter(live, first, {
    heard: (content) => {
      const said = parse(content)
      if (said?.word === 'here') members.add(said.id)
    },
    deaf: () => undefined,
  })
  try {
    await channel.say(first, Buffer.from(JSON.stringify(['ask', ''])))
    await sleep(clock, ANSWER_MS)
  } finally {
    leave()
  }
  return members.size
}

function parse(content: Buffer): { readonly word: Word; readonly id: string } | undefined {
  try {
    const [word, id] = JSON.parse(content.toString()) as unknown[]
    return (word === 'here' || word === 'who' || word === 'bye' || word === 'ask') && typeof id === 'string'
      ? { word, id }
      : undefined
  } catch {
    return undefined
  }
}

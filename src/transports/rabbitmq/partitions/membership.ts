import { sleep } from '../../../core/clock.ts'
import type { Clock, Timer } from '../../../core/clock.ts'
import { ConnectionError, TimeoutError } from '../../../core/errors.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import type { Listener, MemberChannel } from './member-channel.ts'
import type { Turns } from '../../../core/util/turns.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import { sharing } from './topic-set.ts'

/** How long a member has to answer. */
const ANSWER_MS = 400
/** Answers come together: this long after the last one, no other is expected. */
const QUIET_MS = 150
/** How long a member has to say that it handles a topic, once it was asked: a loaded broker brings question and answer late. */
const FIND_MS = 5_000
/** A broker that is in trouble may not answer at all. Counts from the turn of the question. */
const ASK_MS = 3_000
/** Not everybody answered: pauses until they are asked again. */
const ASK_MIN_MS = 1_000
const ASK_MAX_MS = 60_000

/**
 * - `who`: a member joins, or asks who is left; the others answer it alone.
 * - `here`: such an answer; or to all, when what a member handles has changed.
 * - `bye`: a member leaves.
 * - `ask`: a process that is no member asks who is there.
 * - `find`: does another member handle this topic? `found`: the answer of one that does.
 */
type Word = 'here' | 'who' | 'bye' | 'ask' | 'find' | 'found'

/** What a member says. */
interface Said {
  readonly word: Word
  readonly id: string
  /** Where answers go. */
  readonly address: string | undefined
  /** `TopicSet` of the member as text; or the topic that it asks for. */
  readonly about: string | undefined
}

export interface MembershipParts {
  /** Unique among the members. */
  readonly id: string
  /** The first queue of the group. */
  readonly first: string
  readonly channel: MemberChannel
  /** Lets so many groups of the process ask the broker at once. */
  readonly questions: Turns
  readonly clock: Clock
  /**
   * Whether another member consumes the group's first queue. Undefined when this one does: the broker does not count
   * those that stand by.
   */
  readonly hasOthers: (live: LiveConnection) => Promise<boolean | undefined>
  /** Which topics this member handles, where all topics of a group share its queues. */
  readonly topics?: { readonly set: () => string; readonly has: (topic: string) => boolean } | undefined
  /** The members known here that share the queues, sorted: usually all of them, with this one. */
  readonly onChange: (members: readonly string[]) => void
  /** The others can't be heard any more, and this member must join again. */
  readonly onLost: () => void
  readonly onError: (error: unknown) => void
}

/**
 * Lets the members of a group know each other, so that they can share its queues. They speak only when one comes or
 * goes, and answer a question only to the one that asked: a join costs one word and one answer for each member. Nobody watches whether the others live: every member consumes all queues, and the broker gives those of a dead
 * member to another one, which asks who is left when the first message of a queue that is not its own arrives.
 *
 * Two members may have different views. That is harmless: the broker gives each queue to one of them.
 */
export class Membership implements Listener {
  readonly #parts: MembershipParts
  /** By id: what each handles. */
  #members = new Map<string, string | undefined>()
  #live: LiveConnection | undefined
  #joining: Promise<void> | undefined
  #leave: (() => void) | undefined
  #timer: Timer | undefined
  #waitMs = ASK_MIN_MS
  #asking: Promise<void> | undefined
  #address: string | undefined
  #answers: Map<string, string | undefined> | undefined
  #sought: { readonly topic: string; readonly found: () => void; readonly lost: () => void } | undefined
  #seeking: Promise<unknown> = Promise.resolve()
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
      const place = await channel.enter(live, first, this)
      if (this.#live === live) {
        this.#leave = () => place.leave()
        this.#address = place.address
      } else place.leave()
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
    this.#sought?.lost()
    this.#leave?.()
    this.#leave = undefined
    this.#address = undefined
    this.#live = undefined
    this.#joining = undefined
    this.#asking = undefined
    this.#timer?.cancel()
    this.#timer = undefined
    this.#members = new Map()
    this.#told = ''
  }

  async #say(word: Word, about = this.#parts.topics?.set()): Promise<void> {
    const { channel, first, id } = this.#parts
    await channel.say(first, wordOf(word, id, this.#address, about))
  }

  #answer(address: string | undefined, word: Word, about = this.#parts.topics?.set()): void {
    if (address === undefined) return
    const { channel, id, onError } = this.#parts
    channel.answer(address, wordOf(word, id, undefined, about)).catch(onError)
  }

  /** What this member handles has changed. */
  topicsChanged(): void {
    const { id, topics } = this.#parts
    const set = topics?.set()
    if (this.#live === undefined || this.#answers !== undefined || this.#members.get(id) === set) return
    this.#members.set(id, set)
    // Nobody shares with a member that is alone, and a later one asks.
    if (this.#members.size > 1) this.#say('here').catch(this.#parts.onError)
    this.#tell()
  }

  /** Whether another member handles the topic. Rejects when the others can't be asked. */
  find(topic: string): Promise<boolean> {
    // One question at a time: they are rare.
    const seeking = this.#seeking.catch(() => undefined).then(() => this.#find(topic))
    this.#seeking = seeking
    return seeking
  }

  async #find(topic: string): Promise<boolean> {
    if (this.#live === undefined) throw notAmongOthers()
    const { promise, resolve, reject } = Promise.withResolvers<boolean>()
    // It may be lost before the question is out.
    promise.catch(() => undefined)
    let late: Timer | undefined
    // The answer may be here before the broker has confirmed the question.
    this.#sought = { topic, found: () => resolve(true), lost: () => reject(notAmongOthers()) }
    try {
      await this.#say('find', topic)
      late = this.#parts.clock.setTimer(FIND_MS, () => resolve(false))
      return await promise
    } finally {
      late?.cancel()
      this.#sought = undefined
    }
  }

  heard(content: Buffer): void {
    const said = parse(content)
    if (said === undefined || said.id === this.#parts.id) return
    const { word, id, address, about } = said
    switch (word) {
      case 'ask':
        this.#answer(address, 'here')
        return
      case 'find':
        if (about !== undefined && this.#parts.topics?.has(about) === true) this.#answer(address, 'found', about)
        return
      case 'found':
        if (about === this.#sought?.topic) this.#sought?.found()
        return
      case 'bye':
        this.#members.delete(id)
        this.#answers?.delete(id)
        break
      default:
        this.#members.set(id, about)
        this.#answers?.set(id, about)
        this.#onAnswer()
        if (word === 'who') this.#answer(address, 'here')
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
    const set = this.#parts.topics?.set()
    const answers = new Map([[id, set]])
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
    // Meanwhile it may have come to handle more.
    this.topicsChanged()
    if (hasOthers !== true || answers.size > 1) this.#waitMs = ASK_MIN_MS
    else {
      this.#timer = clock.setTimer(this.#waitMs, () => void this.ask().catch(this.#parts.onError))
      this.#waitMs = Math.min(ASK_MAX_MS, 2 * this.#waitMs)
    }
  }

  #answered(answers: ReadonlyMap<string, unknown>): Promise<void> {
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
    const members = [...sharing(this.#members)].sort()
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
  const place = await channel.enter(live, first, {
    heard: (content) => {
      const said = parse(content)
      if (said?.word === 'here') members.add(said.id)
    },
    deaf: () => undefined,
  })
  try {
    await channel.say(first, wordOf('ask', '', place.address, undefined))
    await sleep(clock, ANSWER_MS)
  } finally {
    place.leave()
  }
  return members.size
}

function notAmongOthers(): ConnectionError {
  return new ConnectionError('This member is not among the others now')
}

function wordOf(word: Word, id: string, address: string | undefined, about: string | undefined): Buffer {
  return Buffer.from(JSON.stringify([word, id, address, about]))
}

const WORDS: ReadonlySet<unknown> = new Set<Word>(['here', 'who', 'bye', 'ask', 'find', 'found'])

function parse(content: Buffer): Said | undefined {
  try {
    const [word, id, address, about] = JSON.parse(content.toString()) as unknown[]
    if (!WORDS.has(word) || typeof id !== 'string') return undefined
    return { word: word as Word, id, address: textOrNone(address), about: textOrNone(about) }
  } catch {
    return undefined
  }
}

function textOrNone(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}

import type { Clock } from '../clock.ts'
import { isOwnDeadLetter, parseDeadLetter } from './dead-letter.ts'
import type { EncodedMessage, Position } from '../message.ts'
import { deadLetterTopic } from '../topic.ts'
import type { StoredMessage, TransportAdmin } from '../transport.ts'

/** Number of dead letters read in one call. */
const PAGE = 200
const REDRIVES = 'busbar-redrives'

interface Letter {
  readonly key: string
  readonly id: string
  /** CloudEvents `time`. The id alone may not be unique: a user may give all messages about one customer the same id. */
  readonly time: number
  readonly redrives: number
}

/** The dead letters of one key, by id and time. */
type Letters = Map<string, Letter>

/**
 * Which keys of a topic and group are parked: those with a dead letter (`onDeadLetter: 'park-key'`). The dead-letter topic is
 * the only record, so all members, including later ones, park the same keys, and a redrive or purge frees them.
 *
 * A read of the dead letters that starts after a message arrives sees every dead letter that parks it, except those of this
 * consumer, which reports them here. If another member had the key before, each dead letter was stored before its source was
 * acked, and later messages of the key are delivered only after that.
 */
export class ParkedKeys {
  readonly #admin: TransportAdmin
  readonly #group: string
  readonly #clock: Clock
  /** By topic: a pattern may match several. */
  readonly #topics = new Map<string, TopicParking>()

  constructor(admin: TransportAdmin, group: string, clock: Clock) {
    this.#admin = admin
    this.#group = group
    this.#clock = clock
  }

  /** True when a read that started after the message arrived found no dead letter of its key. */
  isFree(message: EncodedMessage, receivedAt: number): boolean {
    return this.#topics.get(message.topic)?.isFree(message, receivedAt) === true
  }

  /**
   * This consumer has, or may have, dead-lettered the message. Later messages of the key that it holds already wait behind it.
   */
  add(message: EncodedMessage): void {
    this.#of(message.topic).add(message)
  }

  #of(topic: string): TopicParking {
    let parking = this.#topics.get(topic)
    if (parking === undefined) {
      parking = new TopicParking(this.#admin, deadLetterTopic(topic, this.#group), this.#clock)
      this.#topics.set(topic, parking)
    }
    return parking
  }

  /**
   * Resolves with the id of the dead letter that the message must wait behind, or undefined. Rejects when the broker can't be
   * reached.
   */
  async blocker(message: EncodedMessage): Promise<string | undefined> {
    const parking = this.#of(message.topic)
    // Most keys have no dead letters. Those of a parked key may have been redriven or purged meanwhile.
    if (blockerIn(await parking.look(false), message) === undefined) return undefined
    return blockerIn(await parking.look(true), message)
  }
}

/**
 * A redriven copy waits behind dead letters that were redriven as often and failed again, not behind those that will be
 * redriven after it.
 */
function redrivesOf({ headers }: EncodedMessage): number {
  return Number(headers[REDRIVES] ?? 0)
}

function blockerIn(keys: ReadonlyMap<string, Letters>, message: EncodedMessage): string | undefined {
  const redrives = redrivesOf(message)
  const own = nameOf(message)
  for (const [name, letter] of keys.get(message.key ?? '') ?? [])
    if (letter.redrives >= redrives && name !== own) return letter.id
  return undefined
}

/** What has been read so far. */
interface Seen {
  readonly keys: Map<string, Letters>
  /** Positions of the last letter that was read, and of the one before it. */
  last: Position | undefined
  beforeLast: Position | undefined
}

function nothingSeen(): Seen {
  return { keys: new Map(), last: undefined, beforeLast: undefined }
}

/** The dead letters of one topic, by key. */
class TopicParking {
  readonly #admin: TransportAdmin
  readonly #topic: string
  readonly #clock: Clock
  /** When the last completed read started (monotonic). */
  #lookedAt = -Infinity
  #seen: Seen = nothingSeen()
  /** Dead-lettered by this consumer since the last read started. */
  #added: Letter[] = []
  /** The read in progress, and the next one for callers that came meanwhile. */
  #looking: Promise<unknown> = Promise.resolve()
  #next: { whole: boolean; readonly done: Promise<ReadonlyMap<string, Letters>> } | undefined

  constructor(admin: TransportAdmin, topic: string, clock: Clock) {
    this.#admin = admin
    this.#topic = topic
    this.#clock = clock
  }

  add(message: EncodedMessage): void {
    const { key, id, time } = message
    if (key === undefined) return
    const letter = { key, id, time, redrives: redrivesOf(message) }
    this.#added.push(letter)
    park(this.#seen.keys, letter)
  }

  isFree(message: EncodedMessage, receivedAt: number): boolean {
    return this.#lookedAt > receivedAt && blockerIn(this.#seen.keys, message) === undefined
  }

  /** Starts a read after the call: of new letters, or of the whole topic. Calls during a read share the next one. */
  look(whole: boolean): Promise<ReadonlyMap<string, Letters>> {
    if (this.#next !== undefined) {
      this.#next.whole ||= whole
      return this.#next.done
    }
    const begin = (): Promise<ReadonlyMap<string, Letters>> => {
      const all = this.#next?.whole === true
      this.#next = undefined
      return this.#read(all)
    }
    const done = this.#looking.then(begin, begin)
    this.#next = { whole, done }
    this.#looking = done
    return done
  }

  async #read(whole: boolean): Promise<ReadonlyMap<string, Letters>> {
    const startedAt = this.#clock.monotonic()
    this.#added = []
    if (whole || !(await this.#readNew())) {
      const seen = nothingSeen()
      await this.#readOn(seen, await this.#page(undefined))
      // The read may already have passed their positions.
      for (const letter of this.#added) park(seen.keys, letter)
      this.#seen = seen
    }
    this.#lookedAt = startedAt
    return this.#seen.keys
  }

  /**
   * False when the last letter that was read no longer exists: not every transport can continue after a removed position. So
   * each read starts with that letter.
   */
  async #readNew(): Promise<boolean> {
    const { last, beforeLast } = this.#seen
    const page = await this.#page(beforeLast)
    if (last !== undefined && (page[0] === undefined || placeOf(page[0].position) !== placeOf(last))) return false
    await this.#readOn(this.#seen, page)
    return true
  }

  /** Records the letters of this page and all following pages. */
  async #readOn(seen: Seen, first: readonly StoredMessage[]): Promise<void> {
    for (let page = first; ; page = await this.#page(seen.last)) {
      for (const stored of page) {
        if (seen.last !== undefined && placeOf(stored.position) === placeOf(seen.last)) continue
        seen.beforeLast = seen.last
        seen.last = stored.position
        if (!isOwnDeadLetter(stored)) continue
        const { message, redrives } = parseDeadLetter(stored, this.#topic)
        const { key, id, time } = message
        if (key !== undefined) park(seen.keys, { key, id, time, redrives })
      }
      if (page.length < PAGE) return
    }
  }

  #page(after: Position | undefined): Promise<readonly StoredMessage[]> {
    return this.#admin.read(this.#topic, { after, limit: PAGE })
  }
}

function placeOf(position: Position): string {
  return JSON.stringify(position)
}

function nameOf({ id, time }: Pick<Letter, 'id' | 'time'>): string {
  return `${time} ${id}`
}

function park(keys: Map<string, Letters>, letter: Letter): void {
  const letters = keys.get(letter.key)
  if (letters === undefined) keys.set(letter.key, new Map([[nameOf(letter), letter]]))
  else letters.set(nameOf(letter), letter)
}

import { parseDeadLetter } from './dead-letter.ts'
import type { EncodedMessage } from './message.ts'
import { deadLetterTopic } from './topic.ts'
import type { Position, TransportAdmin } from './transport.ts'

/** How many dead letters are looked at in one go. */
const PAGE = 200
const REDRIVES = 'busbar-redrives'

/** The dead letters of one key: how often each was redriven, by message id. */
type Letters = Map<string, number>

/**
 * Which keys of a topic and group are parked: those that have a dead letter (`onDeadLetter: 'park-key'`). The dead-letter
 * topic itself is the only record, so that every member, and one that starts later, parks the same keys, and a redrive or a
 * purge frees them.
 *
 * A dead letter is stored before its source is acked, and later messages of the key are handed out only then. So a look
 * at the dead letters that began after a message arrived has seen every dead letter that parks it.
 */
export class ParkedKeys {
  readonly #admin: TransportAdmin
  readonly #group: string
  /** By topic: one consumer may read several, by a pattern. */
  readonly #topics = new Map<string, TopicParking>()

  constructor(admin: TransportAdmin, group: string) {
    this.#admin = admin
    this.#group = group
  }

  /** The id of the dead letter that the message has to wait behind, or undefined. Rejects when the broker can't be asked. */
  async blocker(message: EncodedMessage): Promise<string | undefined> {
    let parking = this.#topics.get(message.topic)
    if (parking === undefined) {
      parking = new TopicParking(this.#admin, deadLetterTopic(message.topic, this.#group))
      this.#topics.set(message.topic, parking)
    }
    // Most keys have none. Of one that had some, they may have been redriven or purged meanwhile.
    if (blockerIn(await parking.look(false), message) === undefined) return undefined
    return blockerIn(await parking.look(true), message)
  }
}

/**
 * A redriven copy waits behind what has been redriven as often as itself, and has failed again; not behind what is to be
 * redriven after it.
 */
function blockerIn(keys: ReadonlyMap<string, Letters>, message: EncodedMessage): string | undefined {
  const redrives = Number(message.headers[REDRIVES] ?? 0)
  for (const [id, count] of keys.get(message.key ?? '') ?? []) if (count >= redrives && id !== message.id) return id
  return undefined
}

/** The dead letters of one topic by key. */
class TopicParking {
  readonly #admin: TransportAdmin
  readonly #topic: string
  #keys = new Map<string, Letters>()
  #after: Position | undefined
  /** The look that is under way, and the one that follows for those who asked meanwhile. */
  #looking: Promise<unknown> = Promise.resolve()
  #next: { whole: boolean; readonly done: Promise<ReadonlyMap<string, Letters>> } | undefined

  constructor(admin: TransportAdmin, topic: string) {
    this.#admin = admin
    this.#topic = topic
  }

  /** A look that begins after the call: at what is new, or at the whole topic. Calls during a look share the next one. */
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
    const keys = whole ? new Map<string, Letters>() : this.#keys
    let after = whole ? undefined : this.#after
    for (;;) {
      const page = await this.#admin.read(this.#topic, { after, limit: PAGE })
      for (const stored of page) {
        after = stored.position
        const letter = parseDeadLetter(stored)
        if (letter?.message.key === undefined) continue
        const letters = keys.get(letter.message.key)
        if (letters === undefined) keys.set(letter.message.key, new Map([[letter.message.id, letter.redrives]]))
        else letters.set(letter.message.id, letter.redrives)
      }
      if (page.length < PAGE) break
    }
    this.#keys = keys
    this.#after = after
    return keys
  }
}

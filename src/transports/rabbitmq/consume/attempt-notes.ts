import type { GetMessage } from 'amqplib'
import type { Clock } from '../../../core/clock.ts'
import type { BrokerLocks } from '../admin/broker-lock.ts'
import type { ControlPublisher } from '../publish/control-publisher.ts'
import { REPLY, replyCode } from '../errors.ts'
import { lastingId } from './foreign-ids.ts'
import type { LiveConnection } from '../connection/live-connection.ts'
import type { RabbitMqDelivery } from './delivery.ts'
import { isNodeAway, makeAtPlace, PLACES, unlessNodeAway } from '../topology/places.ts'
import { QueueBrowser } from '../admin/queue-browser.ts'

/** What one member knows, or knew, about a delivery of a message. */
export interface Note {
  /** Key of the message: see `noteKey`. */
  readonly key: string
  /** The delivery of the message that it is about. */
  readonly generation: number
  /** Attempts used, including one that is running. */
  readonly used: number
  /** The member that made the note. */
  readonly by: string
  readonly running: boolean
  readonly notBefore: number | undefined
}

/** Maximum length of the queue. */
const MAX_READ = 10_000
const REDRIVES = 'busbar-redrives'

/** Tells a message from its copies: a delayed retry begins with the attempts so far, a redriven dead letter at zero. */
export function noteKey({ message, base }: RabbitMqDelivery): string {
  const redrives = message.headers[REDRIVES]
  const id = base === 0 && redrives === undefined ? lastingId(message.id) : `${message.id}#${base}#${redrives ?? ''}`
  // A group of several topics has one queue of notes, and ids are unique within a topic.
  return `${message.topic}/${id}`
}

/**
 * Notes about attempts that outlive the process. They are in a queue beside the group's, in the order in which they
 * were written, for the next member that receives the message.
 */
export class AttemptNotes {
  readonly #clock: Clock
  readonly #locks: BrokerLocks
  readonly #publisher: ControlPublisher
  readonly #queueOf: (place: number) => string
  readonly #declare: (live: LiveConnection, queue: string) => Promise<void>
  #isDeclared = false
  /** Index of the queue that is written to. */
  #place = 0
  #unwritten = new Map<string, Note>()
  /** Those that the broker has not confirmed yet. */
  #sent: ReadonlyMap<string, Note> = new Map()
  #writing: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined
  #reading: Promise<readonly Note[]> | undefined

  constructor(parts: {
    readonly clock: Clock
    readonly locks: BrokerLocks
    readonly publisher: ControlPublisher
    /** The queue at place 0 is used; another one replaces it while its node is away. */
    readonly queueOf: (place: number) => string
    /** Creates a queue, or ensures that it exists. */
    readonly declare: (live: LiveConnection, queue: string) => Promise<void>
  }) {
    this.#clock = parts.clock
    this.#locks = parts.locks
    this.#publisher = parts.publisher
    this.#queueOf = parts.queueOf
    this.#declare = parts.declare
  }

  /** Resolves when the broker has stored them. Notes that arrive during a write are sent together in the next one. */
  write(notes: readonly Note[]): Promise<void> {
    if (notes.length === 0) return Promise.resolve()
    for (const note of notes) {
      this.#unwritten.delete(note.key)
      this.#unwritten.set(note.key, note)
    }
    this.#next ??= this.#writing
      .catch(() => undefined)
      .then(() => {
        const batch = this.#unwritten
        this.#unwritten = new Map()
        this.#next = undefined
        this.#sent = batch
        this.#writing = this.#publish([...batch.values()]).finally(() => {
          this.#sent = new Map()
        })
        return this.#writing
      })
    return this.#next
  }

  /** Whether a note about that message is on its way to the broker. */
  isWriting(key: string): boolean {
    return this.#sent.has(key) || this.#unwritten.has(key)
  }

  /** Resolves when no note is being written any more, whether the broker has them or not. */
  async written(): Promise<void> {
    await (this.#next ?? this.#writing).catch(() => undefined)
  }

  async #publish(notes: readonly Note[]): Promise<void> {
    const rows = notes.map(({ key, generation, used, by, running, notBefore }) => [
      key,
      generation,
      used,
      by,
      running ? 1 : 0,
      ...(notBefore === undefined ? [] : [notBefore]),
    ])
    await this.#publisher.publishTo(() => this.#queueOf(this.#place), Buffer.from(JSON.stringify(rows)), {
      // The broker reports when it no longer exists.
      prepare: async (live, isAgain) => {
        if (!this.#isDeclared || isAgain) await this.declare(live)
      },
    })
  }

  /** Creates the queue ahead of the first note, whose handler is already running. */
  async declare(live: LiveConnection): Promise<void> {
    this.#place = await makeAtPlace(this.#clock, live, (place) => this.#declare(live, this.#queueOf(place)))
    this.#isDeclared = true
  }

  /** Reads all notes. Concurrent calls share one read. */
  read(live: LiveConnection): Promise<readonly Note[]> {
    this.#reading ??= this.#read(live).finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  async #read(live: LiveConnection): Promise<readonly Note[]> {
    return this.#locks.with(live, this.#queueOf(0), async () => {
      const notes: Note[] = []
      for (let place = 0; place < PLACES; place++) {
        const browser = await QueueBrowser.open(this.#clock, live, this.#queueOf(place))
        try {
          await unlessNodeAway(this.#clock, live, browser.check())
          notes.push(...(await browser.next(MAX_READ)).flatMap(decode))
        } catch (error) {
          if (isNodeAway(error)) continue
          if (replyCode(error) !== REPLY.notFound) throw error
          break
        } finally {
          await browser.close().catch(() => undefined)
        }
      }
      return notes
    })
  }
}

function decode({ content }: GetMessage): Note[] {
  try {
    const rows = JSON.parse(content.toString()) as unknown
    if (!Array.isArray(rows)) return []
    return (rows as unknown[][]).flatMap(([key, generation, used, by, running, notBefore]) =>
      typeof key === 'string' && typeof generation === 'number' && typeof used === 'number' && typeof by === 'string'
        ? [
            {
              key,
              generation,
              used,
              by,
              running: running === 1,
              notBefore: typeof notBefore === 'number' ? notBefore : undefined,
            },
          ]
        : [],
    )
  } catch {
    return []
  }
}

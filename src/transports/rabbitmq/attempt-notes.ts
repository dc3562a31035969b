import type { GetMessage } from 'amqplib'
import type { Clock } from '../../core/clock.ts'
import type { BrokerLocks } from './broker-lock.ts'
import type { ControlPublisher } from './control-publisher.ts'
import { REPLY, replyCode } from './errors.ts'
import type { Session } from './link.ts'
import type { RabbitMqDelivery } from './delivery.ts'
import { isNodeAway, makeAtPlace, PLACES, unlessNodeAway } from './places.ts'
import { QueueBrowser } from './queue-browser.ts'

/** What one member knows, or has known, about a delivery of a message. */
export interface Note {
  /** Of the message: see `noteKey`. */
  readonly key: string
  /** Which delivery of the message it is about. */
  readonly generation: number
  /** Attempts that are used up, one that runs included. */
  readonly used: number
  /** The member that made the note. */
  readonly by: string
  readonly running: boolean
  readonly notBefore: number | undefined
}

/** As many as the queue keeps. */
const MAX_READ = 10_000
const REDRIVES = 'busbar-redrives'

/** Tells a message from its copies: a delayed retry begins with the attempts so far, a redriven dead letter at the start. */
export function noteKey({ message, base }: RabbitMqDelivery): string {
  const redrives = message.headers[REDRIVES]
  return base === 0 && redrives === undefined ? message.id : `${message.id}#${base}#${redrives ?? ''}`
}

/**
 * Notes about attempts that outlive the process. They are in a queue beside the group's, in the order in which they were
 * made, for the member that gets the message next.
 */
export class AttemptNotes {
  readonly #clock: Clock
  readonly #locks: BrokerLocks
  readonly #publisher: ControlPublisher
  readonly #queueOf: (place: number) => string
  readonly #declare: (session: Session, queue: string) => Promise<void>
  #isDeclared = false
  /** Which of the queues is written to. */
  #place = 0
  #unwritten = new Map<string, Note>()
  #writing: Promise<void> = Promise.resolve()
  #next: Promise<void> | undefined
  #reading: Promise<readonly Note[]> | undefined

  constructor(parts: {
    readonly clock: Clock
    readonly locks: BrokerLocks
    readonly publisher: ControlPublisher
    /** There is one, at place 0; another one takes over while the node of that one is away. */
    readonly queueOf: (place: number) => string
    /** Makes a queue, or makes sure that it is there. */
    readonly declare: (session: Session, queue: string) => Promise<void>
  }) {
    this.#clock = parts.clock
    this.#locks = parts.locks
    this.#publisher = parts.publisher
    this.#queueOf = parts.queueOf
    this.#declare = parts.declare
  }

  /** Resolves when the broker has them. While some are on their way, all others gather, and leave together. */
  write(notes: readonly Note[]): Promise<void> {
    if (notes.length === 0) return Promise.resolve()
    for (const note of notes) {
      this.#unwritten.delete(note.key)
      this.#unwritten.set(note.key, note)
    }
    this.#next ??= this.#writing
      .catch(() => undefined)
      .then(() => {
        const batch = [...this.#unwritten.values()]
        this.#unwritten = new Map()
        this.#next = undefined
        this.#writing = this.#publish(batch)
        return this.#writing
      })
    return this.#next
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
      // The broker says so when it is gone.
      prepare: async (session, isAgain) => {
        if (!this.#isDeclared || isAgain) await this.declare(session)
      },
    })
  }

  /** Makes the queue ahead of the first note, which is about something that runs already. */
  async declare(session: Session): Promise<void> {
    this.#place = await makeAtPlace(this.#clock, session, (place) => this.#declare(session, this.#queueOf(place)))
    this.#isDeclared = true
  }

  /** All notes there are. Calls at the same time share one look. */
  read(session: Session): Promise<readonly Note[]> {
    this.#reading ??= this.#read(session).finally(() => {
      this.#reading = undefined
    })
    return this.#reading
  }

  async #read(session: Session): Promise<readonly Note[]> {
    return this.#locks.with(session, `${this.#queueOf(0)}:lock`, async () => {
      const notes: Note[] = []
      for (let place = 0; place < PLACES; place++) {
        const browser = await QueueBrowser.open(this.#clock, session, this.#queueOf(place))
        try {
          await unlessNodeAway(this.#clock, session, browser.check())
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

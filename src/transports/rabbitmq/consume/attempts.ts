import { sleep } from '../../../core/clock.ts'
import type { Timer } from '../../../core/clock.ts'
import type { AttemptNote } from '../../../core/transport.ts'
import { settledWithin } from '../../../core/util/settled-within.ts'
import { noteKey } from './attempt-notes.ts'
import type { AttemptNotes, Note } from './attempt-notes.ts'
import type { NotedState, RabbitMqDelivery } from './delivery.ts'
import { MAX_NOTES, NoteBook } from './note-book.ts'
import type { SubscriptionContext } from './subscription-context.ts'

/** A member that lost its connection but lives nearly always reconnects and reports within this time. */
const OWNER_MS = 600
const LOOK_AGAIN_MS = 100
/** The queue of notes drops the oldest: notes that are still true are written again before that. */
const REFRESH_MS = 30_000
/** Notes that the broker has not taken although it is there are written again after that time. */
const AGAIN_MS = 2_000
/** Maximum time that a message waits for the note about its last delivery here to be stored. */
const STORED_MS = 2_000

/**
 * The number of each attempt and the outcome of the one before, across members and process deaths. A message's first
 * delivery costs nothing. Notes at the broker record that a handler runs, that a message waits for its next attempt,
 * and that a delivery was given back. They are read when a message comes a second time.
 */
export class Attempts {
  readonly #me: string
  readonly #book: NoteBook
  readonly #notes: AttemptNotes | undefined
  readonly #context: SubscriptionContext
  /** Noted but not settled, with the time of the note in monotonic ms. */
  readonly #open = new Map<RabbitMqDelivery, number>()
  #timer: Timer | undefined
  #recalled: RabbitMqDelivery[] = []
  #isRecalling = false
  /** The broker does not have these, and should: there was no connection, or it has not taken them. By message. */
  readonly #untold = new Map<string, Note>()
  #again: Timer | undefined
  #isClosed = false

  /** Without `notes` nothing outlives the process. */
  constructor(me: string, notes: AttemptNotes | undefined, context: SubscriptionContext) {
    this.#me = me
    this.#book = new NoteBook(me)
    this.#notes = notes
    this.#context = context
  }

  /**
   * Determines the attempt of a new delivery. If that has to be looked up, the delivery is not `isKnown` until
   * `onKnown` is called.
   */
  arrived(delivery: RabbitMqDelivery, onKnown: () => void): void {
    if (!delivery.isRedelivered) {
      delivery.generation = delivery.count ?? 0
      // A stream redelivers what was not settled, without marking it.
      if (delivery.offset === undefined) this.#book.forget(delivery)
      else if (this.#book.before(delivery) !== undefined) this.#decide(delivery)
      return
    }
    if (this.#notes === undefined || (this.#book.explains(delivery) && this.#isStored(delivery))) {
      this.#decide(delivery)
      return
    }
    delivery.isKnown = false
    this.#recalled.push(delivery)
    const notes = this.#notes
    if (this.#isRecalling) return
    this.#isRecalling = true
    void this.#recall(notes, onKnown)
  }

  /** The delivery is settled for good. */
  settled(delivery: RabbitMqDelivery): void {
    const { isRedelivered, noted, offset } = delivery
    // Of all others, nothing has been noted since their arrival.
    if (isRedelivered || noted !== undefined || offset !== undefined) this.#book.forget(delivery)
    if (noted === undefined) return
    this.#open.delete(delivery)
    if (this.#untold.size > 0) this.#untold.delete(noteKey(delivery))
  }

  /** Notes from the runtime about running and waiting handlers. Resolves when the broker has them. */
  async note(notes: readonly AttemptNote[]): Promise<void> {
    const rows: Note[] = []
    for (const { delivery, used, running, notBefore } of notes) {
      const mine = delivery as RabbitMqDelivery
      // For lost deliveries, `lost` has written the same.
      if (mine.lost || mine.state === 'gone' || mine.state === 'replaced') continue
      mine.notBefore = notBefore
      rows.push(this.#noted(mine, { used, running, notBefore }))
    }
    await this.#write(rows)
  }

  /**
   * The delivery waits here for its next attempt, or goes back. Resolves when the broker has the note, if it says
   * anything new.
   */
  async returned(deliveries: readonly RabbitMqDelivery[], ofThose: 'all' | 'news' = 'all'): Promise<void> {
    const rows: Note[] = []
    for (const delivery of deliveries) {
      if (!delivery.isKnown) continue
      const state = returnedState(delivery)
      const { noted } = delivery
      const isNews =
        noted === undefined
          ? ofThose === 'all' || state.used > delivery.base || state.notBefore !== undefined
          : !isSame(noted, state)
      const note = this.#noted(delivery, state)
      if (isNews) rows.push(note)
    }
    await this.#tell(rows)
  }

  /** As `returned`, before a channel is closed: waits for earlier notes too, which were written without waiting for the answer. */
  async returnedAll(deliveries: readonly RabbitMqDelivery[]): Promise<void> {
    await this.returned(deliveries)
    await this.#notes?.written()
  }

  /** The channel ended with these deliveries. This process lives, so none of them has used an attempt. */
  lost(deliveries: readonly RabbitMqDelivery[]): void {
    for (const delivery of deliveries) {
      if (!delivery.isKnown) continue
      const state = returnedState(delivery)
      const { noted } = delivery
      // What is true already may still be on its way, or among the untold.
      if (noted === undefined || !isSame(noted, state)) {
        const note = this.#noted(delivery, state)
        // Only a note that says otherwise would mislead the next member.
        if (noted?.running === true) this.#keep(note)
      }
      this.#open.delete(delivery)
    }
    this.tellRest()
  }

  /**
   * Writes what the broker has not taken, for the members that have the messages now. Called again when there is a
   * connection.
   */
  tellRest(): void {
    this.#again?.cancel()
    this.#again = undefined
    if (this.#untold.size === 0 || this.#isClosed) return
    void this.#tell([...this.#untold.values()])
  }

  close(): void {
    this.#isClosed = true
    this.#timer?.cancel()
    this.#timer = undefined
    this.#again?.cancel()
    this.#again = undefined
    this.#open.clear()
    this.#untold.clear()
  }

  // --- details ---------------------------------------------------------------------------------------------------------

  #noted(delivery: RabbitMqDelivery, state: NotedState): Note {
    delivery.noted = state
    const note = { key: noteKey(delivery), generation: delivery.generation, by: this.#me, ...state }
    this.#book.set(note)
    if (this.#notes !== undefined && !this.#isClosed) {
      this.#open.set(delivery, this.#context.clock.monotonic())
      this.#timer ??= this.#context.clock.setTimer(REFRESH_MS, () => this.#refresh())
    }
    return note
  }

  #refresh(): void {
    this.#timer = undefined
    const before = this.#context.clock.monotonic() - REFRESH_MS / 2
    const rows: Note[] = []
    for (const [delivery, at] of this.#open) {
      if (delivery.state === 'gone' || delivery.state === 'replaced') this.#open.delete(delivery)
      else if (at < before) rows.push(this.#noted(delivery, delivery.noted as NotedState))
    }
    if (this.#open.size > 0) this.#timer ??= this.#context.clock.setTimer(REFRESH_MS, () => this.#refresh())
    void this.#tell(rows)
  }

  async #recall(notes: AttemptNotes, onKnown: () => void): Promise<void> {
    const { clock } = this.#context
    while (this.#recalled.length > 0) {
      // After everything of this turn: one read is enough for all of it.
      await nextTurn()
      const recalled = this.#recalled
      this.#recalled = []
      const until = clock.monotonic() + OWNER_MS
      if (!recalled.every((delivery) => this.#isStored(delivery)))
        await settledWithin(clock, STORED_MS, this.#storeRest())
      for (let left = recalled; left.length > 0;) {
        const wasRead = await this.#read(notes)
        // If a handler ran elsewhere, its owner may still write a note.
        const isLast = clock.monotonic() >= until || this.#isClosed
        const waiting = isLast ? [] : wasRead ? left.filter((delivery) => this.#mayBeHeardOf(delivery)) : left
        for (const delivery of left) if (!waiting.includes(delivery)) this.#decide(delivery)
        onKnown()
        left = waiting
        if (left.length > 0) await sleep(clock, LOOK_AGAIN_MS)
      }
    }
    // In the turn in which nothing more was found: what arrives later begins again.
    this.#isRecalling = false
  }

  async #read(notes: AttemptNotes): Promise<boolean> {
    const live = this.#context.live()
    if (live === undefined) return false
    try {
      this.#book.learn(await this.#context.questions.run(() => notes.read(live)))
      return true
    } catch (error) {
      this.#context.failed(error, 'reading notes about attempts')
      return false
    }
  }

  #mayBeHeardOf(delivery: RabbitMqDelivery): boolean {
    const note = this.#book.before(delivery)
    return note?.running === true && note.by !== this.#me && delivery.state === 'held'
  }

  #decide(delivery: RabbitMqDelivery): void {
    const note = this.#book.before(delivery)
    delivery.isKnown = true
    delivery.generation = delivery.count ?? (note === undefined ? 1 : note.generation + 1)
    if (note === undefined) {
      delivery.history = 'unknown'
      return
    }
    // This process lives, so a handler that ran here did not end its process.
    const isOver = note.running && note.by === this.#me
    delivery.history = note.running && !isOver ? 'died' : 'returned'
    delivery.attempt = Math.max(delivery.base, isOver ? note.used - 1 : note.used) + 1
    delivery.notBefore = note.running ? undefined : note.notBefore
  }

  async #tell(notes: readonly Note[]): Promise<void> {
    if (notes.length === 0) return
    try {
      await this.#write(notes)
    } catch (error) {
      this.#context.failed(error, 'noting attempts')
    }
  }

  /** Keeps what the broker does not take, as long as it is true; except that a handler runs, which the runtime notes again. */
  async #write(notes: readonly Note[]): Promise<void> {
    for (const { key } of notes) this.#untold.delete(key)
    try {
      await this.#notes?.write(notes)
    } catch (error) {
      for (const note of notes) if (!note.running && this.#book.isLatest(note)) this.#keep(note)
      // Without a connection the next one comes first.
      if (this.#untold.size > 0 && !this.#isClosed && this.#context.live() !== undefined)
        this.#again ??= this.#context.clock.setTimer(AGAIN_MS, () => this.tellRest())
      throw error
    }
  }

  #keep(note: Note): void {
    if (this.#notes === undefined || this.#isClosed) return
    this.#untold.set(note.key, note)
    if (this.#untold.size <= MAX_NOTES) return
    const [oldest] = this.#untold.keys()
    this.#untold.delete(oldest as string)
  }

  /** True when nothing that is known here about former deliveries of the message is on its way to the broker. */
  #isStored(delivery: RabbitMqDelivery): boolean {
    const key = noteKey(delivery)
    return !this.#untold.has(key) && this.#notes?.isWriting(key) !== true
  }

  async #storeRest(): Promise<void> {
    await this.#notes?.written()
    this.tellRest()
    await this.#notes?.written()
  }
}

/** The delivery's state when its handler, if any, no longer counts. */
function returnedState({ attempt, notBefore }: RabbitMqDelivery): NotedState {
  return { used: attempt - 1, running: false, notBefore }
}

function isSame(noted: NotedState, { used, running, notBefore }: NotedState): boolean {
  return noted.running === running && noted.used === used && noted.notBefore === notBefore
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

import { sleep } from '../../core/clock.ts'
import { AttemptLedger } from './attempt-ledger.ts'
import type { AttemptNote } from './attempt-ledger.ts'
import type { AttemptNotes } from './attempt-notes.ts'
import type { RabbitMqDelivery } from './delivery.ts'
import type { SubscriptionContext } from './subscription-context.ts'

/** From that attempt on it matters whether the last one ended with its process, or with its connection alone. */
const SUSPICIOUS = 3
/** A member that lives on is back within that time after the loss of a connection, nearly always, and says what it lost. */
const ALIBI_MS = 600
const LOOK_AGAIN_MS = 100
/** A message is not kept from its handler for longer than that by a broker that does not take the note. */
const NOTE_MS = 500
const UNKNOWN = 0

/**
 * The number of each attempt, across members and the death of processes. A message that comes for the first time costs
 * nothing. Before one is tried that was delivered before, the attempt is noted at the broker: if the process dies of it, the
 * note stays; whatever else becomes of it is noted too. Returns that nobody has begun an attempt for count for nothing.
 */
export class Attempts {
  readonly #me: string
  readonly #ledger: AttemptLedger
  readonly #notes: AttemptNotes | undefined
  readonly #context: SubscriptionContext
  #recalled: RabbitMqDelivery[] = []
  #recalling: Promise<void> | undefined
  #unwritten: AttemptNote[] = []
  #toTell: AttemptNote[] = []
  #writing: Promise<void> | undefined

  /** Without `notes` nothing outlives the process, and the broker's count has to do. */
  constructor(me: string, notes: AttemptNotes | undefined, context: SubscriptionContext) {
    this.#me = me
    this.#ledger = new AttemptLedger(me)
    this.#notes = notes
    this.#context = context
  }

  /** Nothing may be handed out meanwhile. */
  get isRecalling(): boolean {
    return this.#recalling !== undefined
  }

  /** One that was delivered before: finds out which attempt it is; calls `onReady` when it and all others may be tried. */
  recall(delivery: RabbitMqDelivery, onReady: () => void): void {
    if (this.#notes === undefined) {
      delivery.attempt = this.#countedAttempt(delivery)
      return
    }
    delivery.attempt = UNKNOWN
    this.#recalled.push(delivery)
    const notes = this.#notes
    this.#recalling ??= this.#recall(notes).finally(() => {
      this.#recalling = undefined
      onReady()
    })
  }

  forget(delivery: RabbitMqDelivery): void {
    this.#ledger.forget(delivery)
  }

  /** It failed here, or was handed back untried, and goes back to where it came from. */
  ended(delivery: RabbitMqDelivery, used: number): void {
    this.#ledger.note(delivery, used, false)
  }

  /** As `ended`, and resolves when the broker has the note. */
  async noteEnded(delivery: RabbitMqDelivery, used: number): Promise<void> {
    const note = this.#ledger.note(delivery, used, false)
    if (this.#notes === undefined) return
    this.#unwritten.push(note)
    // Those of one turn travel together.
    this.#writing ??= nextTurn().then(() => {
      const notes = this.#unwritten
      this.#unwritten = []
      this.#writing = undefined
      return this.#write(notes)
    })
    await this.#writing
  }

  /** These go back untried. When that can't be noted they may count as attempts, for whoever gets them: the safe side. */
  async noteUntried(deliveries: readonly RabbitMqDelivery[]): Promise<void> {
    await this.#writeOrSay(
      deliveries.filter(isKnown).map((delivery) => this.#ledger.note(delivery, delivery.attempt - 1, false)),
    )
  }

  /** The connection is gone with these, and nothing is known against them. */
  lost(deliveries: readonly RabbitMqDelivery[]): void {
    for (const delivery of deliveries) if (isKnown(delivery)) this.#toTell.push(this.#ledger.lost(delivery))
  }

  /** There is a connection again: tells those who have the messages now. */
  tellLost(): void {
    const notes = this.#toTell
    this.#toTell = []
    void this.#writeOrSay(notes)
  }

  // --- details ---------------------------------------------------------------------------------------------------------

  async #recall(notes: AttemptNotes): Promise<void> {
    while (this.#recalled.length > 0) {
      // Everything of this turn first: one look is enough for all of it.
      await nextTurn()
      const recalled = this.#recalled
      this.#recalled = []
      try {
        await this.#consult(notes, recalled)
      } catch (error) {
        this.#context.failed(error, 'reading notes about attempts')
      }
      for (const delivery of recalled) delivery.attempt = this.#attemptOf(delivery)
      const held = recalled.filter(({ state }) => state === 'held')
      const noted = new AbortController()
      const noting = this.#writeOrSay(held.map((delivery) => this.#ledger.note(delivery, delivery.attempt, true)))
      const done = noting.then(() => noted.abort())
      await Promise.race([done, sleep(this.#context.clock, NOTE_MS, noted.signal).catch(() => undefined)])
    }
  }

  async #consult(notes: AttemptNotes, recalled: readonly RabbitMqDelivery[]): Promise<void> {
    if (recalled.every((delivery) => this.#isExplained(delivery))) return
    const { clock } = this.#context
    const until = clock.monotonic() + ALIBI_MS
    for (;;) {
      const session = this.#context.session()
      if (session === undefined) return
      this.#ledger.learn(await notes.read(session))
      if (clock.monotonic() >= until || !recalled.some((delivery) => this.#isSuspicious(delivery))) return
      await sleep(clock, LOOK_AGAIN_MS)
    }
  }

  #isExplained(delivery: RabbitMqDelivery): boolean {
    const note = this.#ledger.before(delivery)
    return note?.by === this.#me && delivery.isCounted && note.count + 1 === delivery.count
  }

  #isSuspicious(delivery: RabbitMqDelivery): boolean {
    const note = this.#ledger.before(delivery)
    return note?.begun === true && note.by !== this.#me && note.used + 1 >= SUSPICIOUS
  }

  #attemptOf(delivery: RabbitMqDelivery): number {
    // Of the first delivery there is no note, unless it ended well for the process.
    return (this.#ledger.before(delivery)?.used ?? delivery.base + 1) + 1
  }

  #countedAttempt(delivery: RabbitMqDelivery): number {
    const { base, count } = delivery
    const note = this.#ledger.before(delivery)
    return note === undefined ? base + count + 1 : note.used + 1 + Math.max(0, count - note.count - 1)
  }

  async #write(notes: readonly AttemptNote[]): Promise<void> {
    const session = this.#context.session()
    if (session !== undefined) await this.#notes?.write(session, notes)
  }

  async #writeOrSay(notes: readonly AttemptNote[]): Promise<void> {
    if (notes.length === 0) return
    try {
      await this.#write(notes)
    } catch (error) {
      this.#context.failed(error, 'noting attempts')
    }
  }
}

/** False for one that was delivered before and went before it was found out how often. Nobody has begun anything with it. */
function isKnown({ attempt }: RabbitMqDelivery): boolean {
  return attempt !== UNKNOWN
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

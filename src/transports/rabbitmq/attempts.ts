import { AttemptLedger } from './attempt-ledger.ts'
import type { AttemptNote } from './attempt-ledger.ts'
import type { AttemptNotes, NamedNote } from './attempt-notes.ts'
import type { RabbitMqDelivery } from './delivery.ts'
import type { SubscriptionContext } from './subscription-context.ts'

/**
 * The count of attempts of one subscription: what this process remembers, and what it notes at the broker for the member
 * that gets a message after it.
 */
export class Attempts {
  readonly #ledger = new AttemptLedger()
  readonly #notes: AttemptNotes | undefined
  readonly #context: SubscriptionContext
  #reading: Promise<void> | undefined
  #readAgain = false
  #unwritten: NamedNote[] = []
  #writing: Promise<void> | undefined

  /** Without `notes`, nothing outlives the process. */
  constructor(notes: AttemptNotes | undefined, context: SubscriptionContext) {
    this.#notes = notes
    this.#context = context
  }

  /** Nothing may be handed out while notes are being read. */
  get isReading(): boolean {
    return this.#reading !== undefined
  }

  remember(id: string, note: AttemptNote): void {
    this.#ledger.note(id, note)
  }

  forget(id: string): void {
    this.#ledger.forget(id)
  }

  attemptOf(delivery: RabbitMqDelivery): number {
    return this.#ledger.attemptOf(delivery)
  }

  /** Sets the attempt of one that was delivered before; or looks for notes about it, and calls `onRead` when they are here. */
  recall(delivery: RabbitMqDelivery, onRead: () => void): void {
    if (this.#ledger.has(delivery.message.id)) {
      delivery.attempt = this.#ledger.attemptOf(delivery)
      return
    }
    if (this.#notes === undefined) return
    this.#readAgain = true
    this.#reading ??= this.#read(this.#notes).finally(() => {
      this.#reading = undefined
      onRead()
    })
  }

  async #read(notes: AttemptNotes): Promise<void> {
    const context = this.#context
    try {
      // Whatever came while notes were read may have been noted since.
      while (this.#readAgain) {
        // Everything of this turn first: one look is enough for all of it.
        await nextTurn()
        this.#readAgain = false
        const session = context.session()
        if (session === undefined) break
        for (const { id, ...note } of await notes.read(session)) this.#ledger.note(id, note)
      }
    } catch (error) {
      if (context.session() !== undefined) context.failed(error, 'reading notes about attempts')
    }
  }

  /** Remembers and notes that an attempt was used up here. Resolves when the broker has the note. */
  async noteInline({ message, count }: RabbitMqDelivery, used: number): Promise<void> {
    const { id } = message
    this.#ledger.note(id, { count, used })
    if (this.#notes === undefined) return
    this.#unwritten.push({ id, count, used })
    // Those of one turn travel together.
    this.#writing ??= nextTurn().then(() => {
      const rows = this.#unwritten
      this.#unwritten = []
      this.#writing = undefined
      return this.#write(rows)
    })
    await this.#writing
  }

  /** These go back untried. When that can't be noted they count as attempts, for whoever gets them: the safe side. */
  async noteUntried(deliveries: readonly RabbitMqDelivery[]): Promise<void> {
    if (deliveries.length === 0) return
    const rows = deliveries.map(({ message, count, attempt }) => ({ id: message.id, count, used: attempt - 1 }))
    for (const { id, ...note } of rows) this.#ledger.note(id, note)
    try {
      await this.#write(rows)
    } catch (error) {
      if (this.#context.session() !== undefined) this.#context.failed(error, 'noting attempts')
    }
  }

  async #write(notes: readonly NamedNote[]): Promise<void> {
    const session = this.#context.session()
    if (session !== undefined) await this.#notes?.write(session, notes)
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve)
  })
}

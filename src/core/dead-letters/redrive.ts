import type { DeadLetter, RedriveOptions, RedriveReport } from '../bus-types.ts'
import { sleep } from '../clock.ts'
import type { Clock } from '../clock.ts'
import { makeRedrive } from './dead-letter.ts'
import type { DeadLetterPages, Page } from './dead-letter-pages.ts'
import { PublishError } from '../errors.ts'
import type { Publisher } from '../publish/publisher.ts'
import { sendEncoded } from '../publish/send-made.ts'
import type { TransportAdmin } from '../transport.ts'
import type { Position } from '../message.ts'

export interface RedriveParts {
  readonly group: string
  /** The dead-letter topic. */
  readonly topic: string
  readonly admin: TransportAdmin
  readonly publisher: Publisher
  readonly clock: Clock
  readonly pages: () => DeadLetterPages
  readonly chosen: (letter: DeadLetter) => boolean
}

/** How many letters of each name remain to be sent: see `nameOf`. */
type Wanted = Map<string, number>

/**
 * One call of `redrive`. A first pass records the names of the selected letters, grouped by how often they have been redriven,
 * and keeps no letter. Then one pass per group, the highest number first, sends page by page.
 *
 * So a letter that was redriven more often goes before letters that it was ahead of in its key. A message that fails again
 * during the call comes back with a number higher than those still to be sent, and waits for the next call.
 */
export class Redrive {
  readonly #parts: RedriveParts
  readonly #options: RedriveOptions
  readonly #levels = new Map<number, Wanted>()
  /** Keys with an unconfirmed copy: later letters must not overtake it. */
  readonly #heldKeys = new Set<string>()
  readonly #failed: { readonly id: string; readonly error: Error }[] = []
  #matched = 0
  #redriven = 0
  #left = 0

  constructor(parts: RedriveParts, options: RedriveOptions) {
    this.#parts = parts
    this.#options = options
  }

  get report(): RedriveReport {
    return { matched: this.#matched, redriven: this.#redriven, failed: this.#failed }
  }

  /** Runs the first pass. */
  async choose(): Promise<void> {
    const { maxRedrives = Infinity, signal } = this.#options
    const pages = this.#parts.pages()
    for (let after: Position | undefined; ;) {
      signal?.throwIfAborted()
      const { stored, letters, isLast } = await pages.read(after)
      for (const letter of letters) if (letter.redrives < maxRedrives && this.#parts.chosen(letter)) this.#want(letter)
      if (isLast) break
      after = stored.at(-1)?.position
    }
    this.#applyLimit(this.#options.limit ?? Infinity)
  }

  #want(letter: DeadLetter): void {
    const { redrives } = letter
    let wanted = this.#levels.get(redrives)
    if (wanted === undefined) this.#levels.set(redrives, (wanted = new Map()))
    const name = ownCopy(nameOf(letter))
    wanted.set(name, (wanted.get(name) ?? 0) + 1)
    this.#matched++
  }

  /** Applies the limit in the order of sending. */
  #applyLimit(limit: number): void {
    this.#matched = Math.min(this.#matched, limit)
    this.#left = this.#matched
    let room = limit
    for (const [, wanted] of this.#ordered()) {
      for (const [name, count] of wanted) {
        if (room === 0) wanted.delete(name)
        else if (count > room) wanted.set(name, room)
        room = Math.max(0, room - count)
      }
    }
  }

  #ordered(): [number, Wanted][] {
    return [...this.#levels].sort(([a], [b]) => b - a)
  }

  /** Runs the other passes. */
  async send(): Promise<void> {
    for (const [redrives, wanted] of this.#ordered()) {
      let before: number
      // Where a position is an index among messages with the same id, removing one can hide later ones: read again.
      do {
        before = this.#left
        await this.#pass(redrives, wanted)
      } while (wanted.size > 0 && this.#left < before)
    }
  }

  async #pass(redrives: number, wanted: Wanted): Promise<void> {
    const pages = this.#parts.pages()
    let after: Position | undefined
    while (wanted.size > 0) {
      this.#options.signal?.throwIfAborted()
      const page = await pages.read(after)
      const letters = page.letters.filter((letter) => letter.redrives === redrives && take(wanted, nameOf(letter)))
      const removed = await this.#sendPage(letters)
      if (page.isLast) return
      after = lastKept(page, removed) ?? after
    }
  }

  /** Resolves with the removed positions: not every transport can continue reading after one of them. */
  async #sendPage(letters: readonly DeadLetter[]): Promise<ReadonlySet<Position>> {
    const { signal, ratePerSecond } = this.#options
    const removed = new Set<Position>()
    const step = ratePerSecond === undefined ? letters.length : Math.max(1, Math.ceil(ratePerSecond / 10))
    for (let at = 0; at < letters.length; at += step) {
      signal?.throwIfAborted()
      const some = letters.slice(at, at + step)
      const startedAt = this.#parts.clock.monotonic()
      const confirmed = await this.#sendSome(some)
      for (const position of confirmed) removed.add(position)
      this.#left -= some.length
      if (ratePerSecond === undefined || this.#left <= 0) continue
      const rest = (some.length / ratePerSecond) * 1_000 - (this.#parts.clock.monotonic() - startedAt)
      if (rest > 0) await sleep(this.#parts.clock, rest, signal)
    }
    return removed
  }

  /** Publishes copies, and deletes the dead letters whose copy was confirmed. */
  async #sendSome(some: readonly DeadLetter[]): Promise<readonly Position[]> {
    const { admin, clock, group, publisher, topic } = this.#parts
    const letters = some.filter((letter) => !this.#isHeldBack(letter))
    if (letters.length === 0) return []
    const now = clock.now()
    const confirmed: Position[] = []
    const copies = letters.map((letter) => makeRedrive(letter, group, now))
    const results = await sendEncoded(publisher, copies, this.#options.signal)
    for (const [index, { error }] of results.entries()) {
      const letter = letters[index] as DeadLetter
      if (error === undefined) confirmed.push(letter.position)
      else this.#fail(letter, error)
    }
    this.#redriven += confirmed.length
    if (confirmed.length > 0) await admin.remove(topic, confirmed)
    return confirmed
  }

  #isHeldBack({ message }: DeadLetter): boolean {
    if (message.key === undefined || !this.#heldKeys.has(message.key)) return false
    const error = new PublishError(
      `The dead letter ${message.id} was not sent: the copy of an earlier one of its key was not confirmed. Redrive again`,
      { outcome: 'not-sent', retryable: true },
    )
    this.#failed.push({ id: message.id, error })
    return true
  }

  #fail({ message }: DeadLetter, error: Error): void {
    this.#failed.push({ id: message.id, error })
    // A message that can never be sent must not block its key forever.
    const mayBeSent = PublishError.is(error) && (error.retryable || error.outcome === 'unknown')
    if (message.key !== undefined && mayBeSent) this.#heldKeys.add(message.key)
  }
}

/**
 * Distinguishes letters with the same id: users choose ids, and a copy that was published twice can be dead-lettered twice. The
 * letter's position is not enough: where it is an index among messages with the same id, it changes when others are removed.
 */
function nameOf({ message, originalPosition, lastAttemptAt }: DeadLetter): string {
  return `${message.id} ${lastAttemptAt.getTime()} ${JSON.stringify(originalPosition)}`
}

function take(wanted: Wanted, name: string): boolean {
  const count = wanted.get(name)
  if (count === undefined) return false
  if (count === 1) wanted.delete(name)
  else wanted.set(name, count - 1)
  return true
}

function lastKept({ stored }: Page, removed: ReadonlySet<Position>): Position | undefined {
  return stored.findLast(({ position }) => !removed.has(position))?.position
}

/** Copies the text: a substring would keep the whole block of headers in memory. */
function ownCopy(text: string): string {
  return Buffer.from(text, 'utf16le').toString('utf16le')
}

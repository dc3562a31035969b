import type { Clock } from '../clock.ts'
import { TimeoutError } from '../errors.ts'
import type { PublishError, PublishFailure } from '../errors.ts'
import type { EncodedMessage, OutgoingMessage } from '../message.ts'
import type { Observers } from '../observers.ts'
import type { PublishOutcome, Transport, TransportIdentity } from '../transport.ts'
import { Deadline } from '../util/deadlines.ts'
import type { Deadlines } from '../util/deadlines.ts'
import type { Batch, Entry } from './batch.ts'
import type { PublishCounts } from './publish-counts.ts'
import { brokenTransport, unconfirmedError } from './publish-errors.ts'
import { addToTallies } from './publish-reports.ts'
import type { PublishReports } from './publish-reports.ts'

const NO_FAILURES: ReadonlyMap<EncodedMessage, PublishError> = new Map()

/** Entries of one batch whose deadlines are this close together are given up together. */
const SAME_DEADLINE_MS = 20

export interface InFlightParts {
  readonly transport: Transport
  readonly identity: TransportIdentity
  readonly deliveryTimeoutMs: number
  readonly clock: Clock
  readonly deadlines: Deadlines
  readonly observers: Observers
  readonly reports: PublishReports
  /** A batch is over: there is room again. */
  readonly ended: () => void
}

/**
 * The batches that one transport has and has not answered. Each message is settled by its outcome, its deadline, its signal or
 * close, whichever comes first; a batch is over when the transport has answered all of it.
 */
export class InFlight {
  readonly #parts: InFlightParts
  /** Those of the reports, which are asked for with every message. */
  readonly #counts: PublishCounts
  readonly #batches = new Set<Batch>()
  #bytes = 0

  constructor(parts: InFlightParts) {
    this.#parts = parts
    this.#counts = parts.reports.counts
  }

  /** Bytes of messages in batches that are not over. */
  get bytes(): number {
    return this.#bytes
  }

  get isEmpty(): boolean {
    return this.#batches.size === 0
  }

  /** Passes entries to the transport. `bytes` and `deadlineAt`: their sum, and the earliest. */
  send(entries: readonly Entry[], bytes: number, deadlineAt: number): void {
    const { transport, identity, clock, deadlines, observers, reports } = this.#parts
    const messages = entries.length === 1 ? (entries[0] as Entry).messages : messagesOf(entries)
    this.#bytes += bytes
    const startedAt = clock.monotonic()
    const batch: Batch = {
      entries,
      controller: new AbortController(),
      deadline: new Deadline(() => this.#expire(batch)),
      tallies: reports.newTallies(),
      failures: undefined,
      givenUp: undefined,
    }
    const observation = observers.start('publish', { transport: identity, messages })
    if (observation !== undefined) batch.failures = new Map()
    for (const entry of entries) entry.batch = batch
    this.#batches.add(batch)
    deadlines.set(batch.deadline, Math.max(0, deadlineAt - startedAt))
    const finish = (): void => {
      deadlines.clear(batch.deadline)
      this.#bytes -= bytes
      this.#batches.delete(batch)
      if (observation !== undefined)
        observers.end(observation, {
          durationMs: clock.monotonic() - startedAt,
          failures: batch.failures ?? NO_FAILURES,
        })
      if (batch.tallies !== undefined) reports.published(batch.tallies, clock.monotonic() - startedAt)
      this.#parts.ended()
    }
    this.#publish(transport, messages, batch).then(finish, (error: unknown) => {
      // Only a broken transport rejects; then no outcome of the batch is certain.
      for (const entry of entries) entry.fail(brokenTransport(identity.name, error), reports.failed)
      finish()
    })
  }

  // --- what the transport answers --------------------------------------------------------------------------------------

  /** Settles each message as soon as the transport reports its outcome; resolves when all are settled. */
  async #publish(transport: Transport, messages: readonly OutgoingMessage[], batch: Batch): Promise<void> {
    const { signal } = batch.controller
    const outcomes =
      batch.entries[0]?.isAtomic === true
        ? await this.#transact(transport, messages, signal)
        : await transport.publish(messages, { signal })
    let late: Promise<void>[] | undefined
    let at = 0
    for (const entry of batch.entries) {
      const first = at
      at += entry.messages.length
      for (let index = 0; index < entry.messages.length; index++) {
        // Its deadline or its signal came first.
        if (entry.state === 'settled') {
          addToTallies(batch.tallies, entry.messages[index] as OutgoingMessage, false)
          continue
        }
        entry.answered = index + 1
        const outcome = outcomes[first + index]
        if (outcome instanceof Promise) (late ??= []).push(this.#settleLate(batch, entry, index, outcome))
        else this.#settle(batch, entry, index, outcome, undefined)
      }
      if (entry.late === undefined) entry.state = 'settled'
    }
    if (late === undefined) return
    this.#endIfOver(batch)
    await Promise.all(late)
  }

  /** All messages get the same outcome. */
  async #transact(
    transport: Transport,
    messages: readonly OutgoingMessage[],
    signal: AbortSignal,
  ): Promise<readonly PublishOutcome[]> {
    try {
      const positions = await (transport as Required<Transport>).transaction(messages, { signal })
      return messages.map((_, index) => ({ position: positions[index] }))
    } catch (cause) {
      const error = brokenTransport(this.#parts.identity.name, cause)
      return messages.map(() => ({ error }))
    }
  }

  async #settleLate(batch: Batch, entry: Entry, index: number, pending: Promise<PublishOutcome>): Promise<void> {
    const open = (entry.late ??= new Set())
    open.add(index)
    let outcome: PublishOutcome | undefined
    let failure: unknown
    try {
      outcome = await pending
    } catch (error) {
      failure = error
    }
    if (entry.state === 'settled') return addToTallies(batch.tallies, entry.messages[index] as OutgoingMessage, false)
    open.delete(index)
    if (open.size === 0) entry.state = 'settled'
    this.#settle(batch, entry, index, outcome, failure)
    this.#endIfOver(batch)
  }

  #settle(batch: Batch, entry: Entry, index: number, outcome: PublishOutcome | undefined, failure: unknown): void {
    const message = entry.messages[index] as OutgoingMessage
    if (outcome === undefined || outcome.error !== undefined) {
      this.#fail(batch, entry, index, outcome?.error ?? brokenTransport(this.#parts.identity.name, failure))
      return
    }
    if (batch.tallies !== undefined) addToTallies(batch.tallies, message, true)
    this.#counts.of(message.topic).confirmed++
    entry.settle(index, outcome.position, undefined)
  }

  #fail(batch: Batch, entry: Entry, index: number, answer: PublishError): void {
    const { transport, reports } = this.#parts
    const message = entry.messages[index] as OutgoingMessage
    let error = answer
    if (answer.outcome === 'unknown') error = entry.givenUp ?? answer
    else if (this.#isLate(entry) && !transport.health().connected) error = this.#unconfirmed(entry, 'not-sent', answer)
    addToTallies(batch.tallies, message, false)
    batch.failures?.set(message, error)
    reports.failed(message, error)
    entry.settle(index, undefined, error)
  }

  // --- what ends the wait for an answer --------------------------------------------------------------------------------

  /** Gives up entries whose deadline has passed. */
  #expire(batch: Batch): void {
    const { clock, deadlines, deliveryTimeoutMs } = this.#parts
    const { entries, deadline } = batch
    const now = clock.monotonic()
    let [next, last] = [Infinity, 0]
    for (const entry of entries) {
      if (entry.state === 'settled') continue
      if (entry.deadlineAt > now) next = Math.min(next, entry.deadlineAt)
      last = Math.max(last, entry.deadlineAt)
    }
    if (next < Infinity && last - now <= SAME_DEADLINE_MS) {
      deadlines.set(deadline, last - now)
      return
    }
    const late = entries.filter(({ deadlineAt }) => deadlineAt <= now)
    const reason = `The delivery timeout of ${deliveryTimeoutMs} ms has passed`
    this.giveUp(batch, late, (entry) => this.#unconfirmed(entry, 'unknown'), new TimeoutError(reason))
    if (next < Infinity) deadlines.set(deadline, next - now)
  }

  #isLate({ givenUp, deadlineAt }: Entry): boolean {
    return givenUp !== undefined && deadlineAt <= this.#parts.clock.monotonic()
  }

  #unconfirmed({ topic }: Entry, outcome: PublishFailure, cause?: PublishError): PublishError {
    const { transport, identity, deliveryTimeoutMs } = this.#parts
    return unconfirmedError(topic, outcome, deliveryTimeoutMs, identity, transport.health(), cause)
  }

  /** Ends the wait for everything. */
  giveUpAll(error: () => PublishError): void {
    for (const batch of this.#batches) this.giveUp(batch, batch.entries, error, error())
  }

  /**
   * Ends the wait for these entries. The transport is notified when no caller waits for the batch any more, and has the rest of
   * the turn to report what it certainly did not send. A transport that reports nothing delays no caller.
   */
  giveUp(batch: Batch, late: readonly Entry[], errorOf: (entry: Entry) => PublishError, reason: unknown): void {
    for (const entry of late) entry.givenUp ??= errorOf(entry)
    batch.givenUp = { reason }
    if (this.#endIfOver(batch)) return
    setImmediate(() => {
      // The batch is over since: that has given the transport its time.
      if (!batch.controller.signal.aborted) this.#failGivenUp(batch)
    })
  }

  /** True when no caller waits for the batch any more, at least one because it was given up. */
  #endIfOver(batch: Batch): boolean {
    const { controller, entries, givenUp } = batch
    if (givenUp === undefined) return false
    if (controller.signal.aborted) return true
    if (entries.some((entry) => entry.state !== 'settled' && entry.givenUp === undefined)) return false
    controller.abort(givenUp.reason)
    setImmediate(() => this.#failGivenUp(batch))
    return true
  }

  #failGivenUp({ entries }: Batch): void {
    for (const entry of entries) if (entry.givenUp !== undefined) entry.fail(entry.givenUp, this.#parts.reports.failed)
  }
}

function messagesOf(entries: readonly Entry[]): OutgoingMessage[] {
  // Not flatMap: with a thousand calls of one message each, it takes several times as long.
  const all: OutgoingMessage[] = []
  for (const { messages } of entries) for (const message of messages) all.push(message)
  return all
}

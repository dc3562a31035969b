import type { Clock, Timer } from '../clock.ts'
import type { PendingDelivery } from './pending-delivery.ts'
import type { AttemptNote, TransportSubscription } from '../transport.ts'

/** A handler that runs for one or two ticks is noted at the broker. Shorter handlers cost nothing. */
const TICK_MS = 20
const NOTED_AFTER_TICKS = 2
/** Maximum time a handler waits for the broker to store the note about it, or about the attempt before it. */
const NOTE_TIMEOUT_MS = 2_000
/** Failed notes are sent again together, at the next but one multiple of this: after one to two seconds. */
const NOTED_AGAIN_TICKS = 50

export interface RunningNotesHost {
  readonly clock: Clock
  /** Messages with a handler. */
  runningDeliveries(): readonly PendingDelivery[]
  noteFailed(error: unknown, doing: string): void
  /** Sends the pending outcomes. */
  flushOutcomes(): void
}

/**
 * Tells the broker which handlers are running, so that if this process dies, only their messages use an attempt, not those that
 * merely waited here. Each tick sends at most one note, for all handlers.
 */
export class RunningNotes {
  readonly #host: RunningNotesHost
  readonly #subscription: TransportSubscription
  /** Number of ticks so far. Time stands still while there is no handler to note. */
  #tick = 0
  #timer: Timer | undefined
  /** Handlers whose note must be stored before they start. */
  #gathered: PendingDelivery[] = []
  #storing: Promise<void> | undefined
  #closed = false
  /** Ends the wait for each note that a handler waits for. */
  readonly #waits = new Set<() => void>()

  constructor(subscription: TransportSubscription, host: RunningNotesHost) {
    this.#subscription = subscription
    this.#host = host
  }

  /** A handler has started and did not end synchronously. */
  started(pending: PendingDelivery): void {
    if (this.#closed || pending.isNoted || this.#subscription.noteAttempts === undefined) return
    pending.noteAtTick = this.#tick + NOTED_AFTER_TICKS
    this.#timer ??= this.#host.clock.setTimer(TICK_MS, this.#onTick)
  }

  /** Notes a handler before it starts. Resolves when the note is stored, or when waiting for it makes no sense. */
  before(pending: PendingDelivery): Promise<void> {
    pending.isNoted = true
    this.#gathered.push(pending)
    // Notes of one turn are sent together.
    this.#storing ??= new Promise<void>((resolve) => {
      setImmediate(() => {
        const deliveries = this.#gathered
        this.#gathered = []
        this.#storing = undefined
        this.#storeWithin(deliveries, resolve)
      })
    })
    return this.#storing
  }

  /** The broker has taken these back, or they wait again. This process lives, so their attempts are not used. */
  takeBack(deliveries: readonly PendingDelivery[]): void {
    if (deliveries.length === 0) return
    for (const pending of deliveries) pending.isNoted = false
    const notes = deliveries.map(({ delivery }) => ({
      delivery,
      used: delivery.attempt - 1,
      running: false,
      notBefore: undefined,
    }))
    this.#note(notes, 'taking back notes about running handlers').catch(() => {})
  }

  /**
   * A handler has ended; the next attempt will be made in this process, and not before the result resolves: when the note is
   * stored, or when waiting for it makes no sense. Otherwise a process that dies would take all attempts with it whose notes a
   * slow broker has not stored, rather than the last one.
   */
  retrying(pending: PendingDelivery, used: number, notBefore: number): Promise<void> | undefined {
    pending.isNoted = false
    if (this.#closed || this.#subscription.noteAttempts === undefined) return undefined
    const note = { delivery: pending.delivery, used, running: false, notBefore }
    const doing = `noting attempt ${pending.attempt} of message ${pending.message.id}`
    return new Promise((resolve) => this.#within(this.#note([note], doing), resolve))
  }

  close(): void {
    this.#closed = true
    this.#timer?.cancel()
    this.#timer = undefined
    for (const end of this.#waits) end()
  }

  readonly #onTick = (): void => {
    this.#tick++
    // Not a list of those that have started: it would keep each of them in memory for two ticks.
    const waiting = this.#host
      .runningDeliveries()
      .filter(({ isNoted, noteAtTick, delivery }) => !isNoted && noteAtTick > 0 && !delivery.lost)
    const due = waiting.filter(({ noteAtTick }) => noteAtTick <= this.#tick)
    this.#timer = due.length === waiting.length ? undefined : this.#host.clock.setTimer(TICK_MS, this.#onTick)
    if (due.length === 0) return
    for (const pending of due) pending.isNoted = true
    void this.#noteRunning(due, 'noting which handlers are running')
  }

  #storeWithin(deliveries: readonly PendingDelivery[], done: () => void): void {
    // Skip what was lost or returned meanwhile.
    const ours = deliveries.filter(({ state }) => state === 'preparing')
    if (this.#closed || ours.length === 0 || this.#subscription.noteAttempts === undefined) {
      done()
      return
    }
    // A message noted now may kill the process: finished ones must not lose an attempt with it.
    this.#host.flushOutcomes()
    this.#within(this.#noteRunning(ours, 'noting which handlers start'), done)
  }

  /** Calls back once, when the note is stored or refused, when the time is up, or when this is closed. */
  #within(noting: Promise<void>, done: () => void): void {
    const end = (): void => {
      timer.cancel()
      if (this.#waits.delete(end)) done()
    }
    const timer = this.#host.clock.setTimer(NOTE_TIMEOUT_MS, end)
    this.#waits.add(end)
    // The caller that made the note reports its failure.
    noting.then(end, end)
  }

  /** Also resolves when the note failed: handlers that still run are noted again later. */
  async #noteRunning(deliveries: readonly PendingDelivery[], doing: string): Promise<void> {
    const notes = deliveries.map(({ delivery }) => ({
      delivery,
      used: delivery.attempt,
      running: true,
      notBefore: undefined,
    }))
    try {
      await this.#note(notes, doing)
    } catch {
      for (const [index, pending] of deliveries.entries())
        if (pending.isNoted && pending.attempt === notes[index]?.used) this.#noteAgain(pending)
    }
  }

  #noteAgain(pending: PendingDelivery): void {
    pending.isNoted = false
    // A message about to start is noted again by `started`.
    if (this.#closed || pending.state !== 'running') return
    pending.noteAtTick = (Math.floor(this.#tick / NOTED_AGAIN_TICKS) + 2) * NOTED_AGAIN_TICKS
    this.#timer ??= this.#host.clock.setTimer(TICK_MS, this.#onTick)
  }

  /** Reports a failure, and rejects with it. */
  async #note(notes: readonly AttemptNote[], doing: string): Promise<void> {
    try {
      await this.#subscription.noteAttempts?.(notes)
    } catch (error) {
      this.#host.noteFailed(error, doing)
      throw error
    }
  }
}

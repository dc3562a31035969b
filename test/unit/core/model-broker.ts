import { PublishError, SettlementError } from '../../../src/core/errors.ts'
import type { EncodedMessage, OutgoingMessage } from '../../../src/core/message.ts'
import type {
  AttemptNote,
  Delivery,
  DeliveryHistory,
  DeliverySink,
  Settlement,
  SettlementFailure,
  StoredMessage,
  SubscriptionSpec,
  TransportAdmin,
  TransportSubscription,
} from '../../../src/core/transport.ts'
import type { ManualClock, Random } from 'busbar/testing'
import { encoded, StubTransport } from './stub-transport.ts'

/** A message at the broker. It is waiting when it is neither out nor done. */
export interface Stored {
  readonly id: string
  readonly order: number
  readonly key: string | undefined
  readonly change: Partial<EncodedMessage>
  /** Attempts that are used up, as far as the broker knows. */
  used: number
  history: DeliveryHistory
  /** What the runtime noted about it while it is out. */
  note: AttemptNote | undefined
  /** Handlers that started, whatever became of them; since the group was deleted, if it was. */
  starts: number
  /** Not handed over before (monotonic). */
  notBefore: number
  /** Handed over, but not to be handled before (wall clock). */
  heldUntil: number | undefined
  /** No attempt may start before (wall clock): the runtime said so, and nothing may shorten it. */
  dueAt: number
  out: ModelDelivery | undefined
  done: 'ack' | 'reject' | undefined
  /** It goes back to a broker that can't hold back a key, and nothing later of its key may be handed over before it. */
  comesBack: boolean
  /** The runtime wants to dead-letter it; the broker has not said yes. */
  rejecting: boolean
  /** Its handling has ended well, or with a dead letter: what comes later of its key may be handled. */
  through: boolean
  /** Acks of it that the broker did not take: it comes again, and must not be handled again. */
  acksLost: number
  /** The broker has refused an outcome, and the runtime has not read that yet: it is not handed over again before. */
  isRefusing: boolean
}

export interface ModelDelivery extends Delivery {
  lost: boolean
  readonly stored: Stored
  /** Monotonic. */
  readonly handedAt: number
  /** With its handler, or once was. */
  wasStarted: boolean
  /** The runtime has said what is to become of it. */
  hasOutcome: boolean
  settled: boolean
}

/** A dead letter of a message. */
export interface ModelLetter extends StoredMessage {
  readonly stored: Stored
  /** Monotonic; Infinity while it is there. */
  removedAt: number
}

/** Mood of the broker, changed at will. */
export interface Weather {
  /** Chance that a settlement fails: the delivery is gone then. */
  settleFails: number
  /** Chance that a dead letter can't be published now. */
  rejectFails: number
  /** Settlements are answered after up to so many ms. */
  latencyMs: number
  /** Chance that the dead letters can't be read now. */
  readFails: number
}

/**
 * A broker of one topic and one group that keeps to the contract and no more: it hands over ahead of what is settled,
 * answers late, loses whole keys, and refuses.
 */
export class ModelBroker extends StubTransport {
  readonly stored: Stored[] = []
  /** All that there ever were, in order. */
  readonly letters: ModelLetter[] = []
  readonly weather: Weather = { settleFails: 0, rejectFails: 0, latencyMs: 0, readFails: 0 }
  /** Timers of the broker and the handlers, to tell them from those of the runtime. */
  ownTimers = 0
  member: ModelSubscription | undefined
  readonly clock: ManualClock
  readonly random: Random
  readonly complain: (what: string) => void
  leaseMsOfModel: number | undefined
  /** It passes over a key of which the member holds `maxPerKey`. */
  readonly boundsKeys: boolean
  /** Of the consumer. */
  attempts = 1

  constructor(parts: {
    readonly clock: ManualClock
    readonly random: Random
    readonly orderedRedelivery: boolean
    readonly boundsKeys: boolean
    readonly complain: (what: string) => void
  }) {
    super({ orderedRedelivery: parts.orderedRedelivery })
    this.clock = parts.clock
    this.random = parts.random
    this.boundsKeys = parts.boundsKeys
    this.complain = parts.complain
  }

  override async subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription> {
    this.member = new ModelSubscription(this, spec, sink, this.leaseMsOfModel)
    return this.member
  }

  publishOne(key: string | undefined, change: Partial<EncodedMessage> = {}): void {
    const order = this.stored.length
    this.stored.push({
      id: `${key ?? 'x'}-${order}`,
      order,
      key,
      change,
      used: 0,
      history: 'new',
      note: undefined,
      starts: 0,
      notBefore: 0,
      heldUntil: undefined,
      dueAt: 0,
      out: undefined,
      done: undefined,
      comesBack: false,
      rejecting: false,
      through: false,
      acksLost: 0,
      isRefusing: false,
    })
  }

  after(ms: number, fire: () => void): void {
    this.ownTimers++
    this.clock.setTimer(ms, () => {
      this.ownTimers--
      fire()
    })
  }

  get unfinished(): Stored[] {
    return this.stored.filter(({ done }) => done === undefined)
  }

  keyOf(stored: Stored): string | undefined {
    if (this.member?.spec.order === 'strict') return ''
    return this.member?.spec.order === 'key' ? stored.key : undefined
  }

  /** Waiting ones that may be handed over now, in order. */
  deliverable(): Stored[] {
    const blocked = new Set<string>()
    const now = this.clock.monotonic()
    const room = new Map<string, number>()
    if (this.boundsKeys)
      for (const stored of this.unfinished) {
        const key = this.keyOf(stored)
        if (key === undefined) continue
        const left = room.get(key) ?? this.member?.spec.maxPerKey ?? Infinity
        room.set(key, stored.out === undefined ? left : left - 1)
      }
    return this.unfinished.filter((stored) => {
      const key = this.keyOf(stored)
      if ((stored.comesBack || stored.isRefusing) && key !== undefined) blocked.add(key)
      if (stored.out !== undefined || stored.isRefusing || (key !== undefined && blocked.has(key))) return false
      const left = room.get(key ?? '') ?? Infinity
      if (key !== undefined && left <= 0) return false
      if (stored.notBefore <= now) {
        if (key !== undefined) room.set(key, left - 1)
        return true
      }
      if (key !== undefined && this.capabilities.orderedRedelivery) blocked.add(key)
      return false
    })
  }

  // --- dead letters and the group ------------------------------------------------------------------------------------

  /** Dead letters that keep a message from being handled: those that there are, or were there after `since`. */
  blockersOf(stored: Stored, since: number): ModelLetter[] {
    return this.letters.filter(
      (letter) =>
        letter.removedAt >= since &&
        letter.stored.key === stored.key &&
        letter.stored !== stored &&
        redrivesOf(letter.stored) >= redrivesOf(stored),
    )
  }

  /** Removes the dead letters of a key, or sends them back. */
  clearLetters(key: string, redrive: boolean): void {
    for (const letter of this.letters) {
      if (letter.removedAt < Infinity || letter.stored.key !== key) continue
      letter.removedAt = this.clock.monotonic()
      if (redrive) this.publishOne(key, { headers: { [REDRIVES]: String(redrivesOf(letter.stored) + 1) } })
    }
  }

  /** Deletes the group. It is made again at its place, and nothing more is known of any attempt. */
  deleteGroup(): void {
    this.member?.lose(
      () => true,
      () => {
        for (const stored of this.unfinished)
          Object.assign(stored, {
            used: 0,
            history: 'new',
            starts: 0,
            notBefore: 0,
            heldUntil: undefined,
            dueAt: 0,
            acksLost: 0,
          } satisfies Partial<Stored>)
      },
    )
  }

  readonly admin: TransportAdmin = {
    ensureTopic: async () => {},
    topics: async () => [],
    groups: async () => [],
    seek: async () => {},
    read: async (_topic, { after, limit }) => {
      const { latencyMs, readFails } = this.weather
      const ms = this.random.integer(0, latencyMs)
      if (ms > 0) await new Promise<void>((resolve) => this.after(ms, resolve))
      if (this.random.chance(readFails)) throw new Error('the dead letters can not be read')
      const from = after === undefined ? 0 : Number(after['offset']) + 1
      return this.letters
        .slice(from)
        .filter(({ removedAt }) => removedAt === Infinity)
        .slice(0, limit)
    },
    remove: async () => 0,
    purge: async () => undefined,
    deleteGroup: async () => {},
  }
}

const REDRIVES = 'busbar-redrives'

function redrivesOf({ change }: Stored): number {
  return Number(change.headers?.[REDRIVES] ?? 0)
}

let deliveries = 0

export class ModelSubscription implements TransportSubscription {
  readonly spec: SubscriptionSpec
  readonly leaseMs: number | undefined
  credit = 0
  bytes = 0
  paused = false
  closed = false
  /** Its process was killed: nothing that it says reaches the broker, and it hears nothing. */
  dead = false
  readonly #broker: ModelBroker
  readonly #sink: DeliverySink
  #answersUntil = 0
  #noting: Promise<void> = Promise.resolve()

  constructor(broker: ModelBroker, spec: SubscriptionSpec, sink: DeliverySink, leaseMs: number | undefined) {
    this.#broker = broker
    this.spec = spec
    this.#sink = sink
    this.leaseMs = leaseMs
  }

  /** Something that it was told has not taken effect yet. */
  get isBusy(): boolean {
    return this.#answersUntil > this.#broker.clock.monotonic()
  }

  request(credit: number, bytes: number): void {
    if (this.closed) this.#broker.complain('credit was granted to a closed subscription')
    if (!(credit >= 0 && bytes >= 0)) this.#broker.complain(`credit of ${credit} messages, ${bytes} bytes`)
    this.credit += credit
    this.bytes += bytes
  }

  pause(): void {
    this.paused = true
  }

  resume(): void {
    this.paused = false
    this.deliver(this.#broker.random.integer(0, 3))
  }

  /** Hands over what may be handed over now, at most so many. */
  deliver(most: number): void {
    if (this.paused || this.closed || this.dead) return
    const batch: ModelDelivery[] = []
    for (const stored of this.#broker.deliverable()) {
      if (batch.length >= most || this.credit <= 0 || this.bytes <= 0) break
      const bytes = 10 + (stored.order % 90)
      const headers = { ...stored.change.headers, delivery: String(++deliveries) }
      const message = encoded(stored.id, { key: stored.key, ...stored.change, headers })
      const delivery: ModelDelivery = {
        message,
        attempt: stored.used + 1,
        history: stored.history,
        notBefore: stored.heldUntil,
        position: { delivery: deliveries },
        bytes,
        lost: false,
        runtime: undefined,
        stored,
        handedAt: this.#broker.clock.monotonic(),
        wasStarted: false,
        hasOutcome: false,
        settled: false,
      }
      stored.out = delivery
      this.credit--
      this.bytes -= bytes
      batch.push(delivery)
    }
    if (batch.length > 0) this.#sink.receive(batch)
  }

  /** Takes back all that is out of some stored messages. `then` happens before the runtime hears of it. */
  lose(chosen: (stored: Stored) => boolean, then?: () => void): void {
    const taken: ModelDelivery[] = []
    for (const stored of this.#broker.unfinished) {
      if (stored.out === undefined || !chosen(stored)) continue
      taken.push(stored.out)
      this.#takeBack(stored.out)
    }
    then?.()
    if (taken.length > 0) this.#sink.lost(taken, 'the broker says so')
  }

  /** The process lives: what it did here costs no attempt, and what waited here goes on waiting. */
  #takeBack(delivery: ModelDelivery): void {
    const { stored } = delivery
    delivery.lost = true
    stored.used = delivery.attempt - 1
    if (stored.note !== undefined) stored.heldUntil = stored.note.notBefore
    this.#returned(stored)
  }

  #returned(stored: Stored): void {
    stored.out = undefined
    stored.comesBack = false
    stored.rejecting = false
    stored.note = undefined
    stored.history = 'returned'
  }

  /** Kills its process: what was out comes back, and of its attempts only what was noted is known. */
  die(): void {
    this.dead = true
    for (const stored of this.#broker.unfinished) {
      const { note, out } = stored
      // What the process remembered is gone with it.
      stored.acksLost = 0
      // Noted, and about to start.
      if (note?.running === true) stored.starts = Math.max(stored.starts, note.used)
      if (out === undefined) continue
      out.lost = true
      this.#returned(stored)
      stored.history = note?.running === true ? 'died' : 'unknown'
      if (note === undefined) continue
      stored.used = note.used
      stored.heldUntil = note.notBefore
    }
  }

  async noteAttempts(notes: readonly AttemptNote[]): Promise<void> {
    const { random, weather, clock } = this.#broker
    const now = clock.monotonic()
    // In the order of the calls, as everything.
    this.#answersUntil = Math.max(this.#answersUntil, now + random.integer(0, weather.latencyMs))
    const earlier = this.#noting
    const done = Promise.withResolvers<void>()
    this.#noting = done.promise
    if (this.#answersUntil > now)
      await new Promise<void>((resolve) => this.#broker.after(this.#answersUntil - now, resolve))
    await earlier
    done.resolve()
    if (this.dead || this.closed) throw new SettlementError('nobody listens')
    for (const note of notes) {
      const { stored } = note.delivery as ModelDelivery
      if (note.delivery.lost) continue
      stored.note = note
      if (note.notBefore !== undefined) stored.dueAt = note.notBefore
    }
  }

  settle(batch: readonly Settlement[]): Promise<readonly SettlementFailure[]> {
    const { weather, random, clock } = this.#broker
    for (const { delivery, outcome } of batch) {
      const { stored, handedAt } = delivery as ModelDelivery
      ;(delivery as ModelDelivery).hasOutcome = true
      if ((outcome.type === 'nack' || outcome.type === 'release') && outcome.inOrder === true && !delivery.lost)
        stored.comesBack = !this.#broker.capabilities.orderedRedelivery
      if (outcome.type !== 'reject' || delivery.lost) continue
      const reason = outcome.deadLetter?.headers['busbar-dlq-reason']
      if (reason === 'prior-failed' && this.#broker.blockersOf(stored, handedAt).length === 0)
        this.#broker.complain(`${stored.id} was parked behind nothing`)
      if (reason === 'exhausted' && stored.starts < this.#broker.attempts)
        this.#broker.complain(`${stored.id} was given up after ${stored.starts} of ${this.#broker.attempts} attempts`)
      stored.rejecting = true
      stored.through = true
    }
    const answer = (): readonly SettlementFailure[] => {
      const failures: SettlementFailure[] = []
      for (const [index, settlement] of batch.entries()) {
        const error = this.#settleOne(settlement)
        if (error !== undefined) failures.push({ index, error })
      }
      return failures
    }
    const now = clock.monotonic()
    // Answers come in the order of the calls.
    this.#answersUntil = Math.max(this.#answersUntil, now + random.integer(0, weather.latencyMs))
    if (this.#answersUntil === now) return Promise.resolve(answer())
    return new Promise((resolve) => this.#broker.after(this.#answersUntil - now, () => resolve(answer())))
  }

  #settleOne({ delivery: given, outcome }: Settlement): SettlementFailure['error'] | undefined {
    const delivery = given as ModelDelivery
    const { stored } = delivery
    const { weather, random, clock } = this.#broker
    if (delivery.lost || this.closed || this.dead) return new SettlementError('taken back')
    if (delivery.settled) this.#broker.complain(`${stored.id} was settled twice`)
    if (outcome.type === 'reject' && random.chance(weather.rejectFails))
      return new PublishError('no dead letters today', { outcome: 'not-sent', retryable: true })
    if (random.chance(weather.settleFails)) {
      // The dead letter may be stored anyway.
      if (outcome.type === 'reject' && random.chance(0.5)) this.#store(stored, outcome.deadLetter)
      this.#takeBack(delivery)
      stored.isRefusing = true
      // The first one runs before what reads the answer.
      queueMicrotask(() => queueMicrotask(() => (stored.isRefusing = false)))
      if (outcome.type === 'ack') stored.acksLost++
      return new SettlementError('taken back just now')
    }
    if (outcome.type === 'reject') this.#store(stored, outcome.deadLetter)
    delivery.settled = true
    this.#returned(stored)
    if (outcome.type === 'ack' || outcome.type === 'reject') stored.done = outcome.type
    else {
      if (!(outcome.delayMs >= 0)) this.#broker.complain(`${stored.id} was delayed by ${outcome.delayMs} ms`)
      const now = clock.now()
      if (outcome.type === 'release' && now + outcome.delayMs + weather.latencyMs + 1 < stored.dueAt)
        this.#broker.complain(`${stored.id} is due in ${stored.dueAt - now} ms and was released for ${outcome.delayMs}`)
      stored.used = outcome.type === 'nack' ? delivery.attempt : delivery.attempt - 1
      // A broker that can't hold back a key hands it over at once, and the runtime waits.
      const holds = outcome.inOrder === true && !this.#broker.capabilities.orderedRedelivery
      stored.notBefore = clock.monotonic() + (holds ? 0 : outcome.delayMs)
      stored.heldUntil = holds ? now + outcome.delayMs : undefined
      if (outcome.type === 'nack') stored.dueAt = now + outcome.delayMs
    }
    return undefined
  }

  #store(stored: Stored, deadLetter: OutgoingMessage | undefined): void {
    if (deadLetter === undefined) return
    const { letters } = this.#broker
    letters.push({ message: deadLetter, position: { offset: letters.length }, stored, removedAt: Infinity })
  }

  async extend(batch: readonly Delivery[]): Promise<void> {
    for (const delivery of batch) if (delivery.lost) this.#broker.complain('a lost delivery was renewed')
  }

  async drain(): Promise<void> {
    this.paused = true
  }

  async close(): Promise<void> {
    this.closed = true
    if (this.dead) return
    for (const stored of this.#broker.unfinished) if (stored.out !== undefined) this.#takeBack(stored.out)
  }
}

import { KafkaError } from '../../../../src/kafka/errors.ts'
import type { WriteOutcome } from '../../../../src/kafka/errors.ts'
import { Sender } from '../../../../src/kafka/producer/sender.ts'
import type { ProduceOrder } from '../../../../src/kafka/producer/sender.ts'
import type { BatchAnswer, Confirmation, OutgoingBatch } from '../../../../src/kafka/producer/partition-queue.ts'
import { answer, connectionLost, ModelPartition, randomOf, Schedule } from './model-cluster.ts'
import type { SentBatch } from './model-cluster.ts'

const TOPIC = 'orders'
const REQUEST_TIMEOUT_MS = 500
const DELIVERY_TIMEOUT_MS = 2_000
/** producer.id.expiration.ms, counted from the last batch. */
const PRODUCER_EXPIRATION_MS = 2_000
const MAX_FREEZE_MS = 3_000
const BROKERS = 3

interface TestBatch extends OutgoingBatch {
  readonly ids: readonly number[]
  readonly partition: number
  isClosed: boolean
}

interface Pending {
  readonly order: ProduceOrder<TestBatch>
  readonly batches: readonly (SentBatch & { readonly partition: number })[]
  isRead: boolean
}

interface Link {
  readonly broker: number
  isOpen: boolean
  /** Whether the broker still reads what was sent before the link ended. */
  isRead: boolean
  answerAt: number
  readonly pending: Pending[]
  readonly unread: Pending[]
}

export interface Faults {
  readonly isIdempotent: boolean
  readonly firstEpoch: number
  /** Chances, by request. */
  readonly errors: number
  readonly cuts: number
  /** By event that adds a batch. */
  readonly moves: number
  readonly freezes: number
  readonly restarts: number
  readonly forgets: number
  readonly poison: number
  readonly maxRecords: number
}

/** The sender, against three brokers on virtual time whose links, leaders and memory fail at random. */
export class SenderSimulation {
  readonly violations: string[] = []
  readonly outcomes: Map<number, 'confirmed' | WriteOutcome> = new Map()
  readonly #schedule = new Schedule()
  readonly #random: () => number
  readonly #faults: Faults
  readonly #partitions: readonly ModelPartition[]
  readonly #known: number[]
  readonly #frozenUntil: number[] = Array.from({ length: BROKERS }, () => 0)
  readonly #links = new Map<number, Link>()
  readonly #sender: Sender<TestBatch>
  /** Requests that can be read, by partition: those of dead links too. */
  readonly #inNetwork: number[]
  readonly #appendedAt: number[] = []
  readonly #readers = new Map<TestBatch, number>()
  readonly #added = new Map<number, number>()
  readonly #poisoned = new Set<number>()
  #nextId = 0
  #nextProducer = 100n
  #wakeAt = Infinity
  #isHealthy = false

  constructor(seed: number, faults: Faults, partitions: number) {
    this.#random = randomOf(seed)
    this.#faults = faults
    this.#partitions = Array.from({ length: partitions }, (_, index) => new ModelPartition(index % BROKERS))
    this.#known = this.#partitions.map(({ leader }) => leader)
    this.#inNetwork = this.#partitions.map(() => 0)
    this.#sender = new Sender<TestBatch>(
      {
        isIdempotent: faults.isIdempotent,
        isTransactional: false,
        maxInFlightPerBroker: 5,
        maxRequestBytes: 40,
        random: this.#random,
        leaderOf: (_, partition) => this.#known[partition],
      },
      {
        close: (batch) => (batch.isClosed = true),
        send: (order) => this.#send(order),
        settled: (batch, result) => this.#settled(batch, result),
        refresh: () => this.#refresh(),
        tooLarge: () => {},
        initProducerId: () => this.#initProducerId(),
        split: (queue, entry) => {
          const { batch } = entry
          this.#schedule.after(1, () => {
            const middle = batch.ids.length >> 1
            const halves = [batch.ids.slice(0, middle), batch.ids.slice(middle)].map((ids) => ({
              ...batch,
              ids,
              count: ids.length,
              size: ids.length,
            }))
            this.#sender.split(queue, entry, halves)
          })
        },
      },
    )
  }

  /** Random sends and faults, then health, one more send to each partition, and silence. */
  run(batches: number): void {
    const step = () => {
      this.#addRandomBatch()
      this.#randomFault()
    }
    let at = 0
    for (let batch = 0; batch < batches; batch++) {
      at += this.#random() < 0.2 ? this.#random() * 1_500 : this.#random() * 30
      this.#schedule.at(at, step)
    }
    const after = () => this.#afterEvent()
    this.#schedule.runUntil(at + 1, after)
    this.#isHealthy = true
    this.#refresh()
    this.#schedule.runUntil(at + MAX_FREEZE_MS + REQUEST_TIMEOUT_MS + DELIVERY_TIMEOUT_MS + 1_500, after)
    const last = this.#partitions.map((_, partition) => this.#add(partition, 1))
    after()
    this.#schedule.runUntil(this.#schedule.now + 5_000, after)
    for (const id of last) {
      if (this.outcomes.get(id) !== 'confirmed')
        this.#violate(`K10: ${id} is ${this.outcomes.get(id)} though all is well`)
    }
    this.#check()
  }

  #afterEvent(): void {
    const { now } = this.#schedule
    this.#sender.run(now)
    const { wakeAt } = this.#sender
    if (wakeAt >= this.#wakeAt || wakeAt === Infinity) return
    this.#wakeAt = wakeAt
    this.#schedule.at(wakeAt, () => {
      if (this.#wakeAt <= this.#schedule.now) this.#wakeAt = Infinity
    })
  }

  #addRandomBatch(): void {
    const partition = Math.floor(this.#random() * this.#partitions.length)
    const count = this.#random() < 0.2 ? 2 * this.#faults.maxRecords : 1 + Math.floor(this.#random() * 4)
    this.#add(partition, count)
  }

  #add(partition: number, count: number): number {
    const { now } = this.#schedule
    const ids = Array.from({ length: count }, () => this.#nextId++)
    for (const id of ids) {
      this.#added.set(id, now)
      if (!this.#isHealthy && this.#random() < this.#faults.poison) this.#poisoned.add(id)
    }
    const batch: TestBatch = {
      ids,
      partition,
      count,
      size: count,
      deadline: now + DELIVERY_TIMEOUT_MS,
      readyAt: this.#random() < 0.5 ? now : now + 5,
      isClosed: false,
    }
    this.#sender.add(this.#sender.queueOf(TOPIC, partition), batch)
    return ids[0] ?? -1
  }

  #randomFault(): void {
    const { moves, freezes, restarts, forgets } = this.#faults
    const { now } = this.#schedule
    const broker = Math.floor(this.#random() * BROKERS)
    const index = Math.floor(this.#random() * this.#partitions.length)
    const partition = this.#partitions[index]
    if (partition === undefined) return
    if (this.#random() < moves) {
      partition.leader = broker
      if (this.#random() < 0.5) this.#refresh()
    }
    if (this.#random() < freezes) this.#freeze(broker, this.#random() * MAX_FREEZE_MS)
    if (this.#random() < restarts) {
      const link = this.#links.get(broker)
      if (link !== undefined) this.#end(link, 'unknown', false)
      for (const led of this.#partitions) if (led.leader === broker) led.restart()
    }
    const isIdle = this.#inNetwork[index] === 0 && now - (this.#appendedAt[index] ?? 0) > PRODUCER_EXPIRATION_MS
    if (isIdle && this.#random() < forgets) partition.forgetProducers()
  }

  #freeze(broker: number, ms: number): void {
    this.#frozenUntil[broker] = Math.max(this.#frozenUntil[broker] ?? 0, this.#schedule.now + ms)
  }

  #delay(): number {
    return !this.#isHealthy && this.#random() < 0.05 ? this.#random() * 700 : this.#random() * 8
  }

  #refresh(): void {
    this.#schedule.after(this.#delay(), () => {
      for (const [index, { leader }] of this.#partitions.entries()) {
        // A broker that lags behind names the former leader.
        if (this.#known[index] === leader || (!this.#isHealthy && this.#random() < 0.2)) continue
        this.#known[index] = leader
        this.#sender.leaderChanged(TOPIC, index)
      }
    })
  }

  #initProducerId(): void {
    const identity = { producerId: this.#nextProducer++, producerEpoch: this.#faults.firstEpoch }
    this.#schedule.after(this.#delay(), () => this.#sender.identified(identity))
  }

  #send(order: ProduceOrder<TestBatch>): void {
    const link = this.#linkTo(order.broker)
    const batches = order.parts.map(({ entry, identity }) => {
      const { batch, baseSequence } = entry
      if (!batch.isClosed) this.#violate('a batch is sent that still grows')
      this.#readers.set(batch, (this.#readers.get(batch) ?? 0) + 1)
      return { ids: batch.ids, identity, baseSequence, partition: batch.partition }
    })
    for (const { partition } of batches) this.#inNetwork[partition] = (this.#inNetwork[partition] ?? 0) + 1
    const pending: Pending = { order, batches, isRead: false }
    link.pending.push(pending)
    link.unread.push(pending)
    this.#schedule.after(this.#delay(), () => this.#read(link))
    this.#schedule.after(REQUEST_TIMEOUT_MS, () => {
      if (link.isOpen && link.pending.includes(pending)) this.#end(link, 'unknown', true)
    })
    if (this.#isHealthy) return
    const cut = this.#random()
    if (cut < this.#faults.cuts) {
      this.#schedule.after(this.#delay(), () => this.#end(link, 'unknown', this.#random() < 0.6))
    } else if (cut < 1.5 * this.#faults.cuts && link.pending.length === 1) {
      // The connection could not be opened.
      this.#schedule.after(this.#delay(), () =>
        this.#end(link, pending.isRead ? 'unknown' : 'not-sent', pending.isRead),
      )
    }
  }

  #linkTo(broker: number): Link {
    let link = this.#links.get(broker)
    if (link === undefined) {
      link = { broker, isOpen: true, isRead: true, answerAt: 0, pending: [], unread: [] }
      this.#links.set(broker, link)
    }
    return link
  }

  /** The broker reads the next request, if it still can. */
  #read(link: Link): void {
    const thaw = this.#frozenUntil[link.broker] ?? 0
    if (thaw > this.#schedule.now) return this.#schedule.at(thaw, () => this.#read(link))
    const pending = link.unread.shift()
    if (pending === undefined) return
    pending.isRead = true
    for (const { partition } of pending.batches) this.#inNetwork[partition] = (this.#inNetwork[partition] ?? 0) - 1
    if (!link.isRead) return
    const answers = pending.batches.map((batch) => this.#apply(link.broker, batch))
    if (!link.isOpen) return
    link.answerAt = Math.max(link.answerAt, this.#schedule.now + this.#delay())
    this.#schedule.at(link.answerAt, () => {
      if (!link.isOpen) return
      if (link.pending.shift() !== pending) throw new Error('the model answers out of order')
      this.#ended(pending)
      this.#sender.answered(pending.order, answers, this.#schedule.now)
    })
  }

  #apply(broker: number, batch: SentBatch & { readonly partition: number }): BatchAnswer {
    const partition = this.#partitions[batch.partition]
    if (partition === undefined || partition.leader !== broker) return answer(6)
    if (batch.ids.length > this.#faults.maxRecords) return answer(10)
    if (batch.ids.some((id) => this.#poisoned.has(id))) return answer(87)
    const chance = this.#isHealthy ? 1 : this.#random()
    if (chance < this.#faults.errors) return answer([19, 5, 2, 6][Math.floor(this.#random() * 4)] ?? 19)
    const applied = partition.append(batch)
    if (applied.errorCode === 0) this.#appendedAt[batch.partition] = this.#schedule.now
    if (applied.errorCode === 0 && chance < 1.5 * this.#faults.errors) return answer(this.#random() < 0.5 ? 7 : 20)
    return applied
  }

  #end(link: Link, outcome: 'unknown' | 'not-sent', isRead: boolean): void {
    if (!link.isOpen) return
    link.isOpen = false
    link.isRead = isRead
    this.#links.delete(link.broker)
    for (const pending of link.pending.splice(0)) {
      this.#ended(pending)
      this.#sender.lost(pending.order, connectionLost(outcome), this.#schedule.now)
    }
  }

  #ended({ order }: Pending): void {
    for (const { entry } of order.parts) this.#readers.set(entry.batch, (this.#readers.get(entry.batch) ?? 0) - 1)
  }

  #settled(batch: TestBatch, result: Confirmation | KafkaError): void {
    if ((this.#readers.get(batch) ?? 0) > 0) this.#violate(`K4: ${batch.ids[0]} is freed while it can be read`)
    const outcome = result instanceof KafkaError ? result.outcome : 'confirmed'
    const { now } = this.#schedule
    for (const id of batch.ids) {
      if (this.outcomes.has(id)) this.#violate(`K3: ${id} settles twice`)
      this.outcomes.set(id, outcome)
      const waited = now - (this.#added.get(id) ?? 0)
      if (waited > DELIVERY_TIMEOUT_MS + REQUEST_TIMEOUT_MS + 5) this.#violate(`K3: ${id} settles after ${waited} ms`)
    }
    if (result instanceof KafkaError || result.baseOffset < 0) return
    const { log } = this.#partitions[batch.partition] ?? { log: [] }
    if (batch.ids.some((id, index) => log[result.baseOffset + index] !== id)) this.#violate(`offset of ${batch.ids[0]}`)
  }

  #check(): void {
    const { isIdempotent, firstEpoch } = this.#faults
    const count = new Map<number, number>()
    for (const { log } of this.#partitions) {
      let last = -1
      for (const id of log) {
        count.set(id, (count.get(id) ?? 0) + 1)
        // A newer epoch keeps out what is still under way; a new id, after the last epoch, can't. It has ended as `unknown`.
        if (firstEpoch > 0 && this.outcomes.get(id) === 'unknown') continue
        if (isIdempotent && id < last) this.#violate(`K2: ${id} is behind ${last}`)
        last = id
      }
    }
    for (const id of this.#added.keys()) {
      const outcome = this.outcomes.get(id)
      const times = count.get(id) ?? 0
      if (outcome === undefined) this.#violate(`K3: ${id} never settles`)
      if (outcome === 'confirmed' && times === 0) this.#violate(`K1: ${id} is confirmed and lost`)
      if (times > 1 && isIdempotent) this.#violate(`K1: ${id} is ${times} times in the log (${outcome})`)
      if ((outcome === 'rejected' || outcome === 'not-sent') && times > 0) {
        this.#violate(`${id} is ${outcome}, and in the log`)
      }
    }
  }

  #violate(what: string): void {
    this.violations.push(what)
  }
}

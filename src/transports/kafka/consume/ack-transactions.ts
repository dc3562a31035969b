import { SettlementError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type { AckResult, AckWithMessages } from '../../../core/partitions/settlement.ts'
import type { Consumer, Producer, TransactionOffset } from '../../../kafka/index.ts'
import { KafkaError } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import { toPublishError } from '../errors.ts'
import type { Commits } from '../partitions/commits.ts'
import type { Delayed, Partition, PartitionDelivery } from '../partitions/partition.ts'
import { sendInTransaction, transactionalProducer } from '../publish/send-in-transaction.ts'

/** Messages that one transaction carries. */
const MOST_MESSAGES = 1_000

/** A message that waits for its time, and its copy in the retry topic, which takes its place. */
export interface Move {
  readonly partition: Partition
  readonly delayed: Delayed
  readonly copy: OutgoingMessage
}

/** What a transaction stores, and the one thing that is finished with it. */
interface Work {
  readonly owner: Partition
  readonly publish: readonly OutgoingMessage[]
  readonly delivery?: PartitionDelivery
  readonly delayed?: Delayed
  readonly done: (result: AckResult) => void
}

export interface AckTransactionsHost {
  readonly context: KafkaContext
  readonly commits: Commits
  /** Whoever takes over from this member finds its transaction by that. */
  readonly transactionalId: string | true
  /** A broadcast commits nothing: then its messages alone are a transaction. */
  readonly hasGroup: boolean
  readonly consumer: () => Consumer | undefined
  /** It is not known what became of it: everything here is lost, and whoever reads it next finds out. */
  readonly inDoubt: (error: unknown) => void
}

/**
 * Messages that are stored with the commit of what they finish, in one transaction of Kafka: acks that carry messages, and messages that
 * move to the retry topic. One transaction at a time, with all that has come up meanwhile. What can't be stored fails alone.
 */
export class AckTransactions {
  readonly #host: AckTransactionsHost
  #waiting: Work[] = []
  #producer: Producer | undefined
  #isRunning = false

  constructor(host: AckTransactionsHost) {
    this.#host = host
  }

  ack(acks: readonly AckWithMessages<Partition>[]): Promise<readonly AckResult[]> {
    return this.#add(acks.map(({ delivery, publish }) => ({ owner: delivery.owner, publish, delivery })))
  }

  move(moves: readonly Move[]): Promise<readonly AckResult[]> {
    return this.#add(moves.map(({ partition, delayed, copy }) => ({ owner: partition, publish: [copy], delayed })))
  }

  async close(deadlineMs: number): Promise<void> {
    await this.#producer?.close({ deadlineMs })
  }

  #add(works: readonly Omit<Work, 'done'>[]): Promise<readonly AckResult[]> {
    const results = works.map((work) => new Promise<AckResult>((done) => this.#waiting.push({ ...work, done })))
    void this.#run()
    return Promise.all(results)
  }

  async #run(): Promise<void> {
    if (this.#isRunning) return
    this.#isRunning = true
    while (this.#waiting.length > 0) {
      let count = 0
      for (let messages = 0; count < this.#waiting.length && (count === 0 || messages < MOST_MESSAGES); count++)
        messages += this.#waiting[count]?.publish.length ?? 0
      await this.#store(this.#waiting.splice(0, count))
    }
    this.#isRunning = false
  }

  /** Halves what can't be stored, until what is to blame is alone. Never rejects. */
  async #store(works: readonly Work[]): Promise<void> {
    const alive = works.filter((work) => {
      if (isOurs(work)) return true
      work.done(lostError())
      return false
    })
    if (alive.length === 0) return
    const partitions = [...new Set(alive.map(({ owner }) => owner))]
    const spans = new Map(partitions.map((partition) => [partition, partition.span]))
    // A handover that has begun meanwhile waits for this, and must find what the transaction has finished.
    const isStored = (work: Work): boolean => work.owner.span === spans.get(work.owner) && isHere(work)
    try {
      await this.#transact(alive, partitions)
      for (const [partition, some] of Map.groupBy(alive.filter(isStored), ({ owner }) => owner)) {
        const deliveries = some.map(({ delivery }) => delivery).filter((each) => each !== undefined)
        const moved = some.map(({ delayed }) => delayed).filter((each) => each !== undefined)
        this.#host.commits.confirmed(partition, deliveries, moved)
      }
      for (const { done } of alive) done(undefined)
    } catch (error) {
      this.#notEnding(alive)
      if (error instanceof KafkaError && error.action === 'fenced') this.#replaceProducer()
      const outcome = error instanceof KafkaError ? error.outcome : 'not-sent'
      if (outcome === 'unknown') {
        this.#host.inDoubt(error)
        for (const { done } of alive) done(lostError())
      } else if (alive.length > 1 && isAboutOne(error)) {
        const half = alive.length >> 1
        await this.#store(alive.slice(0, half))
        await this.#store(alive.slice(half))
      } else for (const work of alive) work.done(failureOf(error, work))
    } finally {
      this.#host.commits.release(partitions)
    }
  }

  /** Nothing was stored: what was to be given back meanwhile goes back now. */
  #notEnding(works: readonly Work[]): void {
    const now = this.#host.context.host.clock.now()
    for (const { delivery } of works) if (delivery !== undefined) delivery.isEnding = false
    for (const { owner } of works) if (owner.mine && owner.hasGivenBack) owner.giveBack(now)
  }

  /** Another member has taken this one for dead, and ended its transaction. The group decides whether that is so: the id is taken again. */
  #replaceProducer(): void {
    const former = this.#producer
    this.#producer = undefined
    void former?.close({ deadlineMs: 0 }).catch(() => {})
  }

  async #transact(works: readonly Work[], partitions: readonly Partition[]): Promise<void> {
    const { context, commits } = this.#host
    const batch = works.flatMap(({ publish }) => publish)
    await Promise.all([...new Set(batch.map(({ topic }) => topic))].map((topic) => context.topics.ensure(topic)))
    // A commit beside it could undo what it commits.
    await commits.hold(partitions)
    const consumer = this.#host.consumer()
    if (consumer === undefined || !partitions.every(({ mine }) => mine)) throw notOurs()
    this.#producer ??= transactionalProducer(context, this.#host.transactionalId)
    await this.#producer.transaction(async (transaction) => {
      await sendInTransaction(context, transaction, batch)
      if (!works.every(isOurs)) throw notOurs()
      for (const { delivery } of works) if (delivery !== undefined) delivery.isEnding = true
      const ending = new Set(works.flatMap(({ delivery, delayed }) => delivery ?? delayed ?? []))
      const offsets: TransactionOffset[] = partitions.map((partition) => commits.offsetOf(partition, ending))
      if (this.#host.hasGroup) transaction.offsets(consumer, offsets)
    })
  }
}

/** Whether a transaction may begin with it. */
function isOurs(work: Work): boolean {
  // What is handed over is committed outside of transactions, and waits for its next owner where it is.
  return isHere(work) && (work.delayed === undefined || !work.owner.leaving)
}

function isHere({ owner, delivery, delayed }: Work): boolean {
  if (!owner.mine) return false
  if (delayed !== undefined) return owner.delayed.get(delayed.place) === delayed
  return delivery !== undefined && !delivery.lost && !delivery.settled
}

function failureOf(error: unknown, work: Work): AckResult {
  // What is still ours is settled again: the member is between two generations of its group, perhaps.
  if (!isOurs(work)) return lostError()
  return toPublishError(error, work.publish[0]?.topic ?? '', 'not-sent')
}

/** Another half may succeed: what the cluster or the group is to blame for would fail again at once. */
function isAboutOne(error: unknown): boolean {
  return error instanceof KafkaError && !error.retriable && error.action !== 'rejoin' && error.action !== 'fenced'
}

function notOurs(): KafkaError {
  return new KafkaError('a partition was lost before the transaction was committed', {
    code: 'PARTITION_LOST',
    action: 'rejoin',
    outcome: 'not-sent',
  })
}

function lostError(): SettlementError {
  return new SettlementError('The partition was lost before the settlement was stored; the message is delivered again')
}

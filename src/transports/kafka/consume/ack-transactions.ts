import { SettlementError } from '../../../core/errors.ts'
import type { OutgoingMessage } from '../../../core/message.ts'
import type { AckResult, AckWithMessages } from '../../../core/partitions/settlement.ts'
import type { Consumer, Producer, TransactionOffset } from '../../../kafka/index.ts'
import { KafkaError } from '../../../kafka/index.ts'
import type { KafkaContext } from '../context.ts'
import { toPublishError } from '../errors.ts'
import type { Commits } from '../partitions/commits.ts'
import type { Partition, PartitionDelivery } from '../partitions/partition.ts'
import { sendInTransaction, transactionalProducer } from '../publish/send-in-transaction.ts'

/** Messages that one transaction carries. */
const MOST_MESSAGES = 1_000

interface Waiting extends AckWithMessages<Partition> {
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
 * Acks that carry messages: the messages and the commit of their partitions are one transaction of Kafka, one at a time, with all that
 * has come up meanwhile. One that can't be stored fails alone.
 */
export class AckTransactions {
  readonly #host: AckTransactionsHost
  #waiting: Waiting[] = []
  #producer: Producer | undefined
  #isRunning = false

  constructor(host: AckTransactionsHost) {
    this.#host = host
  }

  ack(acks: readonly AckWithMessages<Partition>[]): Promise<readonly AckResult[]> {
    const results = acks.map((ack) => new Promise<AckResult>((done) => this.#waiting.push({ ...ack, done })))
    void this.#run()
    return Promise.all(results)
  }

  async close(deadlineMs: number): Promise<void> {
    await this.#producer?.close({ deadlineMs })
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
  async #store(acks: readonly Waiting[]): Promise<void> {
    const alive = acks.filter(({ delivery, done }) => {
      if (isOurs(delivery)) return true
      done(lostError())
      return false
    })
    if (alive.length === 0) return
    const partitions = [...new Set(alive.map(({ delivery }) => delivery.owner))]
    try {
      await this.#transact(alive, partitions)
      const ended = alive.map(({ delivery }) => delivery).filter(isOurs)
      for (const [partition, some] of Map.groupBy(ended, ({ owner }) => owner))
        this.#host.commits.confirmed(partition, some)
      for (const { done } of alive) done(undefined)
    } catch (error) {
      if (error instanceof KafkaError && error.action === 'fenced') this.#replaceProducer()
      const outcome = error instanceof KafkaError ? error.outcome : 'not-sent'
      if (outcome === 'unknown') {
        this.#host.inDoubt(error)
        for (const { done } of alive) done(lostError())
      } else if (alive.length > 1 && isAboutOne(error)) {
        const half = alive.length >> 1
        await this.#store(alive.slice(0, half))
        await this.#store(alive.slice(half))
      } else for (const { delivery, publish, done } of alive) done(this.#failure(error, delivery, publish))
    } finally {
      this.#host.commits.release(partitions)
    }
  }

  /** Another member has taken this one for dead, and ended its transaction. The group decides whether that is so: the id is taken again. */
  #replaceProducer(): void {
    const former = this.#producer
    this.#producer = undefined
    void former?.close({ deadlineMs: 0 }).catch(() => {})
  }

  async #transact(acks: readonly Waiting[], partitions: readonly Partition[]): Promise<void> {
    const { context, commits } = this.#host
    const batch = acks.flatMap(({ publish }) => publish)
    await Promise.all([...new Set(batch.map(({ topic }) => topic))].map((topic) => context.topics.ensure(topic)))
    // A commit beside it could undo what it commits.
    await commits.hold(partitions)
    const consumer = this.#host.consumer()
    if (consumer === undefined || !partitions.every(({ mine }) => mine)) throw notOurs()
    this.#producer ??= transactionalProducer(context, this.#host.transactionalId)
    await this.#producer.transaction(async (transaction) => {
      await sendInTransaction(context, transaction, batch)
      if (!acks.every(({ delivery }) => isOurs(delivery))) throw notOurs()
      const ending = new Set(acks.map(({ delivery }) => delivery))
      const offsets: TransactionOffset[] = partitions.map((partition) => commits.offsetOf(partition, ending))
      if (this.#host.hasGroup) transaction.offsets(consumer, offsets)
    })
  }

  #failure(error: unknown, delivery: PartitionDelivery, publish: readonly OutgoingMessage[]): AckResult {
    // One that is still ours is settled again: the member is between two generations of its group, perhaps.
    if (!isOurs(delivery)) return lostError()
    return toPublishError(error, publish[0]?.topic ?? '', 'not-sent')
  }
}

function isOurs({ lost, settled, owner }: PartitionDelivery): boolean {
  return !lost && !settled && owner.mine
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

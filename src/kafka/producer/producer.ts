import type { CloseOptions } from '../close-deadline.ts'
import { Closing } from '../closing.ts'
import type { Cluster } from '../cluster/cluster.ts'
import { closedError } from '../cluster/cluster-errors.ts'
import type { Connections } from '../cluster/connections.ts'
import { KafkaError, UnencodableError } from '../errors.ts'
import { systemClock } from '../network/clock.ts'
import type { Clock } from '../network/clock.ts'
import { kindOf } from '../options-reader.ts'
import { Settlement } from './deliveries.ts'
import type { SentRange, SentRecord } from './deliveries.ts'
import type { BatchEvent } from './producer-hooks.ts'
import { producerSettingsOf } from './producer-options.ts'
import type { ProducerOptions } from './producer-options.ts'
import type { ProducerRecord, RecordContent } from './producer-record.ts'
import { RecordSender } from './record-sender.ts'
import { ManyCall, SingleCall } from './send-calls.ts'
import { groupOffsetsOf } from './group-offsets.ts'
import type { OffsetsFrom } from './group-offsets.ts'
import type { SendOptions, Transaction } from './transaction.ts'
import type { TransactionOffset } from './transaction-requests.ts'
import { TransactionRequests } from './transaction-requests.ts'
import { stateError, Transactions } from './transactions.ts'

export interface ProducerContext {
  readonly cluster: Cluster
  /** The same as the cluster's. */
  readonly clock?: Clock
  readonly random?: () => number
  /** Milliseconds since 1970, for records without a timestamp. @default Date.now */
  readonly wallClock?: () => number
  /** Called synchronously when a batch has been settled. What it throws is ignored. */
  readonly onBatch?: ((event: BatchEvent) => void) | undefined
  /** Called once, when it has been closed. */
  readonly onClosed?: (producer: Producer) => void
}

const DEFAULT_CLOSE_MS = 30_000

/**
 * Writes records. Each call returns one promise, which settles within the delivery timeout plus one request timeout. With acks `all`, a
 * confirmed record is in the log exactly once, and each partition has the order of the calls. Other records fail with a
 * {@link KafkaError}, whose `outcome` says whether the record may be in the log: `not-sent` and `rejected` mean no, `unknown` means maybe.
 * A promise that you don't await doesn't crash the process when it rejects.
 */
export class Producer {
  readonly #records: RecordSender
  readonly #coordinators: Connections
  readonly #transactions: Transactions | undefined
  readonly #wallClock: () => number
  readonly #onClosed: ((producer: Producer) => void) | undefined
  readonly #closing: Closing
  /** Transactions run one after the other. */
  #turn: Promise<unknown> = Promise.resolve()

  /** @internal */
  constructor(options: ProducerOptions, context: ProducerContext) {
    const { cluster, clock = systemClock, random = Math.random, wallClock = Date.now } = context
    const settings = producerSettingsOf(options, cluster.requestTimeoutMs)
    const connections = cluster.connections({ purpose: 'data' })
    const { transactionalId, transactionTimeoutMs, deliveryTimeoutMs } = settings
    const timeoutMs = deliveryTimeoutMs
    this.#coordinators = cluster.connections({ purpose: 'transactions' })
    const requests = new TransactionRequests({
      cluster,
      connections: this.#coordinators,
      transactionTimeoutMs,
      timeoutMs,
    })
    const transactions =
      transactionalId === undefined
        ? undefined
        : new Transactions({ requests, transactionalId, records: () => this.#records })
    this.#records = new RecordSender({
      cluster,
      connections,
      settings,
      clock,
      random,
      producerId: (signal) => requests.producerId(signal),
      transaction: transactions,
      onBatch: context.onBatch,
    })
    this.#transactions = transactions
    this.#closing = new Closing(clock, 'producer.close', DEFAULT_CLOSE_MS)
    this.#wallClock = wallClock
    this.#onClosed = context.onClosed
  }

  /**
   * The id of its transactions; undefined without transactions. A generated id changes after the producer was fenced.
   */
  get transactionalId(): string | undefined {
    return this.#transactions?.stamp().transactionalId
  }

  /** Memory of unsettled batches, in bytes. */
  get bufferedBytes(): number {
    return this.#records.bufferedBytes
  }

  /**
   * Writes one record. Calls in the same turn of the event loop share a batch, and so do calls that wait while five requests are on the way
   * to a broker, so awaiting each call is fast as long as many run concurrently. A record that can't be written is refused right away. If the
   * topic doesn't exist, the call waits for it for at most 10 s.
   *
   * ```ts
   * const { partition, offset } = await producer.send({ topic: 'orders', key: 'a', value: '{"total":42}' })
   * ```
   */
  send(record: ProducerRecord, options?: SendOptions): Promise<SentRecord> {
    return this.#send(record, options, this.#refusal())
  }

  /**
   * Writes many records to one topic, with one promise: the fastest way to write. Resolves with the ranges where they were written, in no
   * particular order. Rejects, once all records have settled, with a {@link SendManyError} that lists those that were not confirmed. Don't
   * change the array or its bytes until then.
   */
  sendMany(topic: string, records: readonly RecordContent[], options?: SendOptions): Promise<readonly SentRange[]> {
    return this.#sendMany(topic, records, options, this.#refusal())
  }

  /**
   * Runs `work` in a transaction, which is committed when `work` returns and aborted when it throws. Resolves with what `work` returned, once
   * the transaction is committed. Rejects with what `work` threw, or with a {@link KafkaError}. If its `outcome` is `unknown`, the
   * transaction may have been committed; otherwise it was not. `action` `abort`: you can try the same work again, after a pause. `fatal`: it
   * would fail again. `fenced`: another producer has the transactional id, or the transaction took longer than its timeout. Others: it has
   * not started. Transactions run one at a time.
   *
   * ```ts
   * await producer.transaction(async (tx) => {
   *   await tx.send({ topic: 'invoices', key: order.id, value: invoice })
   *   tx.offsets(batch)
   * })
   * ```
   */
  transaction<T>(work: (transaction: Transaction) => Promise<T> | T): Promise<T> {
    const turn = this.#turn.then(() => this.#transact(work))
    this.#turn = turn.catch(() => {})
    return turn
  }

  /**
   * Sends batches that are waiting for more records. Resolves when all earlier sends have settled, whether they
   * succeeded or failed.
   */
  flush(): Promise<void> {
    return this.#records.flush()
  }

  /**
   * Accepts no more records, sends what it has, and closes its connections within `deadlineMs` (default 30,000); what
   * is not confirmed by then fails. A running transaction may end in that time; otherwise the broker aborts it. Safe
   * to call again, also from hooks; a later call can only shorten the deadline.
   */
  close(options: CloseOptions = {}): Promise<void> {
    return this.#closing.run(options, () => this.#close())
  }

  /** Called at the end of an `await using`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close()
  }

  async #close(): Promise<void> {
    const { deadline } = this.#closing
    const finished = this.#transactions === undefined ? this.flush() : this.#turn
    await Promise.race([finished, deadline.passed])
    deadline.end()
    this.#records.close()
    this.#coordinators.close()
    this.#onClosed?.(this)
  }

  #refusal(): KafkaError | undefined {
    if (this.#closing.hasBegun) return closedError()
    return this.#transactions === undefined ? undefined : stateError('a transactional producer sends in transactions')
  }

  #send(record: ProducerRecord, options: SendOptions | undefined, refusal: KafkaError | undefined) {
    const misuse = misuseOf(record?.topic)
    if (misuse !== undefined) return rejected<SentRecord>(misuse)
    const call = new SingleCall(record.topic, record, this.#wallClock())
    if (refusal === undefined) this.#records.submit(record.topic, call, options?.signal)
    else call.fail(refusal)
    return call.delivery.promise
  }

  #sendMany(
    topic: string,
    records: readonly RecordContent[],
    options: SendOptions | undefined,
    refusal: KafkaError | undefined,
  ) {
    const misuse = misuseOf(topic, records)
    if (misuse !== undefined) return rejected<readonly SentRange[]>(misuse)
    const call = new ManyCall(topic, records, this.#wallClock())
    if (refusal === undefined) this.#records.submit(topic, call, options?.signal)
    else call.fail(refusal)
    return call.delivery.promise
  }

  async #transact<T>(work: (transaction: Transaction) => Promise<T> | T): Promise<T> {
    const transactions = this.#transactions
    if (transactions === undefined) throw stateError('this producer has no transactionalId')
    if (this.#closing.hasBegun) throw closedError()
    await transactions.begin()
    let isOpen = true
    const refusal = () => (isOpen ? transactions.refusal : stateError('the transaction has ended'))
    const transaction: Transaction = {
      send: (record, options) => transactions.watch(this.#send(record, options, refusal())),
      sendMany: (topic, records, options) => transactions.watch(this.#sendMany(topic, records, options, refusal())),
      offsets: (from: OffsetsFrom, offsets?: readonly TransactionOffset[]) => {
        const reason = refusal()
        if (reason !== undefined) throw reason
        transactions.offsets(() => groupOffsetsOf(from, offsets))
      },
    }
    try {
      const result = await work(transaction)
      isOpen = false
      await transactions.commit()
      return result
    } catch (error) {
      isOpen = false
      const reason = transactions.reasonFor(error)
      await transactions.abort(aborted(error))
      throw reason
    }
  }
}

function aborted(cause: unknown): KafkaError {
  const message = 'the transaction was aborted'
  return new KafkaError(message, { code: 'TRANSACTION_ABORTED', action: 'abort', outcome: 'not-sent', cause })
}

/** What a type checker would have found. */
function misuseOf(topic: unknown, records: unknown = []): KafkaError | undefined {
  if (typeof topic !== 'string' || topic === '') {
    return new UnencodableError(`the topic is ${kindOf(topic)}: give its name, as in send({ topic: 'orders', value })`)
  }
  if (Array.isArray(records)) return undefined
  return new UnencodableError(`the records for ${topic} are ${kindOf(records)}: give an array of { key, value }`)
}

function rejected<T>(error: KafkaError): Promise<T> {
  const settlement = new Settlement<T>()
  settlement.reject(error)
  return settlement.promise
}

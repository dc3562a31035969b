import { backoffMs } from '../../cluster/backoff.ts'
import type { Connections } from '../../cluster/connections.ts'
import { errorFromBroker, KafkaError, MalformedError } from '../../errors.ts'
import type { ShareFetchResponse } from '../../protocol/generated/api-types.ts'
import { readRecords } from '../../records/read-records.ts'
import { scanBatches } from '../../records/record-batch.ts'
import type { KafkaRecord } from '../../records/record.ts'
import type { ConsumerContext } from '../consumer-context.ts'
import type { AcquireMode } from './share-options.ts'
import { keyOf, ShareSession } from './share-session.ts'
import type { Said, SharePartition } from './share-session.ts'

export interface ShareBrokerOptions {
  readonly groupId: string
  readonly memberId: string
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly acquireMode: AcquireMode
}

export interface Acquired {
  readonly partition: SharePartition
  readonly record: KafkaRecord
  readonly deliveryCount: number
  readonly generation: number
  readonly lockMs: number
  /** Counted from when the fetch was sent: the lock has not begun earlier. */
  readonly lockEndsAt: number
}

export interface ShareBrokerEffects {
  /** How many more records this broker may be asked for. */
  room(): number
  /** The broker has answered what was said; `errors`: of the partitions where it does not count. */
  answered(broker: ShareBroker, said: Said, errors: ReadonlyMap<string, KafkaError>): void
  acquired(broker: ShareBroker, records: readonly Acquired[]): void
  /** Locks that were asked for again last so long from when they were asked for. */
  renewed(broker: ShareBroker, lockMs: number, askedAt: number): void
  /** What was said in the session, or acquired, does not count, or may not. */
  sessionLost(broker: ShareBroker, error: KafkaError): void
  failed(error: KafkaError): void
  /** Nothing is on its way: there may be more to send. */
  ended(broker: ShareBroker): void
}

type PartitionAnswer = ShareFetchResponse['responses'][number]['partitions'][number]

/** Of one answer; more is not believed. */
const MAX_ACQUIRED = 1_000_000
const BATCH_RECORDS = 500
const RECORD_LIMIT = 1
const NO_RECORDS = Buffer.alloc(0)

/** Fetches and acknowledges at one broker, one request at a time: each has the next epoch of the session. */
export class ShareBroker {
  readonly session: ShareSession = new ShareSession()
  readonly #nodeId: number
  readonly #context: ConsumerContext
  readonly #connections: Connections
  readonly #options: ShareBrokerOptions
  readonly #effects: ShareBrokerEffects
  #running: Promise<void> | undefined
  #failures = 0
  #notBefore = -Infinity
  #isClosed = false
  /** Locks are to be renewed now. */
  mustRenew = false

  constructor(
    nodeId: number,
    context: ConsumerContext,
    connections: Connections,
    options: ShareBrokerOptions,
    effects: ShareBrokerEffects,
  ) {
    this.#nodeId = nodeId
    this.#context = context
    this.#connections = connections
    this.#options = options
    this.#effects = effects
  }

  get notBefore(): number {
    return this.#notBefore
  }

  /** Sends what there is to be sent, if nothing is on its way. `wanted`: what this broker leads and the member reads. */
  poke(wanted: readonly SharePartition[]): void {
    if (this.#running !== undefined || this.#isClosed || this.#context.clock.now() < this.#notBefore) return
    const room = this.#effects.room()
    const { session } = this
    let sending: Promise<void> | undefined
    if (!session.isNew && (this.mustRenew || (session.hasPending && room === 0))) sending = this.#acknowledge(false)
    else if (wanted.length > 0 && room > 0) sending = this.#fetch(wanted, room)
    else if (!session.isNew && session.hasPending) sending = this.#acknowledge(false)
    if (sending === undefined) return
    this.#running = sending
      .catch((error: unknown) => this.#failed(error))
      .finally(() => {
        this.#running = undefined
        this.#effects.ended(this)
      })
  }

  /** Resolves when the request that is on its way has ended. */
  get idle(): Promise<void> {
    return this.#running ?? Promise.resolve()
  }

  /** Says what is left to say, and ends the session: the broker releases everything else. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.idle
    if (this.session.isNew || !this.#connections.isOpen(this.#nodeId)) return
    try {
      await this.#acknowledge(true)
    } catch (error) {
      // Locks end by themselves.
      if (!(error instanceof KafkaError)) throw error
    }
  }

  async #fetch(wanted: readonly SharePartition[], room: number): Promise<void> {
    const { groupId, memberId, maxWaitMs, maxBytes, acquireMode } = this.#options
    const { part, said } = this.session.fetch(wanted)
    const maxRecords = Math.min(room, MAX_ACQUIRED)
    // Verdicts are answered with the records: they don't wait for more.
    const waitMs = said.size > 0 ? 0 : maxWaitMs
    const limits = {
      maxWaitMs: waitMs,
      minBytes: 1,
      maxBytes,
      maxRecords,
      batchSize: Math.min(maxRecords, BATCH_RECORDS),
    }
    // What brokers do that have no other mode is the default: it need not be asked for.
    const fetch = acquireMode === 'record_limit' ? { ...limits, shareAcquireMode: RECORD_LIMIT } : limits
    const askedAt = this.#context.clock.now()
    const { response } = await this.#connections.send(
      this.#nodeId,
      'ShareFetch',
      { groupId, memberId, ...fetch, ...part },
      { waitMs },
    )
    if (response.errorCode !== 0) throw errorFromBroker(response.errorCode, 'ShareFetch', response.errorMessage)
    this.session.answered()
    this.#succeeded()
    const codes = response.responses.flatMap(({ topicId, partitions }) =>
      partitions.map((each) => ({ key: keyOf({ topicId, partition: each.partitionIndex }), each })),
    )
    this.#answered(said, codes, ({ acknowledgeErrorCode }) => acknowledgeErrorCode, 'ShareFetch')
    const records: Acquired[] = []
    for (const { topicId, partitions } of response.responses) {
      for (const answer of partitions) {
        const partition = { topicId, partition: answer.partitionIndex }
        if (answer.errorCode === 0) records.push(...(await this.#read(partition, answer, response, askedAt)))
        else this.#partitionFailed(answer.errorCode, 'ShareFetch')
      }
    }
    if (records.length > 0) this.#effects.acquired(this, records)
  }

  async #acknowledge(isFinal: boolean): Promise<void> {
    const { groupId, memberId } = this.#options
    const askedAt = this.#context.clock.now()
    const { part, said } = this.session.acknowledge(isFinal)
    this.mustRenew = false
    const { response } = await this.#connections.send(this.#nodeId, 'ShareAcknowledge', (version) => {
      const { isRenewAck, ...rest } = part
      return { groupId, memberId, ...rest, ...(version < 2 ? {} : { isRenewAck: isRenewAck === true }) }
    })
    if (response.errorCode !== 0) throw errorFromBroker(response.errorCode, 'ShareAcknowledge', response.errorMessage)
    this.session.answered()
    this.#succeeded()
    const codes = response.responses.flatMap(({ topicId, partitions }) =>
      partitions.map((each) => ({ key: keyOf({ topicId, partition: each.partitionIndex }), each })),
    )
    this.#answered(said, codes, ({ errorCode }) => errorCode, 'ShareAcknowledge')
    if (part.isRenewAck === true && response.acquisitionLockTimeoutMs > 0) {
      this.#effects.renewed(this, response.acquisitionLockTimeoutMs, askedAt)
    }
  }

  /** Before what was acquired: a record that was released may come again in the same answer. */
  #answered<Each>(
    said: Said,
    answers: readonly { readonly key: string; readonly each: Each }[],
    codeOf: (each: Each) => number,
    api: string,
  ): void {
    if (said.size === 0) return
    const errors = new Map<string, KafkaError>()
    for (const { key, each } of answers) {
      const code = codeOf(each)
      if (code !== 0) errors.set(key, errorFromBroker(code, api))
    }
    this.#effects.answered(this, said, errors)
  }

  /** The records that were acquired, of those that came. An offset without a record is said to be a gap. */
  async #read(
    partition: SharePartition,
    { records, acquiredRecords }: PartitionAnswer,
    { acquisitionLockTimeoutMs: lockMs }: ShareFetchResponse,
    askedAt: number,
  ): Promise<readonly Acquired[]> {
    const { generation } = this.session
    const lockEndsAt = askedAt + lockMs
    const found = new Map<number, KafkaRecord>()
    const damaged: (readonly [number, number])[] = []
    for (const batch of scanBatches(records ?? NO_RECORDS)) {
      if (batch.isControl) continue
      try {
        for (const record of await readRecords(batch)) found.set(record.offset, record)
      } catch (error) {
        if (!(error instanceof MalformedError)) throw error
        damaged.push([batch.baseOffset, batch.lastOffset])
        this.#effects.failed(error)
      }
    }
    const acquired: Acquired[] = []
    for (const { firstOffset, lastOffset, deliveryCount } of acquiredRecords) {
      if (lastOffset - firstOffset > MAX_ACQUIRED) {
        throw new MalformedError('INVALID_VALUE', `${lastOffset - firstOffset} records were acquired at once`)
      }
      for (let offset = firstOffset; offset <= lastOffset; offset++) {
        const record = found.get(offset)
        if (record !== undefined) acquired.push({ partition, record, deliveryCount, generation, lockMs, lockEndsAt })
        else {
          const isDamaged = damaged.some(([first, last]) => offset >= first && offset <= last)
          this.session.say(partition, offset, isDamaged ? 'reject' : 'gap', generation)
        }
      }
    }
    return acquired
  }

  #partitionFailed(errorCode: number, api: string): void {
    const error = errorFromBroker(errorCode, api)
    this.#context.cluster.wantRefresh()
    this.#notBefore = this.#context.clock.now() + backoffMs(++this.#failures, this.#context.random())
    if (!error.retriable) this.#effects.failed(error)
  }

  #succeeded(): void {
    this.#failures = 0
    this.#notBefore = -Infinity
  }

  #failed(error: unknown): void {
    if (!(error instanceof KafkaError)) throw error
    this.session.lost()
    this.#notBefore = this.#context.clock.now() + backoffMs(++this.#failures, this.#context.random())
    this.#context.cluster.wantRefresh()
    this.#effects.sessionLost(this, error)
    const isAboutMember = error.action === 'rejoin'
    if (!error.retriable && !isAboutMember && !this.#isClosed) this.#effects.failed(error)
  }
}

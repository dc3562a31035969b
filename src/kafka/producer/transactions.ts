import { randomUUID } from 'node:crypto'
import { KafkaError } from '../errors.ts'
import { withOutcome } from '../network/connection-errors.ts'
import { joinedOffsets } from './group-offsets.ts'
import type { GroupOffsets } from './group-offsets.ts'
import type { TransactionStamp } from './produce-requests.ts'
import type { Identity } from './partition-queue.ts'
import type { TransactionRequests } from './transaction-requests.ts'
import { TransactionState } from './transaction-state.ts'

export interface TransactionsOptions {
  readonly requests: TransactionRequests
  /** `true`: an id of its own. */
  readonly transactionalId: string | true
  readonly records: () => RecordsPort
}

/** What sends the records of the transactions. */
interface RecordsPort {
  identified(identity: Identity): void
  flush(): Promise<void>
  abandon(error: KafkaError): Promise<void>
  wake(): void
  wakeAll(): void
}

/** The transactions of one producer, one after the other: asks its coordinators what the state machine wants. */
export class Transactions {
  readonly #options: TransactionsOptions
  readonly #state = new TransactionState()
  readonly #hasOwnId: boolean
  #transactionalId: string
  #groups = new Map<string, GroupOffsets>()
  #adding: Promise<void> | undefined
  /** Numbers were given to batches that were then abandoned: without a new epoch, the next ones would leave a gap. */
  #needsNewEpoch = false
  /** The failure for which what was left of the transaction has been given up. */
  #abandonedFor: KafkaError | undefined

  constructor(options: TransactionsOptions) {
    this.#options = options
    this.#hasOwnId = options.transactionalId === true
    this.#transactionalId = options.transactionalId === true ? randomUUID() : options.transactionalId
  }

  stamp(): TransactionStamp {
    return { transactionalId: this.#transactionalId, isV2: this.#state.isV2 }
  }

  mayProduce(topic: string, partition: number): boolean {
    return this.#state.mayProduce(topic, partition)
  }

  /** A send of the transaction: if it fails, so does the commit. */
  watch<T>(sending: Promise<T>): Promise<T> {
    sending.catch((error: KafkaError) => {
      this.#state.failed(error)
      this.#records.wake()
    })
    return sending
  }

  /** Undefined while records and offsets may be added. */
  get refusal(): KafkaError | undefined {
    if (this.#state.phase === 'open') return undefined
    return this.#state.error ?? stateError('the transaction has ended')
  }

  /** Asks the coordinator for the partitions that are wanted, one request at a time. After a failure, the rest is not sent. */
  afterRun(): void {
    const { phase, error } = this.#state
    if (phase === 'abortable' && error !== undefined && error !== this.#abandonedFor) {
      this.#abandonedFor = error
      void this.#records.abandon(error)
    }
    if (this.#adding !== undefined) return
    const topics = this.#state.takeWanted()
    if (topics === undefined) return
    this.#adding = this.#addPartitions(topics).finally(() => {
      this.#adding = undefined
      this.#records.wakeAll()
    })
  }

  get #records(): RecordsPort {
    return this.#options.records()
  }

  async begin(): Promise<void> {
    const { phase, error } = this.#state
    if (phase === 'fenced' && error !== undefined) throw notBegun(error)
    if (phase === 'uninit') {
      await this.#initialize().catch((reason: unknown) => {
        throw notBegun(reason)
      })
    }
    this.#groups = new Map()
    this.#state.begin()
  }

  /** Throws if they can't be committed; then nothing of the transaction can, even if the caller goes on. */
  offsets(take: () => GroupOffsets): void {
    try {
      const added = take()
      const { groupId } = added.group
      this.#groups.set(groupId, joinedOffsets(this.#groups.get(groupId), added))
    } catch (error) {
      if (!(error instanceof KafkaError)) throw error
      this.#state.failed(error)
      this.#records.wake()
      throw this.#state.error ?? error
    }
  }

  /** Rejects if anything of the transaction has failed; it must be aborted then. */
  async commit(): Promise<void> {
    await this.#records.flush()
    await this.#commitOffsets()
    if (this.#state.error !== undefined) throw this.#state.error
    if (!this.#state.isTouched) return this.#state.ended(undefined)
    await this.#end(true)
  }

  /** What the transaction rejects with if its work has thrown this: what one of its sends threw says less than what follows from it. */
  reasonFor(thrown: unknown): unknown {
    const { error } = this.#state
    return error !== undefined && error.cause === thrown ? error : thrown
  }

  /** Does not reject: what can't be aborted now is aborted by the coordinator, at the latest when the producer id is asked for again. */
  async abort(reason: KafkaError): Promise<void> {
    const { phase } = this.#state
    if (phase !== 'open' && phase !== 'abortable') return
    this.#state.failed(reason)
    await this.#records.abandon(reason)
    await this.#adding
    if (!this.#state.isTouched) return this.#state.ended(undefined)
    this.#needsNewEpoch = true
    await this.#end(false).catch(() => {})
  }

  async #initialize(): Promise<void> {
    const { requests } = this.#options
    const former = this.#state.identity
    try {
      const { identity, isV2 } = await requests.initialize(this.#transactionalId, former)
      this.#needsNewEpoch = false
      this.#state.initialized(identity, isV2)
      this.#records.identified(identity)
    } catch (error) {
      if (!isFenced(error)) throw error
      this.#fenced(error)
      if (!this.#hasOwnId) throw error
      await this.#initialize()
    }
  }

  async #addPartitions(topics: NonNullable<ReturnType<TransactionState['takeWanted']>>): Promise<void> {
    const { requests } = this.#options
    const { identity } = this.#state
    try {
      if (identity === undefined) throw stateError('there is no producer id')
      await requests.addPartitions(this.#transactionalId, identity, topics)
      this.#state.added(topics)
    } catch (error) {
      this.#state.failed(error as KafkaError)
    }
  }

  async #commitOffsets(): Promise<void> {
    const { requests } = this.#options
    const { identity, isV2 } = this.#state
    for (const { group, offsets } of this.#groups.values()) {
      if (this.#state.phase !== 'open' || identity === undefined) return
      if (offsets.length === 0) continue
      this.#state.touched()
      try {
        await requests.commitOffsets(this.#transactionalId, identity, isV2, group, offsets)
      } catch (error) {
        this.#state.failed(error as KafkaError)
      }
    }
    // The coordinator may have taken them late, when this member had come back, and has read from what was committed before.
    for (const { group, isHeld } of this.#groups.values()) if (!isHeld()) this.#state.failed(lostOffsets(group.groupId))
  }

  async #end(committed: boolean): Promise<void> {
    const { requests } = this.#options
    const { identity, isV2 } = this.#state
    if (identity === undefined) return this.#state.lost()
    this.#state.ending()
    try {
      const next = await requests.end(this.#transactionalId, identity, isV2, committed)
      if (next === undefined && this.#needsNewEpoch) return this.#state.lost()
      this.#needsNewEpoch = false
      this.#state.ended(next)
      if (next !== undefined) this.#records.identified(next)
    } catch (error) {
      const isCertain = error instanceof KafkaError && error.outcome !== 'unknown' && error.action !== 'fenced'
      if (committed && isCertain) this.#state.refused(error)
      // Whether another producer has the id, or the coordinator has only lost patience, shows when the producer id is asked for again.
      else this.#state.lost()
      throw error
    }
  }

  #fenced(error: KafkaError): void {
    this.#state.fenced(error, this.#hasOwnId)
    if (this.#hasOwnId) this.#transactionalId = randomUUID()
  }
}

function lostOffsets(groupId: string): KafkaError {
  const message = `group ${groupId} took back a partition of the transaction's offsets before they were committed`
  return new KafkaError(message, { code: 'NOT_A_MEMBER', action: 'rejoin', outcome: 'not-sent' })
}

/** What may have happened to the request for a producer id is nothing to the caller. */
function notBegun(error: unknown): unknown {
  return error instanceof KafkaError ? withOutcome(error, 'not-sent') : error
}

function isFenced(error: unknown): error is KafkaError {
  return error instanceof KafkaError && error.action === 'fenced'
}

export function stateError(message: string): KafkaError {
  return new KafkaError(message, { code: 'INVALID_STATE', action: 'fatal', outcome: 'not-sent' })
}

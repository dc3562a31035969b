import { KafkaError } from '../errors.ts'
import type { Identity } from './partition-queue.ts'

/**
 * - `uninit`: the coordinator has to be asked for a producer id, which also ends what is left of an earlier transaction.
 * - `ready`: no transaction.
 * - `open`: records and offsets may be added.
 * - `ending`: the coordinator has been asked to commit or abort.
 * - `abortable`: something in the transaction has failed; it can only be aborted.
 * - `fenced`: another producer uses the transactional id.
 */
export type TransactionPhase = 'uninit' | 'ready' | 'open' | 'ending' | 'abortable' | 'fenced'

export interface TopicPartitions {
  readonly name: string
  readonly partitions: number[]
}

/** What is known about the transactions of one producer. Pure: its driver asks the coordinator, and reports what comes of it. */
export class TransactionState {
  #phase: TransactionPhase = 'uninit'
  #identity: Identity | undefined
  #isV2 = false
  #error: KafkaError | undefined
  #isTouched = false
  /** Topics and partitions that the coordinator has in the transaction. Brokers of version 2 add them by themselves. */
  #added = new Map<string, Set<number>>()
  #wanted = new Map<string, Set<number>>()

  get phase(): TransactionPhase {
    return this.#phase
  }

  get identity(): Identity | undefined {
    return this.#identity
  }

  /** KIP-890: brokers add partitions by themselves, and each end brings a new epoch. */
  get isV2(): boolean {
    return this.#isV2
  }

  /** Why the transaction can only be aborted, or no other one begun. */
  get error(): KafkaError | undefined {
    return this.#error
  }

  /** Whether the coordinator may have something to end. */
  get isTouched(): boolean {
    return this.#isTouched
  }

  initialized(identity: Identity, isV2: boolean): void {
    this.#phase = 'ready'
    this.#identity = identity
    this.#isV2 = isV2
    this.#error = undefined
  }

  begin(): void {
    if (this.#phase !== 'ready') throw new Error(`a transaction can't begin when it is ${this.#phase}`)
    this.#phase = 'open'
    this.#isTouched = false
    this.#added = new Map()
    this.#wanted = new Map()
  }

  /** Whether a partition is in the transaction. With version 1 it is wanted from then on: see `takeWanted`. */
  mayProduce(topic: string, partition: number): boolean {
    if (this.#isV2) {
      this.#isTouched = true
      return true
    }
    if (this.#added.get(topic)?.has(partition) === true) return true
    setOf(this.#wanted, topic).add(partition)
    return false
  }

  /** The partitions to be added; undefined if there are none. */
  takeWanted(): readonly TopicPartitions[] | undefined {
    if (this.#wanted.size === 0 || this.#phase !== 'open') return undefined
    this.#isTouched = true
    const wanted = [...this.#wanted].map(([name, partitions]) => ({ name, partitions: [...partitions] }))
    this.#wanted = new Map()
    return wanted
  }

  added(topics: readonly TopicPartitions[]): void {
    for (const { name, partitions } of topics) {
      const set = setOf(this.#added, name)
      for (const partition of partitions) set.add(partition)
    }
  }

  /** Offsets are about to be added. */
  touched(): void {
    this.#isTouched = true
  }

  /** A record, an offset or a partition of the open transaction has failed. The first reason counts. */
  failed(error: KafkaError): void {
    if (this.#phase !== 'open') return
    this.#phase = 'abortable'
    this.#error = abortOnly(error)
  }

  ending(): void {
    this.#phase = 'ending'
  }

  /** The coordinator does not commit it, for certain, and waits for its abort. */
  refused(error: KafkaError): void {
    this.#phase = 'abortable'
    this.#error = abortOnly(error)
  }

  /** Ended for certain. Without `identity`, the producer id and its numbers go on. */
  ended(identity: Identity | undefined): void {
    this.#phase = 'ready'
    this.#error = undefined
    this.#identity = identity ?? this.#identity
  }

  /** Nothing certain is known about the transaction: the next step is to ask for the producer id again. */
  lost(): void {
    this.#phase = 'uninit'
    this.#error = undefined
  }

  /** Another producer has taken the id. With an id that is only ours, the producer starts again with another one. */
  fenced(error: KafkaError, hasOwnId: boolean): void {
    this.#phase = hasOwnId ? 'uninit' : 'fenced'
    this.#error = hasOwnId ? undefined : error
    this.#identity = undefined
  }
}

function setOf(sets: Map<string, Set<number>>, name: string): Set<number> {
  let set = sets.get(name)
  if (set === undefined) sets.set(name, (set = new Set()))
  return set
}

/**
 * What the caller can do about it: the same transaction again, from its start, unless it would fail in the same way. What became of one
 * record may be unknown; but the transaction is not committed.
 */
function abortOnly(error: KafkaError): KafkaError {
  const { action, code, brokerCode, outcome, missingRight } = error
  if (action === 'fenced') return error
  return new KafkaError(`the transaction can only be aborted: ${error.message}`, {
    code,
    action: action === 'fatal' ? 'fatal' : 'abort',
    outcome: outcome === 'unknown' ? 'rejected' : outcome,
    missingRight,
    cause: error,
    ...(brokerCode === undefined ? {} : { brokerCode }),
  })
}

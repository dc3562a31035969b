import { backoffMs } from '../../cluster/backoff.ts'
import type { Connections } from '../../cluster/connections.ts'
import { KafkaError } from '../../errors.ts'
import type { FetchRequest, FetchResponse } from '../../protocol/generated/api-types.ts'
import { readAnswer } from './fetch-answer.ts'
import type { FetchOutcome, PartitionAnswer } from './fetch-answer.ts'
import type { FetchBudget } from './fetch-budget.ts'
import { keyOf } from './fetch-partition.ts'
import type { FetchPartition } from './fetch-partition.ts'
import { FetchSession } from './fetch-session.ts'
import type { FetchSettings } from './fetch-settings.ts'
import { AnswerBytes } from './partition-buffer.ts'

export interface BrokerFetcherContext {
  readonly settings: FetchSettings
  readonly budget: FetchBudget
  readonly connections: Connections
  readonly now: () => number
  readonly random: () => number
  readonly leaderEpochOf: (partition: FetchPartition) => number
  /** Whether any broker is being asked. */
  readonly isFetching: () => boolean
  /** The leader must be asked first whether its log still has what was read. */
  readonly unchecked: (partition: FetchPartition) => void
  readonly outcome: (
    partition: FetchPartition,
    outcome: FetchOutcome,
    answer: PartitionAnswer,
    all: FetchResponse,
  ) => void
  /** The whole request has failed; `asked`: what it was for. */
  readonly failed: (error: KafkaError, asked: readonly FetchPartition[]) => void
  /** There may be something to fetch, or to deliver. */
  readonly poke: () => void
}

interface Asked {
  readonly partition: FetchPartition
  readonly version: number
}

/** What is worth a request while memory is short. */
const LEAST_BYTES = 64 * 1024
const FIRST_DIVERGING_VERSION = 12
const FIRST_VERSION_WITH_IDS = 13
/** Answers of a broker that may wait to be decoded, the one that is being delivered included. */
const MAX_ANSWERS = 2
const MAX_CHUNKS = 2

/** Fetches from one broker: one request at a time, the next one before the answer to the last is decoded. */
export class BrokerFetcher {
  readonly #nodeId: number
  readonly #context: BrokerFetcherContext
  readonly #session = new FetchSession()
  readonly #answers = new Set<AnswerBytes>()
  #partitions: readonly FetchPartition[] = []
  #isInFlight = false
  /** There was something to ask for, and no memory for the answer. */
  isStarved = false
  /** The request that is in flight was given up before it was written: positions must be checked first. */
  #wasGivenUp = false
  #failures = 0
  /** Answers without records in a row, while a partition was full. */
  #empty = 0
  notBefore: number = -Infinity

  constructor(nodeId: number, context: BrokerFetcherContext) {
    this.#nodeId = nodeId
    this.#context = context
  }

  get isInFlight(): boolean {
    return this.#isInFlight
  }

  /** No more answers may come while none of its partitions has run out. */
  get isFull(): boolean {
    return this.#answers.size >= MAX_ANSWERS
  }

  /** Sends a fetch if it is time for one. `partitions`: all that are read from this broker. */
  poke(partitions: readonly FetchPartition[], share: number): void {
    const now = this.#context.now()
    this.#partitions = partitions
    this.isStarved = false
    if (this.#isInFlight || now < this.notBefore) return
    const wanted: FetchPartition[] = []
    let full = 0
    let hungry = 0
    for (const partition of partitions) {
      if (!partition.isReadable(now)) continue
      const { chunks, bytes } = partition.buffer
      if (chunks >= MAX_CHUNKS || bytes >= share) full++
      else wanted.push(partition)
      if (chunks === 0) hungry++
    }
    if (wanted.length === 0 || (hungry === 0 && this.isFull)) return
    const reserved = this.#reserve(wanted.length * share, share, hungry > 0)
    this.isStarved = reserved === 0
    if (reserved > 0) this.#send(wanted, share, reserved, this.#waitMs(full))
  }

  /** Lets the broker forget the session. */
  end(): void {
    const part = this.#session.end()
    if (part === undefined || !this.#context.connections.isOpen(this.#nodeId)) return
    const body: FetchRequest = { maxWaitMs: 0, minBytes: 0, isolationLevel: 0, rackId: '', ...part }
    this.#context.connections.request(this.#nodeId, { name: 'Fetch', body, done: () => {} })
  }

  /** Something must move even when slow partitions hold all the memory. */
  #reserve(bytes: number, share: number, isHungry: boolean): number {
    const { budget, settings, isFetching } = this.#context
    const most = Math.min(settings.maxBytes, bytes)
    const reserved = budget.reserve(most, Math.min(most, LEAST_BYTES))
    if (reserved > 0 || !isHungry || isFetching()) return reserved
    budget.take(share)
    return share
  }

  /** A partition that is full now will be empty soon: it must not find a request under way that waits for the others. */
  #waitMs(full: number): number {
    const { maxWaitMs } = this.#context.settings
    if (full === 0) return maxWaitMs
    return this.#empty === 0 ? 0 : Math.min(maxWaitMs, 5 * 2 ** Math.min(this.#empty, 20))
  }

  #send(partitions: readonly FetchPartition[], share: number, reserved: number, waitMs: number): void {
    const { settings, connections, leaderEpochOf, budget } = this.#context
    const asked = new Map<string, Asked>()
    const wishes = partitions.map((partition) => {
      const { key, topic, topicId, position } = partition
      asked.set(key, { partition, version: position.version })
      const { offset, lastEpoch } = position
      const leaderEpoch = leaderEpochOf(partition)
      return { key, topic, topicId, partition: partition.partition, offset, leaderEpoch, lastEpoch, maxBytes: share }
    })
    const hasIds = wishes.every(({ topicId }) => topicId !== undefined)
    this.#isInFlight = true
    connections.request(this.#nodeId, {
      name: 'Fetch',
      body: (version) => {
        this.#expectChecked(partitions, version)
        return {
          maxWaitMs: waitMs,
          minBytes: settings.minBytes,
          maxBytes: reserved,
          isolationLevel: settings.isCommitted ? 1 : 0,
          rackId: settings.rack,
          ...this.#session.build(wishes, version),
        }
      },
      ...(hasIds ? {} : { maxVersion: FIRST_VERSION_WITH_IDS - 1 }),
      waitMs,
      done: (error, response) => {
        const wasGivenUp = this.#wasGivenUp
        this.#isInFlight = false
        this.#wasGivenUp = false
        budget.release(reserved)
        if (response !== undefined) this.#answered(response, asked)
        else if (wasGivenUp) this.#context.poke()
        else this.#failed(error as KafkaError, partitions)
      },
    })
  }

  /** Fetches of brokers before Kafka 2.7 don't notice that the log has been truncated; which version it is, is known only now. */
  #expectChecked(partitions: readonly FetchPartition[], version: number): void {
    if (version >= FIRST_DIVERGING_VERSION) return
    const { leaderEpochOf, unchecked } = this.#context
    const found = partitions.filter((each) => each.position.mustValidate(leaderEpochOf(each)))
    if (found.length === 0) return
    for (const partition of found) unchecked(partition)
    this.#wasGivenUp = true
    const message = 'positions must be checked first'
    throw new KafkaError(message, { code: 'UNEXPECTED', action: 'retry', outcome: 'not-sent' })
  }

  #failed(error: KafkaError, asked: readonly FetchPartition[]): void {
    const { now, random, failed, poke } = this.#context
    this.#session.lost()
    this.notBefore = now() + backoffMs(++this.#failures, random())
    failed(error, asked)
    poke()
  }

  #answered(response: FetchResponse, asked: ReadonlyMap<string, Asked>): void {
    const { now, random, poke } = this.#context
    if (!this.#session.answered(response)) {
      // A session that is not found is made again at once; an error that stays must not make a loop.
      if (++this.#failures > 1) this.notBefore = now() + backoffMs(this.#failures, random())
      return poke()
    }
    this.#failures = 0
    this.notBefore = -Infinity
    const bytes = this.#account(response)
    // At most the answer before this one stays as it came: slow partitions must not hold the memory of all.
    const last = this.#lastBefore(bytes)
    for (const partition of this.#partitions) partition.buffer.detach(last)
    const names = namesOf(asked)
    for (const { topic, topicId, partitions } of response.responses) {
      for (const answer of partitions) {
        const name = names.get(topicId) ?? topic
        const found = asked.get(keyOf(name, answer.partitionIndex))
        if (found !== undefined) this.#take(found, answer, response, bytes)
      }
    }
    // Nothing of it was of use.
    bytes.done()
    poke()
  }

  #account(response: FetchResponse): AnswerBytes {
    let size = 0
    for (const { partitions } of response.responses) {
      for (const { records } of partitions) size += records?.length ?? 0
    }
    this.#empty = size === 0 ? this.#empty + 1 : 0
    const bytes = new AnswerBytes(size, this.#context.budget, () => {
      this.#answers.delete(bytes)
      this.#context.poke()
    })
    bytes.use()
    this.#answers.add(bytes)
    return bytes
  }

  #take(found: Asked, answer: PartitionAnswer, response: FetchResponse, bytes: AnswerBytes): void {
    const { partition, version } = found
    // What was read for another position, or for a partition that was taken away, is of no use.
    if (partition.isStopped || partition.position.version !== version) return
    const { settings, outcome } = this.#context
    outcome(partition, readAnswer(partition, answer, settings.isCommitted, bytes), answer, response)
  }

  #lastBefore(bytes: AnswerBytes): AnswerBytes | undefined {
    let last: AnswerBytes | undefined
    for (const each of this.#answers) if (each !== bytes) last = each
    return last
  }
}

/** Answers name topics by id from version 13 on. */
function namesOf(asked: ReadonlyMap<string, Asked>): ReadonlyMap<string, string> {
  const names = new Map<string, string>()
  for (const { partition } of asked.values()) {
    if (partition.topicId !== undefined) names.set(partition.topicId, partition.topic)
  }
  return names
}

import { MAX_MS, OptionsReader, shown } from '../options-reader.ts'
import type { KnownNames, NumberRanges } from '../options-reader.ts'
import { CODECS } from '../records/batch-format.ts'
import type { Codec } from '../records/batch-format.ts'
import type { Partitioner } from './partitioner.ts'

/** What {@link KafkaClient.producer} takes. Every option has a default. */
export interface ProducerOptions {
  /**
   * What a confirmation means. `all`: all in-sync replicas have the record, exactly once and in order, even if
   * requests are retried (KIP-98). `1`: the leader has it, but may lose it or have it twice. `0`: it was handed to
   * the network. @default 'all'
   */
  readonly acks?: 'all' | 1 | 0 | undefined
  /**
   * How long a batch waits for more records after its first one. 0: until the end of the current turn of the event
   * loop. In milliseconds. @default 0
   */
  readonly lingerMs?: number | undefined
  /** Size of one batch, before compression, from 1,024 to 1 GiB. @default 1_048_576 (1 MiB), the largest that topics take by default */
  readonly batchBytes?: number | undefined
  /**
   * Memory for all batches of this producer. When it is used up, sends wait, in order. @default 67_108_864 (64 MiB)
   */
  readonly maxBufferedBytes?: number | undefined
  /** Maximum size of all batches in one request. A larger batch is sent alone. @default 4_194_304 (4 MiB) */
  readonly maxRequestBytes?: number | undefined
  /**
   * A record that is not confirmed within this time fails; the error says whether it may have been written. If a
   * request is still on its way, the send settles when that ends, at most `requestTimeoutMs` later. In milliseconds.
   * @default 120_000
   */
  readonly deliveryTimeoutMs?: number | undefined
  /**
   * How long the leader waits for its replicas before it answers. Must be less than the client's `requestTimeoutMs`.
   * In milliseconds. @default 15_000, or half of `requestTimeoutMs` if that is less
   */
  readonly ackTimeoutMs?: number | undefined
  /** Compression of each batch. Needs no extra package. `zstd` needs Kafka 2.1 (KIP-110). @default 'none' */
  readonly compression?: Codec | undefined
  /**
   * Chooses the partition of records that have no `partition`. @default as in Java: by the murmur2 hash of the key;
   * without a key, one partition for 64 KiB, then another (KIP-480, KIP-794)
   */
  readonly partitioner?: Partitioner | undefined
  /**
   * Makes the producer transactional (KIP-98). A new producer with the same id fences the previous one. `true`
   * generates a random id, which fences no other producer, and another one if this producer is fenced. @default none
   */
  readonly transactionalId?: string | true | undefined
  /**
   * The broker aborts a transaction that has not ended within this time. At most the broker's
   * `transaction.max.timeout.ms`, 15 minutes by default. In milliseconds. @default 60_000
   */
  readonly transactionTimeoutMs?: number | undefined
}

export interface ProducerSettings {
  readonly acks: -1 | 0 | 1
  readonly lingerMs: number
  readonly batchBytes: number
  readonly maxBufferedBytes: number
  readonly maxRequestBytes: number
  readonly deliveryTimeoutMs: number
  readonly ackTimeoutMs: number
  readonly compression: Codec
  readonly partitioner: Partitioner | undefined
  readonly transactionalId: string | true | undefined
  readonly transactionTimeoutMs: number
}

const KiB = 1_024
const MiB = KiB * KiB
const ACK_TIMEOUT_MS = 15_000

const NUMBERS = {
  lingerMs: [0, MAX_MS, 0],
  batchBytes: [KiB, 1_024 * MiB, MiB],
  maxBufferedBytes: [64 * KiB, Number.MAX_SAFE_INTEGER, 64 * MiB],
  maxRequestBytes: [KiB, 1_024 * MiB, 4 * MiB],
  deliveryTimeoutMs: [1, MAX_MS, 120_000],
  transactionTimeoutMs: [1, MAX_MS, 60_000],
} as const satisfies NumberRanges

const ACKS = ['all', 0, 1] as const

const KNOWN: KnownNames = {
  names: ['acks', 'ackTimeoutMs', 'compression', 'partitioner', 'transactionalId'],
  numbers: NUMBERS,
  renamed: {
    idempotent: "leave it out; with acks 'all' the producer is idempotent",
    enableIdempotence: "leave it out; with acks 'all' the producer is idempotent",
    maxInFlightRequests: 'leave it out; five requests are on the way to a broker, and order is kept',
    createPartitioner: 'write partitioner, a function of { topic, key, value, partitions }',
    transactionTimeout: 'write transactionTimeoutMs',
    timeout: 'write ackTimeoutMs, how long a broker waits for its replicas, or deliveryTimeoutMs',
    metadataMaxAge: 'it is metadataMaxAgeMs of createClient',
    allowAutoTopicCreation: 'it is autoCreateTopics of createClient',
    retry: 'what may pass is repeated by itself until deliveryTimeoutMs',
    retries: 'what may pass is repeated by itself until deliveryTimeoutMs',
    compressionType: 'write compression',
    batchSize: 'write batchBytes',
    onBatch: 'it is one of the hooks of createClient',
  },
}

/** The options with their defaults. Throws an {@link InvalidOptionsError} with everything that is wrong with them. */
export function producerSettingsOf(options: ProducerOptions, requestTimeoutMs: number): ProducerSettings {
  const reader = new OptionsReader('producer', options, KNOWN)
  const acks = reader.oneOf('acks', ACKS, 'all')
  const numbers = reader.numbers(NUMBERS)
  const compression = reader.oneOf('compression', CODECS, 'none')
  const ackTimeoutMs = reader.number('ackTimeoutMs', [
    1,
    Math.max(1, requestTimeoutMs - 1),
    Math.min(ACK_TIMEOUT_MS, Math.ceil(requestTimeoutMs / 2)),
  ])
  reader.callable('partitioner', 'a function of { topic, key, value, partitions }')
  const transactionalId =
    reader.raw('transactionalId') === true ? true : reader.text('transactionalId', 'a name, or true')
  if (transactionalId !== undefined && acks !== 'all') {
    reader.problem('acks', `is ${shown(acks)}: transactions need acks 'all'`)
  }
  if (transactionalId === undefined && reader.has('transactionTimeoutMs')) {
    reader.problem('transactionTimeoutMs', 'has no use without transactionalId: give that, or leave it out')
  }
  const { batchBytes, maxBufferedBytes } = numbers
  if (batchBytes > maxBufferedBytes) {
    reader.problem('batchBytes', `is ${batchBytes}, more than maxBufferedBytes, ${maxBufferedBytes}: give less`)
  }
  reader.done()
  return {
    ...numbers,
    ackTimeoutMs,
    acks: acks === 0 || acks === 1 ? acks : -1,
    compression,
    partitioner: options.partitioner,
    transactionalId,
  }
}

import { KafkaError } from '../errors.ts'
import { CODECS } from '../records/batch-format.ts'
import type { Codec } from '../records/batch-format.ts'
import type { BatchEvent } from './producer-hooks.ts'
import type { Partitioner } from './partitioner.ts'

export interface ProducerOptions {
  /**
   * What a confirmation means: `all` replicas in sync have the record; `1`: the leader has it; `0`: it has been written to the socket, and
   * nothing is known about it. Only with `all` is a record never written twice. @default 'all'
   */
  readonly acks?: 'all' | 1 | 0
  /** How long a batch waits for more records, from its first one on. 0: until the end of the turn of the event loop. In milliseconds. @default 0 */
  readonly lingerMs?: number
  /** Of one batch, before compression. From 1,024 to 1 GiB. @default 1_048_576 (1 MiB), the largest that topics take by default */
  readonly batchBytes?: number
  /** Of all batches, in the memory of this producer. When it is used up, sends wait in the order of the calls. @default 67_108_864 (64 MiB) */
  readonly maxBufferedBytes?: number
  /** Of the batches in one request. @default 4_194_304 (4 MiB) */
  readonly maxRequestBytes?: number
  /**
   * A record that is not confirmed by then fails; its error says whether it may have been written. It then still takes the time of one
   * request at most. In milliseconds. @default 120_000
   */
  readonly deliveryTimeoutMs?: number
  /** How long a broker waits for its replicas before it answers; less than the client's request timeout. @default 15_000 */
  readonly ackTimeoutMs?: number
  /** @default 'none' */
  readonly compression?: Codec
  /** @default like Java's: by the key, else a partition for 64 KiB, then another one (KIP-480, KIP-794) */
  readonly partitioner?: Partitioner
  /**
   * Makes the producer transactional. Of two producers with the same id, the newer one fences the older one. `true`: an id of its own, so
   * that it fences nobody, and starts again when it has been fenced. @default none
   */
  readonly transactionalId?: string | true
  /** After this time without an end, the broker aborts a transaction. @default 60_000 */
  readonly transactionTimeoutMs?: number
  /** Called synchronously when a batch has been settled. It must not throw. */
  readonly onBatch?: (event: BatchEvent) => void
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
  readonly onBatch: ((event: BatchEvent) => void) | undefined
}

const KiB = 1_024
const MiB = KiB * KiB
const MAX_MS = 2 ** 31 - 1

/** [smallest, largest, default] */
const NUMBERS = {
  lingerMs: [0, MAX_MS, 0],
  batchBytes: [KiB, 1_024 * MiB, MiB],
  maxBufferedBytes: [64 * KiB, Number.MAX_SAFE_INTEGER, 64 * MiB],
  maxRequestBytes: [KiB, 1_024 * MiB, 4 * MiB],
  deliveryTimeoutMs: [1, MAX_MS, 120_000],
  ackTimeoutMs: [1, MAX_MS, 15_000],
  transactionTimeoutMs: [1, MAX_MS, 60_000],
} as const satisfies Record<string, readonly [number, number, number]>

type NumberOption = keyof typeof NUMBERS

/** The options with their defaults. Throws one error that lists all problems. */
export function producerSettingsOf(options: ProducerOptions): ProducerSettings {
  const problems: string[] = []
  const { acks = 'all', compression = 'none', transactionalId, partitioner, onBatch } = options
  const number = (name: NumberOption): number => {
    const [smallest, largest, byDefault] = NUMBERS[name]
    const value = options[name] ?? byDefault
    if (!(value >= smallest && value <= largest)) problems.push(`${name} is ${value}, not ${smallest} to ${largest}`)
    return value
  }
  const numbers = Object.fromEntries(
    Object.keys(NUMBERS).map((name) => [name, number(name as NumberOption)]),
  ) as Record<NumberOption, number>
  if (acks !== 'all' && acks !== 0 && acks !== 1) problems.push(`acks is ${String(acks)}, not 'all', 1 or 0`)
  if (!CODECS.includes(compression)) problems.push(`compression is ${compression}, not one of ${CODECS.join(', ')}`)
  if (transactionalId === '') problems.push('transactionalId is empty')
  if (transactionalId !== undefined && acks !== 'all') problems.push(`a transaction needs acks 'all'`)
  if (numbers.batchBytes > numbers.maxBufferedBytes) problems.push('batchBytes is larger than maxBufferedBytes')
  if (problems.length > 0) {
    const message = `the options of the producer are not valid: ${problems.join('; ')}`
    throw new KafkaError(message, { code: 'INVALID_OPTIONS', action: 'fatal', outcome: 'not-sent' })
  }
  return { ...numbers, acks: acks === 'all' ? -1 : acks, compression, partitioner, transactionalId, onBatch }
}

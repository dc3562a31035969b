import { MAX_MS, OptionsReader } from '../../options-reader.ts'
import type { KnownNames, NumberRanges } from '../../options-reader.ts'
import { readTopics } from '../consumer-options.ts'

/** What {@link KafkaClient.shareConsumer} takes. */
export interface ShareConsumerOptions {
  /**
   * Names of topics, and patterns: all topics whose whole name matches are read, including those that are created
   * later.
   */
  readonly topics: readonly (string | RegExp)[]
  /** Name of the share group. A group of ordinary consumers can't have the same name. */
  readonly group: string
  /** The rack or zone of this process. @default the client's */
  readonly rack?: string | undefined
  /**
   * How many records may be acquired without a verdict, waiting or being handled. The broker may exceed it by the
   * rest of a batch: see `acquireMode`. Each of these records has used up one of its deliveries, even if this member
   * closes or crashes before its handler starts. If deliveries are scarce, choose little more than the `concurrency`.
   * @default 100
   */
  readonly maxUndecided?: number | undefined
  /**
   * `batch_optimized`: the broker gives out whole batches of the log, which is cheapest for it, so there may be more
   * records than `maxUndecided`. `record_limit`: it never gives out more than there is room for (KIP-1206), so fewer
   * records use up a delivery while they wait. @default 'batch_optimized'
   */
  readonly acquireMode?: AcquireMode | undefined
  /** How long brokers wait for records. A verdict may wait as long before it is sent. In milliseconds. @default 500 */
  readonly maxWaitMs?: number | undefined
  /** Maximum size of one response. @default 16_777_216 (16 MiB) */
  readonly maxBytes?: number | undefined
  /** How long `close` waits for running handlers. In milliseconds. @default 20_000 */
  readonly closeTimeoutMs?: number | undefined
}

/** See `acquireMode` of {@link ShareConsumerOptions}. */
export type AcquireMode = 'batch_optimized' | 'record_limit'

export interface ShareSettings {
  readonly topics: readonly (string | RegExp)[]
  readonly group: string
  readonly rack: string | null
  readonly maxUndecided: number
  readonly acquireMode: AcquireMode
  readonly maxWaitMs: number
  readonly maxBytes: number
  readonly closeTimeoutMs: number
}

const NUMBERS = {
  maxUndecided: [1, MAX_MS, 100],
  maxWaitMs: [0, MAX_MS, 500],
  maxBytes: [1, MAX_MS, 16 * 1024 * 1024],
  closeTimeoutMs: [0, MAX_MS, 20_000],
} as const satisfies NumberRanges

const KNOWN: KnownNames = {
  names: ['topics', 'group', 'rack', 'acquireMode'],
  numbers: NUMBERS,
  renamed: {
    groupId: 'write group',
    'share.acquire.mode': 'write acquireMode',
    onReset: `the group has it: set share.auto.offset.reset with admin().configs.alter({ type: 'group', name }, …)`,
    isolation: `the group has it: set share.isolation.level with admin().configs.alter({ type: 'group', name }, …)`,
    autoCommit: 'every record has a verdict of its own; run accepts what its handler has finished',
  },
}

/** The options with their defaults. Throws an {@link InvalidOptionsError} with everything that is wrong with them. */
export function shareSettingsOf(options: ShareConsumerOptions, clientRack?: string): ShareSettings {
  const reader = new OptionsReader('shareConsumer', options, KNOWN)
  const topics = readTopics(reader)
  const group = reader.text('group', 'the name of the share group')
  if (!reader.has('group')) reader.problem('group', 'is missing: give the name of the share group')
  const rack = reader.text('rack', 'the name of a rack or zone') ?? clientRack ?? null
  const numbers = reader.numbers(NUMBERS)
  const acquireMode = reader.oneOf('acquireMode', ['batch_optimized', 'record_limit'], 'batch_optimized')
  reader.done()
  return { ...numbers, topics, group: group ?? '', rack, acquireMode }
}

import { MAX_MS, OptionsReader } from '../../options-reader.ts'
import type { KnownNames, NumberRanges } from '../../options-reader.ts'
import { readTopics } from '../consumer-options.ts'

/** What {@link KafkaClient.shareConsumer} takes. */
export interface ShareConsumerOptions {
  /** Names of topics, and patterns: every topic whose whole name matches is read, also one that is made later. */
  readonly topics: readonly (string | RegExp)[]
  /** Of type `share`: a group of consumers can't have the same name. */
  readonly group: string
  /** Where this process is. @default the client's */
  readonly rack?: string | undefined
  /**
   * Records that are acquired and have no verdict: those that wait, and those that are being handled; the broker may add the rest of a
   * batch. Each has used up one of its deliveries, also if this member closes before its handler begins, or crashes: choose little more
   * than the `concurrency` where deliveries are few. @default 100
   */
  readonly maxUndecided?: number | undefined
  /** How long brokers wait for records; a verdict may wait as long before it is sent. In milliseconds. @default 500 */
  readonly maxWaitMs?: number | undefined
  /** Size of one answer. @default 16_777_216 (16 MiB) */
  readonly maxBytes?: number | undefined
  /** How long `close` waits for records that are being handled. In milliseconds. @default 20_000 */
  readonly closeTimeoutMs?: number | undefined
}

export interface ShareSettings {
  readonly topics: readonly (string | RegExp)[]
  readonly group: string
  readonly rack: string | null
  readonly maxUndecided: number
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
  names: ['topics', 'group', 'rack'],
  numbers: NUMBERS,
  renamed: {
    groupId: 'write group',
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
  reader.done()
  return { ...numbers, topics, group: group ?? '', rack }
}

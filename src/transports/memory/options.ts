import type { MemoryBroker } from './broker.ts'
import { OptionsReader } from '../../core/options.ts'

export interface MemoryOptions {
  /** Share one broker among several transports, and so among several buses. Default: a broker of its own. */
  readonly broker?: MemoryBroker | undefined
  /** How many settled messages of a topic are kept for `messages()` and replay. Default 1,000. */
  readonly retainMessages?: number | undefined
  /** Maximum size of the messages of one topic that some group has not acked; beyond it `publish` waits. Default 8 MiB. */
  readonly maxBacklogBytes?: number | undefined
  /** Largest message, body and headers, in bytes. Default 16 MiB. */
  readonly maxMessageBytes?: number | undefined
}

export interface ResolvedMemoryOptions {
  readonly broker: MemoryBroker | undefined
  readonly retainMessages: number
  readonly maxBacklogBytes: number
  readonly maxMessageBytes: number
}

export const MEMORY_DEFAULTS = {
  retainMessages: 1_000,
  maxBacklogBytes: 8_388_608,
  maxMessageBytes: 16_777_216,
} as const

export function resolveMemoryOptions(options: MemoryOptions | undefined): ResolvedMemoryOptions {
  const reader = new OptionsReader('memory', options)
  const resolved: ResolvedMemoryOptions = {
    broker: reader.withMethods<MemoryBroker>('broker', ['topic', 'append']),
    retainMessages: reader.integer('retainMessages', MEMORY_DEFAULTS.retainMessages),
    maxBacklogBytes: reader.integer('maxBacklogBytes', MEMORY_DEFAULTS.maxBacklogBytes, { min: 1024 }),
    maxMessageBytes: reader.integer('maxMessageBytes', MEMORY_DEFAULTS.maxMessageBytes, { min: 1 }),
  }
  if (resolved.broker !== undefined) {
    for (const field of ['retainMessages', 'maxBacklogBytes'] as const) {
      if (reader.has(field)) reader.problem(field, 'belongs to the broker: give it to memoryBroker()')
    }
  }
  reader.done()
  return Object.freeze(resolved)
}

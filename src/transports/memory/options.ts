import type { MemoryBroker } from './broker.ts'
import { OptionsReader } from '../../core/util/options-reader.ts'
import { MEMORY_DEFAULTS } from './defaults.ts'

/** Options of `memory`. */
export interface MemoryOptions {
  /** Shared by several transports, and so by several buses. Default: a separate broker. */
  readonly broker?: MemoryBroker | undefined
  /** Number of settled messages that each topic keeps for `messages()` and replay. Default 1,000. */
  readonly retainMessages?: number | undefined
  /** Maximum size of a topic's messages that some group has not acked; beyond it `publish` waits. Default 8 MiB. */
  readonly maxBacklogBytes?: number | undefined
  /** Maximum size of a message, body plus headers, in bytes. Default 16 MiB. */
  readonly maxMessageBytes?: number | undefined
}

export interface ResolvedMemoryOptions {
  readonly broker: MemoryBroker | undefined
  readonly retainMessages: number
  readonly maxBacklogBytes: number
  readonly maxMessageBytes: number
}

export function resolveMemoryOptions(options: MemoryOptions | undefined): ResolvedMemoryOptions {
  const reader = new OptionsReader('memory', options, 'memory()')
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

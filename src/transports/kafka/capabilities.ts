import type { Capabilities } from '../../core/transport.ts'
import type { ResolvedKafkaOptions } from './options.ts'

export function capabilitiesOf({
  maxMessageBytes,
  transactions,
}: Pick<ResolvedKafkaOptions, 'maxMessageBytes' | 'transactions'>): Capabilities {
  const hasTransactions = transactions !== false
  return Object.freeze({
    durable: true,
    groups: true,
    ordering: 'key',
    // A delayed retry lets the rest of its key pass; with order by key the runtime therefore keeps it in the process.
    orderedRedelivery: false,
    delay: 'emulated',
    redelivery: true,
    attempts: true,
    patterns: true,
    replay: Object.freeze(['position', 'time'] as const),
    lag: true,
    publishDedup: false,
    failedPublishStopsKey: false,
    publishOnAck: hasTransactions,
    transactions: hasTransactions,
    atomicDeadLetters: transactions === true,
    tombstones: true,
    requestReply: false,
    maxMessageBytes,
  })
}

import type { Capabilities } from '../../core/transport.ts'

export function capabilitiesOf(maxMessageBytes: number): Capabilities {
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
    publishOnAck: true,
    transactions: true,
    atomicDeadLetters: false,
    tombstones: true,
    requestReply: false,
    maxMessageBytes,
  })
}

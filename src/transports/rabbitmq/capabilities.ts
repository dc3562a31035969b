import type { Capabilities } from '../../core/transport.ts'

/** What RabbitMQ can do, as far as this transport uses it. */
export function capabilities(maxMessageBytes: number): Capabilities {
  return Object.freeze({
    durable: true,
    groups: true,
    ordering: 'key',
    orderedRedelivery: false,
    delay: 'emulated',
    redelivery: true,
    attempts: true,
    patterns: true,
    replay: Object.freeze([]),
    lag: true,
    publishDedup: false,
    failedPublishStopsKey: false,
    publishOnAck: false,
    atomicDeadLetters: false,
    transactions: false,
    tombstones: true,
    requestReply: false,
    maxMessageBytes,
  })
}

import type { Capabilities } from '../../core/transport.ts'
import type { ResolvedNatsOptions } from './options.ts'

/** What the two modes can do: core NATS drops a message as soon as it has passed it on. */
export function capabilitiesOf({ jetstream, maxMessageBytes }: ResolvedNatsOptions): Capabilities {
  return Object.freeze(
    jetstream
      ? {
          durable: true,
          groups: true,
          ordering: 'key',
          orderedRedelivery: false,
          delay: 'emulated',
          redelivery: true,
          attempts: true,
          patterns: true,
          replay: Object.freeze(['position', 'time'] as const),
          lag: true,
          publishDedup: true,
          failedPublishStopsKey: false,
          publishOnAck: false,
          atomicDeadLetters: false,
          transactions: false,
          tombstones: true,
          requestReply: true,
          maxMessageBytes,
        }
      : {
          durable: false,
          groups: true,
          ordering: 'none',
          orderedRedelivery: false,
          delay: 'none',
          redelivery: false,
          attempts: false,
          patterns: true,
          replay: Object.freeze([] as const),
          lag: false,
          publishDedup: false,
          failedPublishStopsKey: false,
          publishOnAck: false,
          atomicDeadLetters: false,
          transactions: false,
          tombstones: true,
          requestReply: true,
          maxMessageBytes,
        },
  )
}

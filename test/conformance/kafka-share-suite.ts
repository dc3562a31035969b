import type { Transport } from 'busbar'
import { kafka } from 'busbar/kafka'
import type { KafkaOptions } from 'busbar/kafka'
import { QUICK, QUICK_PROPERTIES } from './kafka-suite.ts'

/** A lock that ends soon after its process, and as many deliveries as a broker allows: the scenarios choose their attempts themselves. */
export const SHARE_PROPERTIES: Readonly<Record<string, string>> = {
  ...QUICK_PROPERTIES,
  'group.share.min.record.lock.duration.ms': '1000',
  'group.share.record.lock.duration.ms': '3000',
  'group.share.delivery.count.limit': '10',
  'group.share.min.heartbeat.interval.ms': '500',
  'group.share.heartbeat.interval.ms': '500',
  'group.share.assignment.interval.ms': '0',
  'share.coordinator.state.topic.num.partitions': '1',
}

/** The transport for Kafka as it is for consumers that all say `order: 'none', native: { share: true }`. Broadcasts stay what they are. */
export function sharedKafka(options: KafkaOptions): Transport {
  const transport = kafka({ ...QUICK, ...options })
  return {
    ...transport,
    // Deliveries count, not attempts; and verdicts are part of no transaction.
    capabilities: { ...transport.capabilities, ordering: 'none', attempts: false, publishOnAck: false },
    subscribe: (spec, sink) =>
      transport.subscribe(
        spec.ephemeral ? spec : { ...spec, order: 'none', attempts: undefined, native: { share: true } },
        sink,
      ),
  }
}

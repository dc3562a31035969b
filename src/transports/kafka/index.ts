import type { Transport, TransportHost } from '../../core/transport.ts'
import { OpenedOnce } from '../../core/util/opened-once.ts'
import { kafkaAdmin } from './admin/admin.ts'
import { capabilitiesOf } from './capabilities.ts'
import type { KafkaOptions } from './options.ts'
import { checkPublishOptions } from './publish/publish-options.ts'
import { resolveKafkaOptions } from './resolve-options.ts'
import { KafkaTransport } from './transport.ts'

export type { KafkaPublishOptions } from './publish/publish-options.ts'
export type { KafkaConsumeOptions, KafkaShareOptions } from './share/share-options.ts'
export type { KafkaFetchOptions, KafkaMechanism, KafkaNativeOptions, KafkaOptions } from './options.ts'

/**
 * Creates a transport for Kafka, on Busbar's own client: there is nothing to install. Durable, at least once, in order by key, with replay,
 * delay, and dead letters.
 *
 *     const bus = createBus({ service: 'billing', transport: kafka({ url: 'kafka://a:9092,b:9092' }) })
 *
 * Needs Kafka 2.1 or later, or anything that speaks its protocol. Connects when the bus starts. Throws a `ConfigurationError` that lists
 * all problems of the options.
 */
export function kafka(options?: KafkaOptions): Transport {
  const resolved = resolveKafkaOptions(options)
  const once = new OpenedOnce<KafkaTransport>('Kafka')
  return {
    system: 'kafka',
    capabilities: capabilitiesOf(resolved),
    admin: kafkaAdmin(() => once.get().context),
    async open(host: TransportHost) {
      await once.open(
        () => new KafkaTransport(resolved, host),
        async (transport) => {
          try {
            await transport.open()
          } catch (error) {
            await transport.close(0)
            throw error
          }
        },
      )
    },
    checkPublishOptions,
    publish: async (batch, { signal } = {}) => once.get().publish(batch, signal),
    ...(resolved.transactions === false
      ? {}
      : { transaction: async (batch, { signal } = {}) => once.get().transaction(batch, signal) }),
    subscribe: async (spec, sink) => once.get().subscribe(spec, sink),
    health: () => once.given?.health() ?? { connected: false },
    serverAddress: () => once.given?.server,
    async close({ deadlineMs = 5_000 } = {}) {
      await once.close()?.close(deadlineMs)
    },
  }
}

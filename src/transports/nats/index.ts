import type { Capabilities, RequestReply, Transport, TransportHost } from '../../core/transport.ts'
import type { NatsConnection } from '@nats-io/transport-node'
import { OpenedOnce } from '../../core/util/opened-once.ts'
import { capabilitiesOf } from './capabilities.ts'
import { CoreNats } from './core-nats/core-nats.ts'
import { JetStream } from './jetstream/jetstream.ts'
import { resolveNatsOptions } from './resolve-options.ts'
import type { NatsOptions } from './options.ts'

export type {
  NatsNativeOptions,
  NatsOptions,
  NatsRetentionOptions,
  NatsStreamOptions,
  NatsTlsOptions,
  NatsTopicRetention,
} from './options.ts'

/** The NATS transport, with native request and reply. */
export interface NatsTransport extends Transport {
  /** The client's connection; undefined before the transport is open. */
  readonly connection: NatsConnection | undefined
  readonly requestReply: RequestReply
}

/**
 * Creates a transport for NATS:
 *
 *     const bus = createBus({ service: 'billing', transport: nats({ url: 'nats://user:password@localhost:4222' }) })
 *
 * - `nats()` stores messages with JetStream: durable, at least once, in order by key, with replay and delay.
 * - `nats({ jetstream: false })` is core NATS: at most once, nothing is stored, very fast.
 *
 * Needs the package `@nats-io/transport-node` and a server of version 2.9 or later. Connects when the bus starts.
 * Throws a `ConfigurationError` that lists all problems of the options.
 */
export function nats(options?: NatsOptions): NatsTransport {
  const resolved = resolveNatsOptions(options)
  const engine = resolved.jetstream ? new JetStream(resolved) : new CoreNats(resolved)
  const capabilities: Capabilities = capabilitiesOf(resolved)
  const once = new OpenedOnce<TransportHost>('NATS')
  return {
    system: 'nats',
    capabilities,
    get connection() {
      return engine.connection
    },
    async open(host) {
      await once.open(
        () => host,
        () => engine.open(host),
      )
    },
    publish: (batch, { signal } = {}) => engine.publish(batch, signal),
    subscribe: (spec, sink) => engine.subscribe(spec, sink),
    admin: engine.admin,
    requestReply: engine.requestReply,
    health: () => engine.health(),
    serverAddress: () => engine.server,
    close: ({ deadlineMs = 5_000 } = {}) => engine.close(deadlineMs),
  }
}

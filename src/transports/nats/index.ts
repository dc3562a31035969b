import { StateError } from '../../core/errors.ts'
import type { Capabilities, Transport, TransportHost } from '../../core/transport.ts'
import type { NatsConnection } from '@nats-io/transport-node'
import { capabilitiesOf } from './capabilities.ts'
import { CoreNats } from './core-nats/core-nats.ts'
import { JetStream } from './jetstream/jetstream.ts'
import { resolveNatsOptions } from './options.ts'
import type { NatsOptions } from './options.ts'
import type { NatsRequestOptions, NatsReply, NatsResponder } from './connection/requests.ts'

export type { NatsNativeOptions, NatsOptions, NatsStreamOptions, NatsTlsOptions } from './options.ts'
export type { NatsReply, NatsRequestOptions, NatsResponder } from './connection/requests.ts'

/** The NATS transport, with native request and reply. */
export interface NatsTransport extends Transport {
  /** The client's connection; undefined before the transport is open. */
  readonly connection: NatsConnection | undefined
  /**
   * Sends a request to a responder of the topic and resolves with its reply. Rejects with `NoRespondersError` at once
   * when there is none, and with `TimeoutError` after `timeoutMs` (default 5,000).
   */
  request(topic: string, body: Uint8Array | string, options?: NatsRequestOptions): Promise<NatsReply>
  /** Answers requests; the responders of a group share them. Resolves with a function that stops this one. */
  respond(topic: string, group: string, respond: NatsResponder): Promise<() => Promise<void>>
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
  let opened = false
  return {
    system: 'nats',
    capabilities,
    get connection() {
      return engine.connection
    },
    async open(host: TransportHost) {
      if (opened) throw new StateError('A NATS transport belongs to one bus: make another one')
      opened = true
      try {
        await engine.open(host)
      } catch (error) {
        opened = false
        throw error
      }
    },
    publish: (batch, { signal } = {}) => engine.publish(batch, signal),
    subscribe: (spec, sink) => engine.subscribe(spec, sink),
    admin: engine.admin,
    health: () => engine.health(),
    serverAddress: () => engine.server,
    close: ({ deadlineMs = 5_000 } = {}) => engine.close(deadlineMs),
    request: (topic, body, requestOptions) => engine.requests.request(topic, body, requestOptions),
    respond: (topic, group, respond) => engine.requests.respond(topic, group, respond),
  }
}

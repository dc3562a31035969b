import type { NatsConnection } from '@nats-io/transport-node'
import type { OutgoingMessage } from '../../core/message.ts'
import type {
  DeliverySink,
  PublishOutcome,
  ServerAddress,
  SubscriptionSpec,
  TransportAdmin,
  TransportHealth,
  TransportHost,
  TransportSubscription,
} from '../../core/transport.ts'
import type { NatsRequestReply } from './connection/request-reply.ts'

/** What the transport needs from both JetStream and core NATS. */
export interface Engine {
  readonly connection: NatsConnection | undefined
  readonly server: ServerAddress | undefined
  readonly requestReply: NatsRequestReply
  readonly admin: TransportAdmin | undefined
  open(host: TransportHost): Promise<void>
  publish(batch: readonly OutgoingMessage[], signal: AbortSignal | undefined): Promise<readonly PublishOutcome[]>
  subscribe(spec: SubscriptionSpec, sink: DeliverySink): Promise<TransportSubscription>
  health(): TransportHealth
  close(deadlineMs: number): Promise<void>
}

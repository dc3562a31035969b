import type { Transport } from '../../core/transport.ts'
import type { RabbitMqOptions } from './options.ts'
import { resolveRabbitMqOptions } from './resolve-options.ts'
import { RabbitMqTransport } from './transport.ts'

export type { BackoffType } from './connection/backoff.ts'
export type { RabbitMqConsumerOptions } from './consume/consumer-options.ts'
export type { StreamOffset } from './consume/stream-cursor.ts'
export type {
  BindingDeclaration,
  Credentials,
  ExchangeDeclaration,
  GroupDeclaration,
  MessageProperties,
  Purpose,
  QueueDeclaration,
  RabbitMqOptions,
  Route,
  TopologyOptions,
} from './options.ts'

/**
 * Creates a transport for RabbitMQ and compatible brokers (AMQP 0-9-1): confirmed publishes to durable, replicated
 * queues, a set of queues for each topic and group, order by key across members, delays, and dead letters that are
 * never lost.
 *
 *     const bus = createBus({ service: 'billing', transport: rabbitmq({ url: 'amqp://user:password@localhost' }) })
 *
 * Needs the package `amqplib`. Connects when the bus starts. Throws a `ConfigurationError` that lists all problems of
 * the options.
 */
export function rabbitmq(options?: RabbitMqOptions): Transport {
  return new RabbitMqTransport(resolveRabbitMqOptions(options))
}

import type { Transport } from '../../core/transport.ts'
import { resolveRabbitMqOptions } from './options.ts'
import type { RabbitMqOptions } from './options.ts'
import { RabbitMqTransport } from './transport.ts'

export type { BackoffType } from './backoff.ts'
export type { RabbitMqConsumerOptions } from './consumer-options.ts'
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
 * RabbitMQ (and brokers that speak AMQP 0-9-1 as it does): confirmed publishes into durable, replicated queues, one set of
 * queues for each topic and group, order by key across members, delays, dead letters that nobody loses.
 *
 *     const bus = createBus({ service: 'billing', transport: rabbitmq({ url: 'amqp://user:password@localhost' }) })
 *
 * Needs the package `amqplib`. Throws `ConfigurationError` with everything that is wrong with the options; connects when
 * the bus starts.
 */
export function rabbitmq(options?: RabbitMqOptions): Transport {
  return new RabbitMqTransport(resolveRabbitMqOptions(options))
}

import { rabbitmq } from '../../src/transports/rabbitmq/index.ts'
import { startPrivate } from '../../tools/brokers/index.ts'
import { faultSuite } from './fault-suite.ts'

faultSuite({
  name: 'rabbitmq',
  start: () => startPrivate('rabbitmq'),
  youngMs: 1_500,
  create: ({ host, port }) => rabbitmq({ url: `amqp://${host}:${port}` }),
  impatient: ({ host, port }) =>
    rabbitmq({ url: `amqp://${host}:${port}`, heartbeatMs: 1_000, connectTimeoutMs: 2_000 }),
})

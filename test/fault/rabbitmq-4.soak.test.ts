import { test } from 'vitest'
import { rabbitmq } from '../../src/transports/rabbitmq/index.ts'
import { BrokerError, startPrivate } from '../../tools/brokers/index.ts'
import type { RabbitMqBroker } from '../../tools/brokers/index.ts'
import { unlessMissing } from '../integration/broker-helpers.ts'
import { faultSuite } from './fault-suite.ts'
import { processFaultSuite } from './process-fault-suite.ts'

const name = 'rabbitmq-4'
const start = (): Promise<RabbitMqBroker> => startPrivate('rabbitmq', { version: '4' })

const broker = await unlessMissing(start())
if (broker instanceof BrokerError) test.skip(broker.message)
else {
  await broker.stop()
  faultSuite({
    name,
    start,
    youngMs: 1_500,
    create: ({ host, port }) => rabbitmq({ url: `amqp://${host}:${port}` }),
    impatient: ({ host, port }) =>
      rabbitmq({ url: `amqp://${host}:${port}`, heartbeatMs: 1_000, connectTimeoutMs: 2_000 }),
  })
  processFaultSuite({
    name,
    start,
    create: ({ host, port }) => rabbitmq({ url: `amqp://${host}:${port}` }),
    childModule: new URL('./rabbitmq-child.ts', import.meta.url),
    childEnv: ({ url }) => ({ BUSBAR_TEST_RABBITMQ: url }),
    // Two missed heartbeats and the broker gives the connection up.
    freezeMs: 7_000,
  })
}
